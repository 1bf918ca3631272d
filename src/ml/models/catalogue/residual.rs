//! The residual networks of torchvision. Tags are timm's: `tv_in1k` for the first weights,
//! `tv2_in1k` for the second, which are evaluated with a resize to 232 pixels instead of 256.

use super::{Checkpoint, IMAGENET, SMALL_INPUT, bilinear};
use crate::models::ResNet;
use crate::models::config::Block;

/// A residual network and its published checkpoints.
pub struct Residual {
    pub name: &'static str,
    pub summary: &'static str,
    /// Pixels on a side of the images.
    pub size: usize,
    block: Block,
    stages: &'static [usize],
    width: usize,
    small_stem: bool,
    pub checkpoints: &'static [Checkpoint],
}

impl Residual {
    pub fn network(&self) -> ResNet {
        ResNet {
            block: self.block,
            stages: self.stages.to_vec(),
            width: self.width,
            small_stem: self.small_stem,
        }
    }
}

const fn resnet(
    name: &'static str,
    summary: &'static str,
    block: Block,
    stages: &'static [usize],
    checkpoints: &'static [Checkpoint],
) -> Residual {
    Residual {
        name,
        summary,
        size: 224,
        block,
        stages,
        width: 64,
        small_stem: false,
        checkpoints,
    }
}

const FIRST: &[Checkpoint] = &[bilinear("tv_in1k", IMAGENET, 0.875, 1000)];
const BOTH: &[Checkpoint] = &[
    bilinear("tv_in1k", IMAGENET, 0.875, 1000),
    bilinear("tv2_in1k", IMAGENET, 0.965, 1000),
];

pub const NETWORKS: &[Residual] = &[
    Residual {
        name: "resnet_mini",
        summary: "residual network for the built-in images of 32 pixels",
        size: 32,
        block: Block::Basic,
        stages: &[1, 1, 1],
        width: 16,
        small_stem: true,
        checkpoints: SMALL_INPUT,
    },
    resnet("resnet18", "ResNet-18", Block::Basic, &[2, 2, 2, 2], FIRST),
    resnet("resnet34", "ResNet-34", Block::Basic, &[3, 4, 6, 3], FIRST),
    resnet(
        "resnet50",
        "ResNet-50",
        Block::Bottleneck,
        &[3, 4, 6, 3],
        BOTH,
    ),
    resnet(
        "resnet101",
        "ResNet-101",
        Block::Bottleneck,
        &[3, 4, 23, 3],
        BOTH,
    ),
    resnet(
        "resnet152",
        "ResNet-152",
        Block::Bottleneck,
        &[3, 8, 36, 3],
        BOTH,
    ),
];
