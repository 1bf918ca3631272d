//! What a node will cost and what it will give, as far as that is known before anything has run:
//! from parameters, the known sizes of datasets and architectures, and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ml::models::Config;

/// What a port will hold.
#[derive(Clone, Debug, PartialEq)]
pub enum PortForecast {
    /// So many images; `decode`: they are files, which must be decoded to be seen.
    Images {
        count: u64,
        decode: bool,
    },
    /// A model of this description. Its classes may be unknown still.
    Model(Arc<Config>),
    Unknown,
}

/// What every input will hold, by name.
pub type InputForecasts = BTreeMap<String, Vec<PortForecast>>;

/// What a node does with a dataset and a model that other nodes can share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedUse {
    /// The inputs.
    pub model: &'static str,
    pub data: &'static str,
    /// What it asks for beside the pixels.
    pub rows: Rows,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    None,
    /// The model's features: the node itself shows the model no image.
    Features,
    /// The model's logits.
    Logits,
}

/// What a node will cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Images shown to a model, training and evaluation alike, each as often as it is shown.
    pub images: f64,
    /// Steps of an optimiser.
    pub steps: f64,
    /// Floating-point operations, two for a multiplication with its addition.
    pub operations: f64,
    /// Of those, the ones that may be of half the precision.
    pub half: bool,
    /// Images that are drawn, or made of others.
    pub made: f64,
    /// Bytes for the store.
    pub written: f64,
    pub asks: Vec<SharedUse>,
    /// Something about it can't be known yet: what is counted is the least.
    pub at_least: bool,
}

/// A training of fewer steps than its warm-up: the learning rate never reaches what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortTraining {
    pub steps: u64,
    pub warmup: u64,
}

/// What a node will cost and give.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostEstimate {
    pub cost: Cost,
    /// By port.
    pub gives: BTreeMap<&'static str, PortForecast>,
    /// Where it trains, and for too few steps.
    pub short: Option<ShortTraining>,
}

impl CostEstimate {
    /// Next to nothing.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Nobody knows.
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

/// Bytes of an image file that is made, and of a file in a list of files.
const IMAGE_FILE: f64 = 30_000.0;
const LISTED_FILE: f64 = 120.0;

/// How many images an input will hold.
pub fn images(foreseen: &InputForecasts, name: &str) -> Option<u64> {
    let members = foreseen.get(name)?.iter();
    let counts = members.map(|member| match member {
        PortForecast::Images { count, .. } => Some(*count),
        _ => None,
    });
    counts.sum()
}

/// The model that an input will hold.
pub fn model(foreseen: &InputForecasts, name: &str) -> Option<Arc<Config>> {
    match foreseen.get(name)?.first()? {
        PortForecast::Model(config) => Some(Arc::clone(config)),
        _ => None,
    }
}

/// Operations to show a model one image, forward.
pub fn forward(config: &Config) -> f64 {
    2.0 * config.multiplications() as f64
}

/// Bytes of a whole model.
pub fn bytes(config: &Config) -> f64 {
    4.0 * config.numbers() as f64
}

/// A dataset of so many files.
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

/// A dataset made of another, image by image.
pub fn remade(foreseen: &InputForecasts, input: &str) -> CostEstimate {
    let count = images(foreseen, input);
    let mut price = dataset(count, true);
    price.cost.made = count.unwrap_or_default() as f64;
    price.cost.written += IMAGE_FILE * price.cost.made;
    price
}

/// Showing every image of `data` to `model` once, and writing so many bytes.
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
