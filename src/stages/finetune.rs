//! `finetune`: trains a given model further on a dataset.

use std::collections::BTreeMap;

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::derived::{self, Frozen, Given, Work, of_model_and_data};
use super::price::{self, Ask, Cost, Foreseen, Outlook, Price, Rows};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::training::{self, positive, share};
use super::{images, model};
use crate::ml::data::ImageSet;
use crate::ml::models::{Config, Model};
use crate::ml::ops::Precision;
use crate::ml::rng::Stream;
use crate::ml::train::augment::Augment;
use crate::ml::train::fisher::diagonal;
use crate::ml::train::fit::{Known, Plan, fit_knowing};
use crate::ml::train::method::{Anchored, Lora, Lwf, Method, Part, Plain, Prompt};
use crate::ml::train::optimiser::Rule;
use crate::ml::train::schedule::Warmup;
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, OutputSpec, ParameterProblem, PortType, Source, Withholds,
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
    /// Low-rank changes of queries and values; class token, positions and outer norms train too.
    /// Transformers only.
    Lora,
    /// A frame of learned pixels around the images, in front of a frozen model.
    Prompt,
    /// Learning without forgetting: the model before fine-tuning teaches the one in training.
    Lwf,
    /// Pulled back to the start: L2-SP, which the benchmark calls EWC; with `fisher`, EWC proper.
    Ewc,
}

/// What weighs the parameters in the pull of `ewc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fisher {
    /// Nothing: all alike, as in the benchmark's released code.
    #[default]
    None,
    /// The diagonal of the Fisher information of the given model.
    Diagonal,
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
    /// The part that trains (ft, lp); left out: everything for `ft`, the classifier for `lp`.
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
    /// The largest norm of all gradients together; beyond it they are scaled down, as by PyTorch's
    /// `clip_grad_norm_`. Left out: none.
    pub clip: Option<f64>,
    /// Mirror images left and right at random. Not where only the classifier trains.
    pub flip: bool,
    /// Shift images at random by up to so many pixels, as a random crop of the padded image. Not
    /// where only the classifier trains.
    pub shift: usize,
    /// Names all random numbers: the order of the images, flips and shifts, a new classifier.
    pub seed: u64,
    /// Numbers that matrix products work on while training; weights and evaluation are f32. `f16`
    /// scales the loss as PyTorch's GradScaler does. On a CPU both are slower than f32.
    pub precision: Precision,
    /// Deals the labels out anew among the images, as a control.
    pub shuffle_labels: bool,
    /// Weight of what is added to the cross-entropy (lwf, ewc).
    pub strength: f64,
    /// Divides the logits of teacher and student (lwf).
    pub temperature: f64,
    /// What weighs the parameters in the pull (ewc).
    pub fisher: Fisher,
    /// Images that the Fisher information is taken from (ewc with `fisher: diagonal`), of
    /// `needs.anchor`, or of the dataset itself.
    pub fisher_samples: usize,
    /// Rank of the changes (lora).
    pub rank: usize,
    /// The changes count `alpha` / `rank` times (lora).
    pub alpha: f64,
    /// Pixels of the frame (prompt).
    pub pad: usize,
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
            clip: None,
            flip: false,
            shift: 0,
            seed: 0,
            precision: Precision::F32,
            shuffle_labels: false,
            strength: 1.0,
            temperature: 2.0,
            fisher: Fisher::None,
            fisher_samples: 1024,
            rank: 8,
            alpha: 1.0,
            pad: 30,
        }
    }
}

impl MethodName {
    fn name(self) -> &'static str {
        match self {
            Self::Ft => "ft",
            Self::Lp => "lp",
            Self::Lora => "lora",
            Self::Prompt => "prompt",
            Self::Lwf => "lwf",
            Self::Ewc => "ewc",
        }
    }
}

