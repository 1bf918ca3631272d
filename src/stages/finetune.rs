//! `finetune`: trains a given model further on a dataset.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::training::{self, positive, share};
use super::{images, model};
use crate::ml::data::ImageSet;
use crate::ml::models::Model;
use crate::ml::train::augment::Augment;
use crate::ml::train::fit::{Plan, fit};
use crate::ml::train::method::{Part, Plain};
use crate::ml::train::optimiser::Rule;
use crate::ml::train::schedule::Warmup;
use crate::rng::Stream;
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, OutputSpec, ParameterProblem, PortType, Source,
};

/// The way of fine-tuning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MethodName {
    /// Train by the cross-entropy alone.
    #[default]
    Ft,
    /// The same, the classifier alone: linear probing.
    Lp,
}

/// The part of the model that trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Train {
    /// Everything.
    All,
    /// The classifier, behind a frozen backbone in evaluation mode.
    Head,
    /// What the benchmark's released code leaves unfrozen for its head-only method: of a
    /// transformer also the class token, the positions and the outer norms; of a residual network
    /// the batch norms' statistics move.
    Released,
}

/// Where the classifier comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// From the given model; the dataset's classes must be among its own.
    #[default]
    Keep,
    /// A new one for the dataset's classes, drawn from `seed`.
    New,
}

/// Trains a model further on a dataset by SGD. The defaults are the benchmark's.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Finetune {
    /// The way of fine-tuning.
    pub method: MethodName,
    /// The part that trains; left out: everything for `ft`, the classifier for `lp`.
    pub train: Option<Train>,
    /// Whether the classifier is kept or replaced.
    pub head: Head,
    /// Passes over the data.
    pub epochs: u64,
    /// The learning rate after the warm-up.
    pub lr: f64,
    /// Images in a step.
    pub batch: usize,
    /// Length of the warm-up: below 1 a share of the steps, from 1 on a number of steps.
    pub warmup: f64,
    /// In [0, 1).
    pub momentum: f64,
    /// L2 penalty on all weights that train, as PyTorch's SGD has it.
    pub weight_decay: f64,
    /// In [0, 1).
    pub label_smoothing: f64,
    /// Mirror images left and right at random. Not where only the classifier trains.
    pub flip: bool,
    /// Shift images at random by up to so many pixels, as a random crop of the padded image. Not
    /// where only the classifier trains.
    pub shift: usize,
    /// Names all random numbers: the order of the images, flips and shifts, a new classifier.
    pub seed: u64,
    /// Deals the labels out anew among the images, as a control.
    pub shuffle_labels: bool,
}

impl Default for Finetune {
    fn default() -> Self {
        Self {
            method: MethodName::Ft,
            train: None,
            head: Head::Keep,
            epochs: 10,
            lr: 0.001,
            batch: 64,
            warmup: 196.0,
            momentum: 0.9,
            weight_decay: 0.0,
            label_smoothing: 0.0,
            flip: false,
            shift: 0,
            seed: 0,
            shuffle_labels: false,
        }
    }
}

impl Finetune {
    fn part(&self) -> Part {
        match (self.train, self.method) {
            (Some(Train::All), _) | (None, MethodName::Ft) => Part::All,
            (Some(Train::Head), _) | (None, MethodName::Lp) => Part::Head,
            (Some(Train::Released), _) => Part::Released,
        }
    }

    fn plan(&self) -> Plan {
        Plan {
            epochs: self.epochs,
            batch: self.batch,
            rate: self.lr,
            warmup: Warmup::written(self.warmup),
            rule: Rule::Sgd {
                momentum: self.momentum,
            },
            weight_decay: self.weight_decay,
            smoothing: self.label_smoothing,
            augment: Augment {
                flip: self.flip,
                shift: self.shift,
            },
            frozen_backbone: self.part() == Part::Head,
            seed: self.seed,
        }
    }

    fn start(&self, given: Model, set: &ImageSet) -> Result<Model, TaskError> {
        match self.head {
            Head::Keep => Ok(given),
            Head::New => Ok(given.with_new_head(&set.classes, self.seed)?),
        }
    }
}

impl Stage for Finetune {
    const NAME: &'static str = "finetune";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Trains a model further on a dataset by SGD";
    const COMPARISON: Comparison = Comparison::MetricsWithin(2.0);

    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one("init", PortType::Model),
            InputSpec::one("data", PortType::Dataset),
        ]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        training::outputs()
    }

    fn open_inputs(&self) -> bool {
        false
    }

    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        positive("epochs", self.epochs as f64, &mut problems);
        positive("batch", self.batch as f64, &mut problems);
        training::rate("lr", self.lr, &mut problems);
        training::warmup("warmup", self.warmup, &mut problems);
        share("momentum", self.momentum, &mut problems);
        training::rate("weight_decay", self.weight_decay, &mut problems);
        share("label_smoothing", self.label_smoothing, &mut problems);
        if self.method == MethodName::Lp && self.train == Some(Train::All) {
            let problem = ParameterProblem::value("train", "`lp` does not train everything");
            problems.push(problem.hint("method: ft trains everything"));
        }
        if self.part() == Part::Head && (self.flip || self.shift > 0) {
            let name = if self.flip { "flip" } else { "shift" };
            let message = format!("a frozen backbone sees every image once: no `{name}` there");
            problems.push(ParameterProblem::value(name, message));
        }
        problems
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let given = model::read(context, context.input("init")?)?;
        let transform = given.config().input.transform();
        let mut set = images::load(context, context.input("data")?, Some(&transform))?;
        if self.shuffle_labels {
            let order = Stream::new(self.seed, "labels").permutation(set.len());
            set.labels = order.iter().map(|image| set.labels[*image]).collect();
        }
        let start = self.start(given, &set)?;
        let method = Plain { part: self.part() };
        let watch = training::Watch::start(context, self.epochs, set.len());
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
