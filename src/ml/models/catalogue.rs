//! The architectures by name. One entry each; a new one needs no code.

use super::config::{Block, Config, Input, Network, ResNet, Vit, VitStart};
use crate::ml::data::resize::Filter;
use crate::ml::{Error, Result};

/// A catalogue entry.
pub struct Architecture {
    pub name: &'static str,
    pub summary: &'static str,
    input: fn() -> Input,
    network: fn() -> Network,
}

impl Architecture {
    /// The description of a model of this architecture for `classes`.
    pub fn config(&self, classes: &[String]) -> Config {
        Config {
            arch: self.name.to_string(),
            classes: classes.to_vec(),
            input: (self.input)(),
            network: (self.network)(),
        }
    }
}

/// Every architecture of this build.
pub fn list() -> &'static [Architecture] {
    ARCHITECTURES
}

impl Config {
    /// The description of a model of the architecture `arch` for `classes`.
    pub fn named(arch: &str, classes: &[String]) -> Result<Self> {
        let found = list().iter().find(|entry| entry.name == arch);
        let entry = found.ok_or_else(|| {
            let names: Vec<&str> = list().iter().map(|entry| entry.name).collect();
            let names = names.join(", ");
            Error::Invalid(format!("unknown architecture `{arch}`; there are: {names}"))
        })?;
        Ok(entry.config(classes))
    }
}

const ARCHITECTURES: &[Architecture] = &[
    Architecture {
        name: "vit_mini",
        summary: "vision transformer for the built-in images of 32 pixels",
        input: small_input,
        network: || {
            Network::Vit(Vit {
                start: VitStart::Xavier,
                ..vit(4, 64, 5, 2)
            })
        },
    },
    Architecture {
        name: "resnet_mini",
        summary: "residual network for the built-in images of 32 pixels",
        input: small_input,
        network: || resnet(Block::Basic, &[1, 1, 1], 16, true),
    },
    Architecture {
        name: "vit_tiny_patch16_224",
        summary: "ViT-Ti/16",
        input: augreg_input,
        network: || Network::Vit(vit(16, 192, 12, 3)),
    },
    Architecture {
        name: "vit_small_patch16_224",
        summary: "ViT-S/16",
        input: augreg_input,
        network: || Network::Vit(vit(16, 384, 12, 6)),
    },
    Architecture {
        name: "vit_base_patch16_224",
        summary: "ViT-B/16",
        input: augreg_input,
        network: || Network::Vit(vit(16, 768, 12, 12)),
    },
    Architecture {
        name: "resnet18",
        summary: "ResNet-18",
        input: torchvision_input,
        network: || resnet(Block::Basic, &[2, 2, 2, 2], 64, false),
    },
    Architecture {
        name: "resnet50",
        summary: "ResNet-50",
        input: torchvision_input,
        network: || resnet(Block::Bottleneck, &[3, 4, 6, 3], 64, false),
    },
];

/// timm's defaults: hidden layers four times as wide, exact GELU, all biases.
fn vit(patch: usize, width: usize, depth: usize, heads: usize) -> Vit {
    Vit {
        patch,
        width,
        depth,
        heads,
        hidden: 4 * width,
        norm_eps: 1e-6,
        norm_pre: false,
        patch_bias: true,
        qkv_bias: true,
        quick_gelu: false,
        start: VitStart::Normal,
    }
}

fn resnet(block: Block, stages: &[usize], width: usize, small_stem: bool) -> Network {
    Network::Resnet(ResNet {
        block,
        stages: stages.to_vec(),
        width,
        small_stem,
    })
}

/// The built-in images: no resize, no crop, [−1, 1].
fn small_input() -> Input {
    Input {
        size: 32,
        mean: [0.5; 3],
        std: [0.5; 3],
        interpolation: Filter::Bicubic,
        crop: 1.0,
    }
}

fn augreg_input() -> Input {
    Input {
        size: 224,
        mean: [0.5; 3],
        std: [0.5; 3],
        interpolation: Filter::Bicubic,
        crop: 0.9,
    }
}

/// ImageNet's statistics; 224 of 256 pixels.
fn torchvision_input() -> Input {
    Input {
        size: 224,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        interpolation: Filter::Bilinear,
        crop: 0.875,
    }
}
