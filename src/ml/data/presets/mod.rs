//! The datasets of ImageNet-RIB as distributed: locations of folders, the class of each folder, the
//! number of images, and the terms. Reads no file.

mod objectnet;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::classes;

/// Which ImageNet classes ObjectNet's folders have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectnetLabels {
    /// Its own mapping: 113 classes, some of several ImageNet classes, any of which is correct.
    #[default]
    Intended,
    /// The 105 of the benchmark's released code, which gives eight folders another folder's class.
    Released,
}

/// The facts about a preset.
#[derive(Clone, Copy)]
pub struct Facts {
    pub name: &'static str,
    /// One sentence for the documentation.
    pub summary: &'static str,
    /// Possible locations of its class folders below the common root, in order of preference.
    /// `{part}` stands for the part.
    pub places: &'static [&'static str],
    pub images: usize,
    /// Pixels to cut off each side.
    pub border: usize,
    /// Where to get it.
    pub home: &'static str,
    pub terms: &'static str,
    /// The terms contain a clause against training on it.
    pub no_training: bool,
    /// It is used in parts, a corruption and a severity; each has `images` images.
    pub by_parts: bool,
    /// Its class folders have both intended and released labels.
    pub two_labels: bool,
    /// Its class folders, sorted by name.
    pub folders: fn(ObjectnetLabels) -> Vec<Folder>,
}

/// A class folder and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub folder: String,
    /// A WordNet id; several, joined by `+`, if any of them is correct.
    pub class: String,
}

/// ImageNet-C's corruptions in the order of the paper, with the archive that contains each.
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

/// Every preset.
pub static PRESETS: &[Facts] = &[
    Facts {
        name: "imagenet-val",
        summary: "ImageNet-1K's validation set, one folder per class.",
        places: &["val", "imagenet-val", "imagenet/val", "ILSVRC2012_img_val"],
        images: 50_000,
        home: "image-net.org (ILSVRC2012_img_val.tar, sorted into class folders)",
        terms: "terms of access of ImageNet: non-commercial research and education",
        ..USUAL
    },
    Facts {
        name: "imagenet-v2",
        summary: "ImageNet-V2, matched frequency; folders are numbers.",
        places: &[
            "v2",
            "imagenet-v2",
            "imagenetv2-matched-frequency-format-val",
        ],
        images: 10_000,
        home: "huggingface.co/datasets/vaishaal/ImageNetV2 (matched frequency)",
        terms: RESEARCH,
        folders: numbered,
        ..USUAL
    },
    Facts {
        name: "imagenet-a",
        summary: "ImageNet-A: 200 classes.",
        places: &["a", "imagenet-a"],
        images: 7_500,
        home: "github.com/hendrycks/natural-adv-examples",
        terms: RESEARCH,
        folders: |_| named(classes::imagenet_a()),
        ..USUAL
    },
    Facts {
        name: "imagenet-r",
        summary: "ImageNet-R: 200 classes.",
        places: &["r", "imagenet-r"],
        images: 30_000,
        home: "github.com/hendrycks/imagenet-r",
        terms: RESEARCH,
        folders: |_| named(classes::imagenet_r()),
        ..USUAL
    },
    Facts {
        name: "imagenet-sketch",
        summary: "ImageNet-Sketch.",
        places: &[
            "sketch",
            "imagenet-sketch",
            "sketch/sketch",
            "imagenet_sketch",
        ],
        images: 50_889,
        home: "github.com/HaohanWang/ImageNet-Sketch",
        terms: RESEARCH,
        ..USUAL
    },
    Facts {
        name: "imagenet-objectnet",
        summary: "ObjectNet: the 113 objects that ImageNet has too, without their red border.",
        places: &[
            "objectnet",
            "objectnet/images",
            "objectnet-1.0/images",
            "objectnet-1.0",
        ],
        images: 18_574,
        border: 2,
        home: "objectnet.dev",
        terms: "ObjectNet's licence: never to be used to tune the parameters of any model",
        no_training: true,
        two_labels: true,
        folders: objectnet::folders,
        ..USUAL
    },
    Facts {
        name: "imagenet-cartoon",
        summary: "ImageNet-Cartoon.",
        places: &["cartoon", "imagenet-cartoon"],
        images: 50_000,
        home: "zenodo.org/record/6801109",
        terms: "made from ImageNet's validation set, on its terms",
        ..USUAL
    },
    Facts {
        name: "imagenet-drawing",
        summary: "ImageNet-Drawing.",
        places: &["drawing", "imagenet-drawing"],
        images: 50_000,
        home: "zenodo.org/record/6801109",
        terms: "made from ImageNet's validation set, on its terms",
        ..USUAL
    },
    Facts {
        name: "imagenet-c",
        summary: "One part of ImageNet-C, such as `fog/3`.",
        places: &[
            "c/{part}",
            "imagenet-c/{part}",
            "c/{archive}/{part}",
            "imagenet-c/{archive}/{part}",
        ],
        images: 50_000,
        home: "zenodo.org/record/2235448",
        terms: "made from ImageNet's validation set, on its terms",
        by_parts: true,
        ..USUAL
    },
];

