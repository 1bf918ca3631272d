//! The datasets of ImageNet-RIB as they are distributed: where their folders are, which class each
//! folder holds, how many images there are, and on what terms. It reads no file.

mod objectnet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes;

/// A dataset that people have on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Preset {
    /// ImageNet-1K's validation set, one folder per class.
    #[serde(rename = "imagenet-val")]
    Val,
    /// ImageNet-V2, matched frequency; folders are numbers.
    #[serde(rename = "imagenet-v2")]
    V2,
    /// ImageNet-A: 200 classes.
    #[serde(rename = "imagenet-a")]
    A,
    /// ImageNet-R: 200 classes.
    #[serde(rename = "imagenet-r")]
    R,
    /// ImageNet-Sketch.
    #[serde(rename = "imagenet-sketch")]
    Sketch,
    /// ObjectNet: the 113 objects that ImageNet has too, without their red border.
    #[serde(rename = "imagenet-objectnet")]
    Objectnet,
    /// ImageNet-Cartoon.
    #[serde(rename = "imagenet-cartoon")]
    Cartoon,
    /// ImageNet-Drawing.
    #[serde(rename = "imagenet-drawing")]
    Drawing,
    /// One part of ImageNet-C, such as `fog/3`.
    #[serde(rename = "imagenet-c")]
    C,
}

/// Which ImageNet classes ObjectNet's folders stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectnetLabels {
    /// Its own mapping: 113 classes, some of several ImageNet classes, any of which is right.
    #[default]
    Intended,
    /// The 105 of the benchmark's released code, which gives eight folders the class of another.
    Released,
}

/// What is known of a preset.
pub struct Facts {
    pub name: &'static str,
    /// Where its class folders may lie below the common root, in order of preference. `{part}`
    /// stands for the part.
    pub places: &'static [&'static str],
    pub images: usize,
    /// Pixels to cut off each side.
    pub border: usize,
    /// Where it is to be had.
    pub home: &'static str,
    pub terms: &'static str,
    /// The licence has a clause against training on it, which are the terms.
    pub no_training: bool,
}

/// A class folder and the class that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub folder: String,
    /// A WordNet id; several, joined by `+`, where any of them is right.
    pub class: String,
}

/// ImageNet-C's corruptions in the order of the paper, with the archive each one comes in.
pub const CORRUPTIONS: [(&str, &str); 15] = [
    ("gaussian_noise", "noise"),
    ("shot_noise", "noise"),
    ("impulse_noise", "noise"),
    ("defocus_blur", "blur"),
    ("glass_blur", "blur"),
    ("motion_blur", "blur"),
    ("zoom_blur", "blur"),
    ("snow", "weather"),
    ("frost", "weather"),
    ("fog", "weather"),
    ("brightness", "weather"),
    ("contrast", "digital"),
    ("elastic_transform", "digital"),
    ("pixelate", "digital"),
    ("jpeg_compression", "digital"),
];

const RESEARCH: &str = "images from the web, for non-commercial research";

impl Preset {
    pub const ALL: [Self; 9] = [
        Self::Val,
        Self::V2,
        Self::A,
        Self::R,
        Self::Sketch,
        Self::Objectnet,
        Self::Cartoon,
        Self::Drawing,
        Self::C,
    ];

    pub fn facts(self) -> Facts {
        let facts = |name, places, images, home, terms| Facts {
            name,
            places,
            images,
            border: 0,
            home,
            terms,
            no_training: false,
        };
        match self {
            Self::Val => facts(
                "imagenet-val",
                &["val", "imagenet-val", "imagenet/val", "ILSVRC2012_img_val"],
                50_000,
                "image-net.org (ILSVRC2012_img_val.tar, sorted into class folders)",
                "terms of access of ImageNet: non-commercial research and education",
            ),
            Self::V2 => facts(
                "imagenet-v2",
                &[
                    "v2",
                    "imagenet-v2",
                    "imagenetv2-matched-frequency-format-val",
                ],
                10_000,
                "huggingface.co/datasets/vaishaal/ImageNetV2 (matched frequency)",
                RESEARCH,
            ),
            Self::A => facts(
                "imagenet-a",
                &["a", "imagenet-a"],
                7_500,
                "github.com/hendrycks/natural-adv-examples",
                RESEARCH,
            ),
            Self::R => facts(
                "imagenet-r",
                &["r", "imagenet-r"],
                30_000,
                "github.com/hendrycks/imagenet-r",
                RESEARCH,
            ),
            Self::Sketch => facts(
                "imagenet-sketch",
                &[
                    "sketch",
                    "imagenet-sketch",
                    "sketch/sketch",
                    "imagenet_sketch",
                ],
                50_889,
                "github.com/HaohanWang/ImageNet-Sketch",
                RESEARCH,
            ),
            Self::Objectnet => Facts {
                border: 2,
                no_training: true,
                ..facts(
                    "imagenet-objectnet",
                    &[
                        "objectnet",
                        "objectnet/images",
                        "objectnet-1.0/images",
                        "objectnet-1.0",
                    ],
                    18_574,
                    "objectnet.dev",
                    "ObjectNet's licence: never to be used to tune the parameters of any model",
                )
            },
            Self::Cartoon => facts(
                "imagenet-cartoon",
                &["cartoon", "imagenet-cartoon"],
                50_000,
                "zenodo.org/record/6801109",
                "made from ImageNet's validation set, on its terms",
            ),
            Self::Drawing => facts(
                "imagenet-drawing",
                &["drawing", "imagenet-drawing"],
                50_000,
                "zenodo.org/record/6801109",
                "made from ImageNet's validation set, on its terms",
            ),
            Self::C => facts(
                "imagenet-c",
                &[
                    "c/{part}",
                    "imagenet-c/{part}",
                    "c/{archive}/{part}",
                    "imagenet-c/{archive}/{part}",
                ],
                50_000,
                "zenodo.org/record/2235448",
                "made from ImageNet's validation set, on its terms",
            ),
        }
    }

