//! mini-RIB: a built-in, procedurally rendered dataset with the structure of ImageNet-RIB. Ten
//! classes of drawn objects, two sources for pre-training and eight domains shifted away from the
//! first.
//!
//! A scene (shapes as signed distances, poses, surfaces) is sampled from named random streams,
//! painted, and post-processed. Every image is a pure function of (seed, collection, split, index):
//! only additions, products, square roots and `libm` are used, in a fixed order, so the bytes are
//! the same on every platform and for any number of threads.

mod canvas;
mod colour;
mod dice;
mod domains;
mod jpeg;
mod nature;
mod noise;
mod object;
mod paint;
mod pose;
mod post;
mod rich;
mod scene;
mod shape;
mod texture;
mod things;

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::canvas::Canvas;
use self::dice::Dice;
use self::object::Class;
use super::{ImagePart, ImageSet, in_memory};

/// Height and width of an image.
pub const SIDE: usize = 32;

/// A distribution of images: a source or a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Collection {
    /// A source: one clean style.
    Narrow,
    /// A source: many styles, the clean one among them, and more images.
    Rich,
    /// A fresh draw of the clean style.
    V2,
    /// Clutter, occlusion, small objects.
    A,
    /// Other textures and colours.
    R,
    /// Pencil outlines.
    Sketch,
    /// Odd rotations, viewpoints and backgrounds.
    Objectnet,
    /// Flat colours, thick outlines.
    Cartoon,
    /// Hatching.
    Drawing,
    /// Corruptions of eight kinds at five severities.
    C,
}

impl Collection {
    pub const ALL: [Self; 10] = [
        Self::Narrow,
        Self::Rich,
        Self::V2,
        Self::A,
        Self::R,
        Self::Sketch,
        Self::Objectnet,
        Self::Cartoon,
        Self::Drawing,
        Self::C,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Narrow => "narrow",
            Self::Rich => "rich",
            Self::V2 => "v2",
            Self::A => "a",
            Self::R => "r",
            Self::Sketch => "sketch",
            Self::Objectnet => "objectnet",
            Self::Cartoon => "cartoon",
            Self::Drawing => "drawing",
            Self::C => "c",
        }
    }

    /// The default number of images of a split.
    pub fn size(self, split: Split) -> usize {
        match (self, split) {
            (Self::Narrow, Split::Train) => 1000,
            (Self::Rich, Split::Train) => 2500,
            _ => 300,
        }
    }

    fn draw(self, class: Class, dice: &mut Dice) -> Canvas {
        match self {
            Self::Narrow | Self::V2 => domains::clean(class, dice),
            Self::Rich => rich::rich(class, dice),
            Self::A => domains::adversarial(class, dice),
            Self::R => domains::rendition(class, dice),
            Self::Sketch => domains::sketch(class, dice),
            Self::Objectnet => domains::objectnet(class, dice),
            Self::Cartoon => domains::cartoon(class, dice),
            Self::Drawing => domains::drawing(class, dice),
            Self::C => domains::corrupted(class, dice),
        }
    }
}

/// One of two independent draws of a collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    #[default]
    Train,
    /// Held out: never trained on.
    Test,
}

impl Split {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// The names of the classes, in the order of their labels.
pub fn classes() -> Vec<String> {
    Class::ALL.map(|class| class.name().to_string()).to_vec()
}

/// The labels of the first `images` images.
pub fn labels(images: usize) -> Vec<u32> {
    let classes = Class::ALL.len();
    (0..images).map(|index| (index % classes) as u32).collect()
}

/// The first `images` images of a split. Classes alternate, so that every multiple of the number of
/// classes is balanced, and a longer draw begins with the shorter one.
///
/// Runs on the current rayon pool; the bytes do not depend on it.
pub fn render(collection: Collection, split: Split, images: usize, seed: u64) -> ImageSet<'static> {
    let purpose = format!("{}/{}", collection.name(), split.name());
    let size = SIDE * SIDE * 3;
    let mut pixels = vec![0; images * size];
    pixels
        .par_chunks_mut(size)
        .enumerate()
        .for_each(|(index, target)| {
            let mut dice = Dice::new(seed, &purpose, index);
            let class = Class::ALL[index % Class::ALL.len()];
            collection.draw(class, &mut dice).write(target);
        });
    ImageSet {
        pixels: in_memory(pixels, SIDE, SIDE),
        height: SIDE,
        width: SIDE,
        labels: labels(images),
        classes: classes(),
        parts: vec![ImagePart {
            name: collection.name().to_string(),
            range: 0..images,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_draw_begins_with_the_shorter_one() {
        for collection in Collection::ALL {
            let short = render(collection, Split::Train, 12, 0);
            let long = render(collection, Split::Train, 23, 0);
            let (few, many) = (short.bytes().unwrap(), long.bytes().unwrap());
            assert_eq!(few[..], many[..few.len()]);
            assert_eq!(short.labels[..], long.labels[..12]);
        }
    }

    #[test]
    fn seeds_splits_and_collections_draw_independently() {
        let first = render(Collection::Narrow, Split::Train, 10, 0);
        for (collection, split, seed) in [
            (Collection::Narrow, Split::Train, 1),
            (Collection::Narrow, Split::Test, 0),
            (Collection::V2, Split::Train, 0),
        ] {
            let other = render(collection, split, 10, seed);
            for index in 0..10 {
                assert_ne!(first.image(index).unwrap(), other.image(index).unwrap());
            }
        }
    }
}