const USUAL: Facts = Facts {
    name: "",
    summary: "",
    places: &[],
    images: 0,
    border: 0,
    home: "",
    terms: "",
    no_training: false,
    by_parts: false,
    two_labels: false,
    folders: |_| named(classes::imagenet()),
};

/// Folders named after their classes.
fn named(classes: Vec<String>) -> Vec<Folder> {
    let folder = |class: String| Folder {
        folder: class.clone(),
        class,
    };
    classes.into_iter().map(folder).collect()
}

/// ImageNet's classes in folders named by number.
fn numbered(_labels: ObjectnetLabels) -> Vec<Folder> {
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

/// A dataset in its usual layout: an entry of [`PRESETS`].
#[derive(Clone, Copy)]
pub struct Preset(&'static Facts);

impl Preset {
    pub fn all() -> impl Iterator<Item = Self> {
        PRESETS.iter().map(Self)
    }

    /// The preset with the name `name` in workflow files.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|preset| preset.0.name == name)
    }

    pub fn facts(self) -> &'static Facts {
        self.0
    }

    /// Possible locations of the class folders below the root; `part` is that of ImageNet-C.
    pub fn places(self, part: Option<&str>) -> Vec<String> {
        let part = part.unwrap_or_default();
        let corruption = part.split('/').next().unwrap_or_default();
        let known = CORRUPTIONS.iter().find(|known| known.0 == corruption);
        let archive = known.map_or("", |known| known.1);
        let filled = |place: &&str| place.replace("{part}", part).replace("{archive}", archive);
        self.facts().places.iter().map(filled).collect()
    }

    /// Its class folders, sorted by name.
    pub fn folders(self, labels: ObjectnetLabels) -> Vec<Folder> {
        (self.0.folders)(labels)
    }
}

impl std::fmt::Debug for Preset {
    fn fmt(&self, formatter: &mut std::fmt::Formatter) -> std::fmt::Result {
        formatter.write_str(self.0.name)
    }
}

impl Serialize for Preset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.name)
    }
}

impl<'de> Deserialize<'de> for Preset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::named(&name).ok_or_else(|| {
            let names: Vec<String> = PRESETS.iter().map(|it| format!("`{}`", it.name)).collect();
            let names = names.join(", ");
            // Worded as serde does for an enum.
            D::Error::custom(format!("unknown variant `{name}`, expected one of {names}"))
        })
    }
}

impl JsonSchema for Preset {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Preset".into()
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        let preset = |facts: &Facts| {
            serde_json::json!({
                "const": facts.name,
                "description": facts.summary,
                "type": "string",
            })
        };
        let presets: Vec<serde_json::Value> = PRESETS.iter().map(preset).collect();
        json_schema!({ "description": "A dataset that people have on disk.", "oneOf": presets })
    }
}

/// Whether `part` consists of a corruption and a severity from 1 to 5.
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

    fn preset(name: &str) -> Preset {
        Preset::named(name).unwrap()
    }

    #[test]
    fn folders_are_sorted_and_their_classes_are_imagenets() {
        let known: BTreeSet<String> = classes::imagenet().into_iter().collect();
        for preset in Preset::all() {
            let folders = preset.folders(ObjectnetLabels::Intended);
            assert!(folders.is_sorted_by(|a, b| a.folder < b.folder));
            for folder in folders {
                assert!(folder.class.split('+').all(|class| known.contains(class)));
            }
        }
        let v2 = preset("imagenet-v2").folders(ObjectnetLabels::Intended);
        let ten = v2.iter().find(|folder| folder.folder == "10").unwrap();
        assert_eq!(ten.class, classes::imagenet()[10]);
    }

    /// The eight folders that the released code labels with the class of the previous folder.
    #[test]
    fn the_released_labels_of_objectnet_differ_from_the_right_ones() {
        let right = preset("imagenet-objectnet").folders(ObjectnetLabels::Intended);
        let released = preset("imagenet-objectnet").folders(ObjectnetLabels::Released);
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
            let folders = preset("imagenet-objectnet").folders(labels);
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
        let places = preset("imagenet-c").places(Some("fog/3"));
        assert_eq!(places[0], "c/fog/3");
        assert_eq!(places[2], "c/weather/fog/3");
        assert!(is_part("fog/3") && !is_part("fog/6") && !is_part("smog/3") && !is_part("fog"));
    }
}