    /// Where the class folders may lie below the root; `part` is that of ImageNet-C.
    pub fn places(self, part: Option<&str>) -> Vec<String> {
        let part = part.unwrap_or_default();
        let corruption = part.split('/').next().unwrap_or_default();
        let known = CORRUPTIONS.iter().find(|known| known.0 == corruption);
        let archive = known.map_or("", |known| known.1);
        let filled = |place: &&str| place.replace("{part}", part).replace("{archive}", archive);
        self.facts().places.iter().map(filled).collect()
    }

    /// Its class folders, in the order of their names.
    pub fn folders(self, labels: ObjectnetLabels) -> Vec<Folder> {
        let named = |classes: Vec<String>| -> Vec<Folder> {
            let folder = |class: String| Folder {
                folder: class.clone(),
                class,
            };
            classes.into_iter().map(folder).collect()
        };
        match self {
            Self::A => named(classes::imagenet_a()),
            Self::R => named(classes::imagenet_r()),
            Self::Objectnet => objectnet::folders(labels),
            Self::V2 => {
                let numbered = classes::imagenet().into_iter().enumerate();
                let mut folders: Vec<Folder> = numbered
                    .map(|(number, class)| Folder {
                        folder: number.to_string(),
                        class,
                    })
                    .collect();
                folders.sort_by(|a, b| a.folder.cmp(&b.folder));
                folders
            }
            _ => named(classes::imagenet()),
        }
    }
}

/// Whether `part` names a corruption and a severity of 1 to 5.
pub fn is_part(part: &str) -> bool {
    part.split_once('/').is_some_and(|(corruption, severity)| {
        CORRUPTIONS.iter().any(|known| known.0 == corruption)
            && matches!(severity, "1" | "2" | "3" | "4" | "5")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn folders_are_sorted_and_their_classes_are_imagenets() {
        let known: BTreeSet<String> = classes::imagenet().into_iter().collect();
        for preset in Preset::ALL {
            let folders = preset.folders(ObjectnetLabels::Intended);
            assert!(folders.is_sorted_by(|a, b| a.folder < b.folder));
            for folder in folders {
                assert!(folder.class.split('+').all(|class| known.contains(class)));
            }
        }
        let v2 = Preset::V2.folders(ObjectnetLabels::Intended);
        let ten = v2.iter().find(|folder| folder.folder == "10").unwrap();
        assert_eq!(ten.class, classes::imagenet()[10]);
    }

    /// The eight folders that the released code takes for the one before them.
    #[test]
    fn the_released_labels_of_objectnet_are_told_from_the_right_ones() {
        let right = Preset::Objectnet.folders(ObjectnetLabels::Intended);
        let released = Preset::Objectnet.folders(ObjectnetLabels::Released);
        let wrong: Vec<&str> = right
            .iter()
            .zip(&released)
            .filter(|(right, released)| !right.class.split('+').any(|it| it == released.class))
            .map(|(right, _)| right.folder.as_str())
            .collect();
        let expected = [
            "binder_closed",
            "chair",
            "iron_for_clothes",
            "jeans",
            "skirt",
            "swimming_trunks",
            "trash_bin",
            "weight_scale",
        ];
        assert_eq!(wrong, expected);
    }

    #[test]
    fn objectnet_has_113_classes_of_125_or_the_released_105() {
        let distinct = |labels| -> BTreeSet<String> {
            let folders = Preset::Objectnet.folders(labels);
            assert_eq!(folders.len(), 113);
            folders.into_iter().map(|folder| folder.class).collect()
        };
        let intended = distinct(ObjectnetLabels::Intended);
        assert_eq!(intended.len(), 113);
        let members = intended.iter().flat_map(|class| class.split('+'));
        assert_eq!(members.collect::<BTreeSet<_>>().len(), 125);
        let released = distinct(ObjectnetLabels::Released);
        assert_eq!(released.len(), 105);
        assert!(released.iter().all(|class| !class.contains('+')));
    }

    #[test]
    fn parts_are_found_with_and_without_their_archive() {
        let places = Preset::C.places(Some("fog/3"));
        assert_eq!(places[0], "c/fog/3");
        assert_eq!(places[2], "c/weather/fog/3");
        assert!(is_part("fog/3") && !is_part("fog/6") && !is_part("smog/3") && !is_part("fog"));
    }
}
