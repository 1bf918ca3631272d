//! Estimates the cost and the outputs of a node before anything has run, from its parameters and
//! the known sizes of datasets and architectures.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ml::models::Config;
use crate::workflow::kind::ParameterProblem;

/// The expected content of a port.
#[derive(Clone, Debug, PartialEq)]
pub enum PortForecast {
    /// A number of images. `decode`: they are files that must be decoded.
    Images {
        count: u64,
        decode: bool,
    },
    /// A model with this configuration. Its classes may still be unknown.
    Model(Arc<Config>),
    Unknown,
}

/// The expected content of every input, by name.
pub type InputForecasts = BTreeMap<String, Vec<PortForecast>>;

/// Work of a node on a dataset and a model that other nodes can share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedUse {
    /// The names of the inputs.
    pub model: &'static str,
    pub data: &'static str,
    /// What it needs besides the pixels.
    pub rows: Rows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    None,
    /// The model's features: the node itself does not run the model on images.
    Features,
    /// The model's logits.
    Logits,
}

/// The cost of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// The number of images processed by a model, in training and evaluation, with repeats.
    pub images: f64,
    /// The number of optimiser steps.
    pub steps: f64,
    /// Floating-point operations; a multiply-add counts as two.
    pub operations: f64,
    /// The part of the operations that may use half precision.
    pub half: bool,
    /// Images that are drawn, or made of others.
    pub made: f64,
    /// Bytes written to the store.
    pub written: f64,
    pub asks: Vec<SharedUse>,
    /// Something is still unknown, so the numbers are lower bounds.
    pub at_least: bool,
}

/// A training that has fewer steps than its warm-up, so it never reaches the given learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortTraining {
    pub steps: u64,
    pub warmup: u64,
}

impl ShortTraining {
    /// The share of the learning rate that it reaches.
    pub fn reached(&self) -> f64 {
        self.steps as f64 / self.warmup as f64
    }
}

/// The cost and the outputs of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostEstimate {
    pub cost: Cost,
    /// The outputs by port.
    pub gives: BTreeMap<&'static str, PortForecast>,
    /// Set if it trains for too few steps.
    pub short: Option<ShortTraining>,
    /// A parameter with which the node would fail on what it is given.
    pub misfit: Option<ParameterProblem>,
}

impl CostEstimate {
    /// A negligible cost.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// An unknown cost.
    pub fn unknown() -> Self {
        Self {
            cost: Cost {
                at_least: true,
                ..Cost::default()
            },
            ..Self::default()
        }
    }

    pub fn giving(mut self, port: &'static str, outlook: PortForecast) -> Self {
        self.gives.insert(port, outlook);
        self
    }
}

/// The size of a generated image file, and of an entry in a list of files, in bytes.
const IMAGE_FILE: f64 = 30_000.0;
const LISTED_FILE: f64 = 120.0;

/// The number of images in an input.
pub fn images(foreseen: &InputForecasts, name: &str) -> Option<u64> {
    let members = foreseen.get(name)?.iter();
    let counts = members.map(|member| match member {
        PortForecast::Images { count, .. } => Some(*count),
        _ => None,
    });
    counts.sum()
}

/// The model in an input.
pub fn model(foreseen: &InputForecasts, name: &str) -> Option<Arc<Config>> {
    match foreseen.get(name)?.first()? {
        PortForecast::Model(config) => Some(Arc::clone(config)),
        _ => None,
    }
}

/// The operations for a forward pass on one image.
pub fn forward(config: &Config) -> f64 {
    2.0 * config.multiplications() as f64
}

/// The size of a model in bytes.
pub fn bytes(config: &Config) -> f64 {
    4.0 * config.numbers() as f64
}

/// A dataset of `count` files.
pub fn dataset(count: Option<u64>, decode: bool) -> CostEstimate {
    let outlook = count.map_or(PortForecast::Unknown, |count| PortForecast::Images {
        count,
        decode,
    });
    let mut price = match count {
        Some(_) => CostEstimate::nothing(),
        None => CostEstimate::unknown(),
    };
    let each = if decode { LISTED_FILE } else { 3072.0 };
    price.cost.written = each * count.unwrap_or_default() as f64;
    price.giving("images", outlook)
}

/// A dataset derived from another one, image by image.
pub fn remade(foreseen: &InputForecasts, input: &str) -> CostEstimate {
    let count = images(foreseen, input);
    let mut price = dataset(count, true);
    price.cost.made = count.unwrap_or_default() as f64;
    price.cost.written += IMAGE_FILE * price.cost.made;
    price
}

/// A forward pass of `model` on every image of `data`, and `written` bytes of output.
pub fn shown(foreseen: &InputForecasts, written: f64, asks: Rows) -> CostEstimate {
    let (Some(count), Some(config)) = (images(foreseen, "data"), model(foreseen, "model")) else {
        return CostEstimate::unknown();
    };
    let ask = SharedUse {
        model: "model",
        data: "data",
        rows: asks,
    };
    let shown = if asks == Rows::None {
        count as f64
    } else {
        0.0
    };
    CostEstimate {
        cost: Cost {
            images: shown,
            operations: shown * forward(&config),
            written,
            asks: vec![ask],
            ..Cost::default()
        },
        ..CostEstimate::default()
    }
}
