//! The architectures by name, and the inputs of their published checkpoints. An architecture is an
//! entry of a table; a new one needs no code.
//!
//! `vit_base_patch16_224` is an architecture; `vit_base_patch16_224.augreg_in1k` is the same with
//! the settings of a checkpoint of timm: colours, crop, interpolation and outputs.

mod residual;
mod transformers;
mod unsupported;

pub use unsupported::{lacking, lacking_of};

use super::config::{Config, Input, Network, Vit, VitStart};
use crate::data::resize::Filter;
use crate::{Error, Result};

/// Mean and standard deviation of the channels.
type Colours = ([f64; 3], [f64; 3]);

/// [−1, 1].
const HALF: Colours = ([0.5; 3], [0.5; 3]);
/// [0, 1].
const RAW: Colours = ([0.0; 3], [1.0; 3]);
const IMAGENET: Colours = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
const CLIP: Colours = (
    [0.48145466, 0.4578275, 0.40821073],
    [0.26862954, 0.26130258, 0.27577711],
);

/// The settings of a published checkpoint.
pub struct Checkpoint {
    /// The part of its name after the dot.
    tag: &'static str,
    colours: Colours,
    /// The share of the resized shorter side that the centre crop keeps.
    crop: f64,
    interpolation: Filter,
    /// The number of logits; 0: without a classifier.
    outputs: usize,
}

const fn bicubic(tag: &'static str, colours: Colours, crop: f64, outputs: usize) -> Checkpoint {
    Checkpoint {
        tag,
        colours,
        crop,
        interpolation: Filter::Bicubic,
        outputs,
    }
}

const fn bilinear(tag: &'static str, colours: Colours, crop: f64, outputs: usize) -> Checkpoint {
    Checkpoint {
        tag,
        colours,
        crop,
        interpolation: Filter::Bilinear,
        outputs,
    }
}

/// A catalogue entry: an architecture with the input of one of its checkpoints.
pub struct Architecture {
    /// `vit_base_patch16_224.augreg_in1k`, or without the tag for the first of its checkpoints.
    pub name: String,
    pub summary: &'static str,
    pub input: Input,
    /// The number of logits of the published checkpoint; 0: without a classifier. `None` if no
    /// checkpoint is published.
    pub outputs: Option<usize>,
    network: Network,
}

impl Architecture {
    /// The config of a model of this architecture for `classes`; if `classes` is empty, that of the
    /// published checkpoint with its unnamed outputs.
    pub fn config(&self, classes: &[String]) -> Config {
        let unnamed = classes.is_empty().then_some(self.outputs).flatten();
        Config {
            arch: self.name.clone(),
            classes: classes.to_vec(),
            embedding: unnamed.map(|outputs| match outputs {
                0 => self.network.features(),
                outputs => outputs,
            }),
            headless: unnamed == Some(0),
            prompt: None,
            input: self.input.clone(),
            network: self.network.clone(),
        }
    }
}

/// The entry `name`.
pub fn find(name: &str) -> Option<Architecture> {
    let (arch, tag) = name.split_once('.').unwrap_or((name, ""));
    let chosen = |checkpoints: &'static [Checkpoint]| match tag {
        "" => checkpoints.first(),
        tag => checkpoints.iter().find(|checkpoint| checkpoint.tag == tag),
    };
    let entry = |summary, size, checkpoint: &Checkpoint, network| Architecture {
        name: name.to_string(),
        summary,
        input: input(size, checkpoint),
        outputs: (checkpoint.outputs != UNPUBLISHED).then_some(checkpoint.outputs),
        network,
    };
    if let Some(found) = transformers().find(|entry| entry.name == arch) {
        let network = Network::Vit(found.network.clone());
        return Some(entry(
            found.summary,
            found.size,
            chosen(found.checkpoints)?,
            network,
        ));
    }
    let found = residual::NETWORKS.iter().find(|entry| entry.name == arch)?;
    let network = Network::Resnet(found.network());
    Some(entry(
        found.summary,
        found.size,
        chosen(found.checkpoints)?,
        network,
    ))
}

/// The names of all entries: each architecture, followed by its checkpoints.
pub fn names() -> Vec<String> {
    let residual = residual::NETWORKS.iter();
    let all = transformers()
        .map(|entry| (entry.name, entry.checkpoints))
        .chain(residual.map(|entry| (entry.name, entry.checkpoints)));
    all.flat_map(|(name, checkpoints)| {
        let tagged = checkpoints
            .iter()
            .filter(|checkpoint| !checkpoint.tag.is_empty());
        let tagged = tagged.map(move |checkpoint| format!("{name}.{}", checkpoint.tag));
        std::iter::once(name.to_string()).chain(tagged)
    })
    .collect()
}

impl Config {
    /// The config of a model of the architecture `arch` for `classes`; see
    /// [`Architecture::config`].
    pub fn named(arch: &str, classes: &[String]) -> Result<Self> {
        let unknown = || Error::Invalid(format!("there is no architecture `{arch}`"));
        let found = find(arch).ok_or_else(unknown)?;
        Ok(found.config(classes))
    }
}

/// Instead of a number of outputs: there is no published checkpoint.
const UNPUBLISHED: usize = usize::MAX;

/// For the built-in images: no resize, no crop.
const SMALL_INPUT: &[Checkpoint] = &[bicubic("", HALF, 1.0, UNPUBLISHED)];

const MINI: transformers::Transformer = transformers::Transformer {
    name: "vit_mini",
    summary: "vision transformer for the built-in images of 32 pixels",
    size: 32,
    network: Vit {
        start: VitStart::Xavier,
        ..transformers::vit(64, 5, 2, 256).patches(4)
    },
    checkpoints: SMALL_INPUT,
};

fn transformers() -> impl Iterator<Item = &'static transformers::Transformer> {
    std::iter::once(&MINI).chain(transformers::TRANSFORMERS)
}

fn input(size: usize, checkpoint: &Checkpoint) -> Input {
    let (mean, std) = checkpoint.colours;
    Input {
        size,
        mean,
        std,
        interpolation: checkpoint.interpolation,
        crop: checkpoint.crop,
    }
}