impl Finetune {
    /// A step is one pass forward, one back through the activations and one for the gradients of
    /// the weights; where few weights train, the last is next to nothing.
    fn cost(&self, config: &Config, count: u64) -> Cost {
        let shown = (self.epochs * count) as f64;
        let forward = price::forward(config);
        let ask = |rows| Ask {
            model: "init",
            data: "data",
            rows,
        };
        let frozen = self.wants_features();
        let (passes, rows) = match self.method {
            _ if frozen => (0.0, Rows::Features),
            MethodName::Lwf => (3.0, Rows::Logits),
            MethodName::Ft | MethodName::Ewc => (3.0, Rows::None),
            MethodName::Lp | MethodName::Lora | MethodName::Prompt => (2.0, Rows::None),
        };
        let fisher = match self.fisher {
            Fisher::None => 0.0,
            Fisher::Diagonal => 3.0 * forward * self.fisher_samples as f64,
        };
        let head = 4.0 * ((config.features() + 1) * config.outputs()) as f64;
        Cost {
            images: if frozen { 0.0 } else { shown },
            steps: (self.epochs * count.div_ceil(self.batch.max(1) as u64)) as f64,
            operations: passes * forward * shown + fisher,
            half: self.precision != Precision::F32,
            written: match self.method {
                MethodName::Lp => head,
                MethodName::Prompt => {
                    4.0 * (12 * self.pad * config.input.size.saturating_sub(self.pad)) as f64
                }
                MethodName::Lora => price::bytes(config) / 4.0,
                _ => price::bytes(config),
            },
            asks: vec![ask(rows)],
            ..Cost::default()
        }
    }

    fn part(&self) -> Part {
        match (self.train, self.method) {
            (Some(Train::Head), _) | (None, MethodName::Lp) => Part::Head,
            (Some(Train::Released), _) => Part::Released,
            (Some(Train::All) | None, _) => Part::All,
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
            clip: self.clip,
            augment: Augment {
                flip: self.flip,
                shift: self.shift,
            },
            frozen_backbone: self.part() == Part::Head,
            precision: self.precision,
            seed: self.seed,
        }
    }

    fn method(
        &self,
        start: &Model,
        set: &ImageSet,
        context: &Context,
    ) -> Result<Box<dyn Method>, TaskError> {
        Ok(match self.method {
            MethodName::Ft | MethodName::Lp => Box::new(Plain { part: self.part() }),
            MethodName::Lora => Box::new(Lora::new(start, self.rank, self.alpha)?),
            MethodName::Prompt => Box::new(Prompt::new(start, self.pad)?),
            MethodName::Lwf => Box::new(Lwf {
                teacher: start.clone(),
                strength: self.strength,
                temperature: self.temperature,
            }),
            MethodName::Ewc => {
                let weights = match self.fisher {
                    Fisher::None => None,
                    Fisher::Diagonal => Some(self.information(start, set, context)?),
                };
                Box::new(Anchored::new(start, weights, self.strength))
            }
        })
    }

    fn information(
        &self,
        start: &Model,
        set: &ImageSet,
        context: &Context,
    ) -> Result<BTreeMap<String, Tensor>, TaskError> {
        let anchor = match context.members("anchor").first() {
            Some(input) => {
                let transform = start.config().input.transform();
                Some(images::load(context, input, Some(&transform))?)
            }
            None => None,
        };
        let set = anchor.as_ref().unwrap_or(set);
        let (samples, threads) = (self.fisher_samples, context.threads);
        Ok(diagonal(start, set, samples, self.seed, threads, context)?)
    }

    /// Options that say something to another method than the one asked for.
    fn out_of_place(&self) -> Vec<ParameterProblem> {
        use MethodName::{Ewc, Ft, Lora, Lp, Lwf, Prompt};
        let usual = Self::default();
        let options: [(&str, bool, &[MethodName]); 8] = [
            ("train", self.train.is_some(), &[Ft, Lp]),
            ("strength", self.strength != usual.strength, &[Lwf, Ewc]),
            ("temperature", self.temperature != usual.temperature, &[Lwf]),
            ("fisher", self.fisher != usual.fisher, &[Ewc]),
            (
                "fisher_samples",
                self.fisher_samples != usual.fisher_samples,
                &[Ewc],
            ),
            ("rank", self.rank != usual.rank, &[Lora]),
            ("alpha", self.alpha != usual.alpha, &[Lora]),
            ("pad", self.pad != usual.pad, &[Prompt]),
        ];
        let mut problems = Vec::new();
        for (option, given, of) in options {
            if given && !of.contains(&self.method) {
                let message = format!("`{option}` means nothing to `{}`", self.method.name());
                let of: Vec<String> = of.iter().map(|of| format!("`{}`", of.name())).collect();
                let problem = ParameterProblem::value(option, message);
                problems.push(problem.hint(format!("it is an option of {}", of.join(", "))));
            }
        }
        problems
    }

