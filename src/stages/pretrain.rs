//! `pretrain`: trains a model from scratch.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::derived::{self, InputArtifacts, Work};
use super::known_classes;
use super::price::{self, Cost, CostEstimate, InputForecasts, PortForecast};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::training;
use super::{images, model};
use crate::contract::port::{OutputSpec, PortType};
use crate::ml::models::{Config, Model, catalogue};
use crate::ml::ops::Precision;
use crate::ml::train::augment::Augment;
use crate::ml::train::fit::{Plan, fit};
use crate::ml::train::method::{Part, Plain};
use crate::ml::train::optimiser::Rule;
use crate::ml::train::schedule::Warmup;
use crate::store::artifact::Artifact;
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, InputClasses, InputSpec, Meaning, ParameterProblem,
    Withholds,
};

/// The optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimiserName {
    /// Adam with decoupled weight decay, not applied to biases, norms and embeddings.
    #[default]
    Adamw,
    Sgd,
}

/// Trains a new model on a dataset, with the classes of the dataset.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pretrain {
    /// The architecture: `vit_mini`, `resnet_mini`, …
    pub arch: String,
    /// The optimiser.
    #[serde(default = "defaults::optimiser")]
    pub optimiser: OptimiserName,
    /// The number of passes over the data.
    #[serde(default = "defaults::epochs")]
    #[schemars(range(min = 1, max = training::MOST_EPOCHS))]
    pub epochs: u64,
    /// The learning rate after the warm-up.
    #[serde(default = "defaults::lr")]
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// The batch size.
    #[serde(default = "defaults::batch")]
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// The length of the warm-up: a share of the steps if below 1, otherwise a number of steps.
    #[serde(default = "defaults::warmup")]
    #[schemars(range(min = 0.0))]
    pub warmup: f64,
    /// With SGD: the momentum.
    #[serde(default = "defaults::momentum")]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// Weight decay: decoupled for AdamW; an L2 penalty for SGD, as in PyTorch.
    #[serde(default = "defaults::weight_decay")]
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// The share of each target that is spread evenly over all classes.
    #[serde(default)]
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub label_smoothing: f64,
    /// The maximum norm of all gradients together; larger ones are scaled down, as in PyTorch's
    /// `clip_grad_norm_`. Default: no clipping.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub clip: Option<f64>,
    /// Flip images horizontally at random.
    #[serde(default)]
    pub flip: bool,
    /// Shift images at random by up to this many pixels, as a random crop of the padded image.
    #[serde(default)]
    #[schemars(range(max = training::MOST_SHIFT))]
    pub shift: usize,
    /// The precision of matrix products; weights and evaluation are f32. `f16` scales the loss as
    /// PyTorch's GradScaler does. On a CPU, 16-bit precisions are slower than f32.
    #[serde(default)]
    pub precision: Precision,
    /// The seed of all random numbers: initial weights, the order of the images, flips and shifts.
    #[serde(default)]
    pub seed: u64,
}

mod defaults {
    use super::OptimiserName;

    pub fn optimiser() -> OptimiserName {
        OptimiserName::Adamw
    }

    pub fn epochs() -> u64 {
        12
    }

    pub fn lr() -> f64 {
        0.001
    }

    pub fn batch() -> usize {
        64
    }

    pub fn warmup() -> f64 {
        0.1
    }

    pub fn momentum() -> f64 {
        0.9
    }

    pub fn weight_decay() -> f64 {
        0.05
    }
}

impl Default for Pretrain {
    fn default() -> Self {
        Self {
            arch: String::new(),
            optimiser: defaults::optimiser(),
            epochs: defaults::epochs(),
            lr: defaults::lr(),
            batch: defaults::batch(),
            warmup: defaults::warmup(),
            momentum: defaults::momentum(),
            weight_decay: defaults::weight_decay(),
            label_smoothing: 0.0,
            clip: None,
            flip: false,
            shift: 0,
            precision: Precision::F32,
            seed: 0,
        }
    }
}

impl Pretrain {
    fn plan(&self) -> Plan {
        Plan {
            epochs: self.epochs,
            batch: self.batch,
            rate: self.lr,
            warmup: Warmup::written(self.warmup),
            rule: match self.optimiser {
                OptimiserName::Adamw => Rule::ADAMW,
                OptimiserName::Sgd => Rule::Sgd {
                    momentum: self.momentum,
                },
            },
            weight_decay: self.weight_decay,
            smoothing: self.label_smoothing,
            clip: self.clip,
            augment: Augment {
                flip: self.flip,
                shift: self.shift,
            },
            frozen_backbone: false,
            precision: self.precision,
            seed: self.seed,
        }
    }

    fn unknown_architecture(&self) -> Option<ParameterProblem> {
        if catalogue::find(&self.arch).is_some() {
            return None;
        }
        let unknown = model::UnknownArchitecture::of(&self.arch);
        Some(ParameterProblem::value("arch", unknown.message).hint(unknown.hint))
    }
}

impl Stage for Pretrain {
    const NAME: &'static str = "pretrain";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "Trains a new model on a dataset";
    const COMPARISON: Comparison = Comparison::MetricsWithin(2.0);
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::one("data", PortType::Dataset)]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        training::outputs()
    }

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems: Vec<_> = self.unknown_architecture().into_iter().collect();
        problems.extend(training::check_warmup(self.warmup));
        problems
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        known_classes::giving("model", known_classes::of(inputs, "data"))
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        let count = price::images(foreseen, "data");
        let short = count.and_then(|count| training::short(&self.plan(), count));
        let Some((found, count)) = catalogue::find(&self.arch).zip(count) else {
            return CostEstimate::unknown();
        };
        let config = found.config(&[]);
        let shown = (self.epochs * count) as f64;
        let cost = Cost {
            images: shown,
            steps: training::steps(&self.plan(), count) as f64,
            operations: 3.0 * price::forward(&config) * shown,
            half: self.precision != Precision::F32,
            written: price::bytes(&config),
            ..Cost::default()
        };
        let price = CostEstimate {
            cost,
            short,
            ..CostEstimate::default()
        };
        price.giving("model", PortForecast::Model(Arc::new(config)))
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, given: &InputArtifacts, _device_class: &str) -> Vec<Work> {
        let Some(Artifact::Dataset(data)) = given.get("data").map(|data| &**data) else {
            return Vec::new();
        };
        let transform = Config::named(&self.arch, &data.classes).map(|it| it.input.transform());
        let parts = data.parts.iter();
        parts
            .filter_map(|part| derived::pixels(part, transform.as_ref().ok()))
            .collect()
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let input = context.input("data")?;
        let classes = &images::dataset(input)?.classes;
        let config = Config::named(&self.arch, classes)?;
        let set = images::load(context, input, Some(&config.input.transform()))?;
        let start = Model::new(config, self.seed, &context.device)?;
        let method = Plain { part: Part::All };
        let watch = training::TrainingRecorder::start(context, self.epochs, set.len());
        let fitted = fit(
            start,
            &set,
            &method,
            &self.plan(),
            context.threads,
            &*context,
        )?;
        watch.finish(fitted)
    }
}
