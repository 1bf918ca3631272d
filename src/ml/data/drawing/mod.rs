//! Pencil drawings of photographs as in ImageNet-Drawing: "Combining Sketch and Tone for Pencil
//! Drawing Production" (Lu, Xu and Jia, NPAR 2012), without a network. The luma becomes strokes
//! times tone in the texture of a pencil; the colours stay.
//!
//! The paper leaves some choices open: here, kernels have 17 pixels and 8 directions, the tone is
//! smoothed, and the pattern is tiled. The dataset's own pattern is a photograph by its authors and
//! not part of ribflow.

mod plane;
mod stroke;
mod texture;
mod tone;

use plane::Plane;
pub use texture::procedural_pattern;

use super::picture::Picture;
use crate::{Error, Result};

/// A pencil pattern: grey levels in (0, 1], tiled over pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(Plane);

impl Pattern {
    /// The luma of a picture.
    ///
    /// # Errors
    /// The pattern is all black or all white.
    pub fn of(picture: &Picture) -> Result<Self> {
        let luma = luma(picture);
        let inside = |value: &f64| *value > 0.0 && *value < 1.0;
        if !luma.values.iter().any(inside) {
            let message = "a pattern needs grey levels between black and white";
            return Err(Error::Invalid(message.to_string()));
        }
        Ok(Self(luma))
    }
}

/// Draws `picture` in the texture of `pattern`, at the same size.
pub fn draw(picture: &Picture, pattern: &Pattern) -> Picture {
    let before = luma(picture);
    let strokes = stroke::strokes(&before);
    let tone = tone::tone(&before);
    let texture = texture::rendered(&tone, &pattern.0);
    let mut pixels = Vec::with_capacity(picture.pixels.len());
    for (index, colour) in picture.pixels.chunks_exact(3).enumerate() {
        let drawn = strokes.values[index] * texture.values[index];
        // U and V are differences from the luma, so all channels move with it.
        let shift = 255.0 * (drawn - before.values[index]);
        let moved = colour.iter().map(|value| f64::from(*value) + shift);
        pixels.extend(moved.map(|value| value.round().clamp(0.0, 255.0) as u8));
    }
    Picture {
        pixels,
        width: picture.width,
        height: picture.height,
    }
}

/// Y of YUV (ITU-R BT.601) in [0, 1].
fn luma(picture: &Picture) -> Plane {
    let weigh = |colour: &[u8]| {
        let [r, g, b] = [colour[0], colour[1], colour[2]].map(f64::from);
        (0.299 * r + 0.587 * g + 0.114 * b) / 255.0
    };
    Plane {
        values: picture.pixels.chunks_exact(3).map(weigh).collect(),
        width: picture.width,
        height: picture.height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;

    /// A bright field with a dark square in it, and some noise.
    fn scene() -> Picture {
        let (width, height) = (90, 70);
        let mut stream = Stream::new(1, "scene");
        let mut pixels = Vec::new();
        for y in 0..height {
            for x in 0..width {
                let dark = (30..60).contains(&x) && (20..50).contains(&y);
                let level = if dark { 70 } else { 170 } + stream.below(9) as u8;
                pixels.extend([level + 20, level, level - 15]);
            }
        }
        Picture {
            pixels,
            width,
            height,
        }
    }

    fn mean(plane: &Plane, wanted: impl Fn(usize, usize) -> bool) -> f64 {
        let inside = (0..plane.values.len()).filter(|i| wanted(i % plane.width, i / plane.width));
        let values: Vec<f64> = inside.map(|index| plane.values[index]).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn a_drawing_is_paper_with_dark_outlines_and_the_old_colours() {
        let before = scene();
        let after = draw(&before, &procedural_pattern());
        assert_eq!((after.width, after.height), (90, 70));
        assert_eq!(after, draw(&before, &procedural_pattern()));
        let drawn = luma(&after);
        let field = mean(&drawn, |x, y| x < 20 || y < 10);
        let outline = mean(&drawn, |x, y| {
            let column = x.abs_diff(30) < 2 || x.abs_diff(60) < 2;
            column && (22..48).contains(&y)
        });
        assert!(field > 0.6, "the field is paper: {field}");
        assert!(
            outline < field - 0.25,
            "outlines are dark: {outline} on {field}"
        );
        for (a, b) in before.pixels.chunks(3).zip(after.pixels.chunks(3)) {
            let gap = |colour: &[u8]| i32::from(colour[0]) - i32::from(colour[1]);
            let clipped = b.iter().any(|value| [0, 255].contains(value));
            assert!(clipped || (gap(a) - gap(b)).abs() <= 1, "{a:?} {b:?}");
        }
    }

    #[test]
    fn odd_sizes_and_flat_pictures_are_drawn() {
        for (width, height) in [(1, 1), (1, 40), (3, 2), (33, 5)] {
            for level in [0, 128, 255] {
                let picture = Picture {
                    pixels: vec![level; 3 * width * height],
                    width,
                    height,
                };
                let drawn = draw(&picture, &procedural_pattern());
                assert_eq!(drawn.pixels.len(), picture.pixels.len());
            }
        }
    }

    #[test]
    fn a_pattern_has_some_tone() {
        let flat = |level: u8| Picture {
            pixels: vec![level; 12],
            width: 2,
            height: 2,
        };
        assert!(Pattern::of(&flat(255)).is_err());
        assert!(Pattern::of(&flat(0)).is_err());
        assert!(Pattern::of(&flat(200)).is_ok());
    }
}