    fn wants_features(&self) -> bool {
        self.part() == Part::Head
    }

    fn wants_teacher(&self) -> bool {
        // A new classifier has been drawn for this training alone.
        let kept = self.head == Head::Keep;
        self.method == MethodName::Lwf && kept && self.plan().augment.is_none()
    }

    /// What other nodes need of the same model and images too.
    fn known(&self, context: &Context, model: &Model, set: &ImageSet) -> Result<Known, TaskError> {
        let (given, data) = (context.input("init")?, context.input("data")?);
        let frozen = Frozen::of(model, given, data, set)?;
        let mut known = Known::default();
        if self.wants_features() {
            known.features = Some(frozen.features(context)?);
        }
        if self.wants_teacher() {
            known.teacher = frozen.logits(context)?;
        }
        Ok(known)
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
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "Trains a model further on a dataset by SGD";
    const COMPARISON: Comparison = Comparison::MetricsWithin(2.0);

    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one("init", PortType::Model),
            InputSpec::one("data", PortType::Dataset),
            InputSpec::one("anchor", PortType::Dataset).optional(),
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

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = self.out_of_place();
        let anchored = inputs
            .iter()
            .any(|input| input.name == "anchor" && !input.members.is_empty());
        if anchored && self.fisher != Fisher::Diagonal {
            let message = "`anchor` is what the Fisher information is taken from";
            let problem = ParameterProblem::input("anchor", message);
            problems.push(problem.hint("`method: ewc` with `fisher: diagonal` takes it"));
        }
        positive("fisher_samples", self.fisher_samples as f64, &mut problems);
        positive("rank", self.rank as f64, &mut problems);
        positive("pad", self.pad as f64, &mut problems);
        training::rate("strength", self.strength, &mut problems);
        training::rate("alpha", self.alpha, &mut problems);
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            let message = "`temperature` must be above 0";
            problems.push(ParameterProblem::value("temperature", message));
        }
        positive("epochs", self.epochs as f64, &mut problems);
        positive("batch", self.batch as f64, &mut problems);
        training::rate("lr", self.lr, &mut problems);
        training::warmup("warmup", self.warmup, &mut problems);
        share("momentum", self.momentum, &mut problems);
        training::rate("weight_decay", self.weight_decay, &mut problems);
        share("label_smoothing", self.label_smoothing, &mut problems);
        training::clip(self.clip, &mut problems);
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

    fn price(&self, foreseen: &Foreseen) -> Price {
        let count = price::images(foreseen, "data");
        let Some((config, count)) = price::model(foreseen, "init").zip(count) else {
            return Price::unknown();
        };
        let price = Price {
            cost: self.cost(&config, count),
            gives: Default::default(),
        };
        price.giving("model", Outlook::Model(config))
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, given: &Given, device_class: &str) -> Vec<Work> {
        of_model_and_data(given, "init", "data", |model, config, data| {
            let mut works = Vec::new();
            if self.wants_features() {
                works.push(derived::features(model, config, data, device_class));
            }
            if self.wants_teacher() {
                works.push(derived::logits(model, config, data, device_class));
            }
            works
        })
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let context = &*context;
        let init = context.input("init")?;
        let given = model::read(context, init)?;
        let transform = given.config().input.transform();
        let data = context.input("data")?;
        if let Some(clause) = &images::dataset(data)?.clause {
            context.progress.log(&format!("warning: {clause}"));
        }
        let mut set = images::load(context, data, Some(&transform))?;
        if self.shuffle_labels {
            let order = Stream::new(self.seed, "labels").permutation(set.len());
            set.labels = order.iter().map(|image| set.labels[*image]).collect();
        }
        let known = self.known(context, &given, &set)?;
        let start = self.start(given, &set)?;
        let method = self.method(&start, &set, context)?;
        let watch = training::Watch::start(context, self.epochs, set.len());
        let fitted = fit_knowing(
            start,
            &set,
            &*method,
            &self.plan(),
            known,
            context.threads,
            context,
        )?;
        watch.finish(fitted)
    }
}
