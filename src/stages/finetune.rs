//! `finetune`: fine-tunes a model on a dataset.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::derived::{self, Frozen, InputArtifacts, Work, of_model_and_data};
use super::known_classes;
use super::options::{Common, WithOptions};
use super::price::{self, Cost, CostEstimate, InputForecasts, PortForecast, Rows, SharedUse};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::training;
use super::{images, model};
use crate::contract::port::{OutputSpec, PortType};
use crate::ml::data::ImageSet;
use crate::ml::declaration::Choice;
use crate::ml::models::{Config, Model};
use crate::ml::ops::Precision;
use crate::ml::rng::Stream;
use crate::ml::train::augment::Augment;
use crate::ml::train::fit::{Plan, Precomputed, fit_with};
use crate::ml::train::method::{Method, MethodOptions, Start};
use crate::ml::train::optimiser::Rule;
use crate::ml::train::schedule::Warmup;
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, InputClasses, InputSpec, Meaning, ParameterProblem,
    Withholds,
};

/// The fine-tuning method.
pub type MethodName = Choice<dyn MethodOptions>;

/// The origin of the classifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Keep the model's classifier; it must have the dataset's classes.
    #[default]
    Keep,
    /// Use a new classifier for the dataset's classes, initialised from `seed`.
    New,
}

/// Fine-tunes a model on a dataset with SGD. The defaults are the benchmark's.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Finetune")]
pub struct Training {
    /// The fine-tuning method.
    pub method: MethodName,
    /// Whether to keep or replace the classifier.
    pub head: Head,
    /// The number of passes over the data.
    #[schemars(range(min = 1, max = training::MOST_EPOCHS))]
    pub epochs: u64,
    /// The learning rate after the warm-up.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// The batch size.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// The length of the warm-up: a share of the steps if below 1, otherwise a number of steps.
    #[schemars(range(min = 0.0))]
    pub warmup: f64,
    /// The momentum of SGD.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub momentum: f64,
    /// The L2 penalty on all trainable weights, as in PyTorch's SGD.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// The share of each target that is spread evenly over all classes.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub label_smoothing: f64,
    /// The maximum norm of all gradients together; larger ones are scaled down, as in PyTorch's
    /// `clip_grad_norm_`. Default: no clipping.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub clip: Option<f64>,
    /// Flip images horizontally at random. Not available if only the classifier is trained.
    pub flip: bool,
    /// Shift images at random by up to this many pixels, as a random crop of the padded image. Not
    /// available if only the classifier is trained.
    #[schemars(range(max = training::MOST_SHIFT))]
    pub shift: usize,
    /// The seed of all random numbers: the order of the images, flips and shifts, a new classifier.
    pub seed: u64,
    /// The precision of matrix products during training; weights and evaluation are f32. `f16`
    /// scales the loss as PyTorch's GradScaler does. On a CPU, 16-bit precisions are slower than
    /// f32.
    pub precision: Precision,
    /// Shuffle the labels among the images, as a control.
    pub shuffle_labels: bool,
}

/// The parameters of `finetune`: common parameters, and the options of the methods.
pub type Finetune = WithOptions<Training>;

impl Common for Training {
    type Options = dyn MethodOptions;

    fn chosen(&self) -> Vec<MethodName> {
        vec![self.method]
    }
}

impl Default for Training {
    fn default() -> Self {
        Self {
            method: MethodName::default(),
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
        }
    }
}

impl Finetune {
    fn method(&self) -> Box<dyn MethodOptions> {
        self.options(self.common.method)
    }

    fn cost(&self, config: &Config, count: u64) -> Cost {
        let common = &self.common;
        let method = self.method();
        let effort = method.effort(config);
        let shown = (common.epochs * count) as f64;
        let forward = price::forward(config);
        let (passes, images, rows) = match (method.head_only(), method.has_teacher()) {
            (true, _) => (0.0, 0.0, Rows::Features),
            (false, true) => (effort.passes, shown, Rows::Logits),
            (false, false) => (effort.passes, shown, Rows::None),
        };
        Cost {
            images,
            steps: training::steps(&self.plan(), count) as f64,
            operations: passes * forward * shown + forward * effort.before,
            half: common.precision != Precision::F32,
            written: 4.0 * effort.written,
            asks: vec![SharedUse {
                model: "init",
                data: "data",
                rows,
            }],
            ..Cost::default()
        }
    }

    fn plan(&self) -> Plan {
        let common = &self.common;
        Plan {
            epochs: common.epochs,
            batch: common.batch,
            rate: common.lr,
            warmup: Warmup::written(common.warmup),
            rule: Rule::Sgd {
                momentum: common.momentum,
            },
            weight_decay: common.weight_decay,
            smoothing: common.label_smoothing,
            clip: common.clip,
            augment: Augment {
                flip: common.flip,
                shift: common.shift,
            },
            frozen_backbone: self.method().head_only(),
            precision: common.precision,
            seed: common.seed,
        }
    }

    fn build(
        &self,
        start: &Model,
        set: &ImageSet,
        context: &Context,
    ) -> Result<Box<dyn Method>, TaskError> {
        let anchor = match context.members("anchor").first() {
            Some(input) => {
                let transform = start.config().input.transform();
                Some(images::load(context, input, Some(&transform))?)
            }
            None => None,
        };
        let start = Start {
            model: start,
            anchor: anchor.as_ref().unwrap_or(set),
            seed: self.common.seed,
            threads: context.threads,
            observer: context,
        };
        Ok(self.method().build(&start)?)
    }

    fn wants_features(&self) -> bool {
        self.method().head_only()
    }

    fn wants_teacher(&self) -> bool {
        // A new classifier is used only by this training.
        let kept = self.common.head == Head::Keep;
        self.method().has_teacher() && kept && self.plan().augment.is_none()
    }

    /// Results that other nodes with the same model and images share.
    fn known(
        &self,
        context: &Context,
        model: &Model,
        set: &ImageSet,
    ) -> Result<Precomputed, TaskError> {
        let (given, data) = (context.input("init")?, context.input("data")?);
        let frozen = Frozen::of(model, given, data, set)?;
        let mut known = Precomputed::default();
        if self.wants_features() {
            known.features = Some(frozen.features(context)?);
        }
        if self.wants_teacher() {
            known.teacher = frozen.logits(context)?;
        }
        Ok(known)
    }

    fn start(&self, given: Model, set: &ImageSet) -> Result<Model, TaskError> {
        match self.common.head {
            Head::Keep => Ok(given),
            Head::New => Ok(given.with_new_head(&set.classes, self.common.seed)?),
        }
    }
}

impl Stage for Finetune {
    const NAME: &'static str = "finetune";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str = "Fine-tunes a model on a dataset with SGD";
    const COMPARISON: Comparison = Comparison::MetricsWithin(2.0);
    const MEANING: Meaning = Meaning::Plain;

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

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = self.misplaced_options();
        let method = self.method();
        problems.extend(method.problems().into_iter().map(ParameterProblem::from));
        let anchored = inputs
            .iter()
            .any(|input| input.name == "anchor" && !input.members.is_empty());
        if anchored && !method.reads_anchor() {
            let message = "`anchor` is the data for the Fisher information";
            let problem = ParameterProblem::input("anchor", message);
            problems.push(problem.hint("use it with `method: ewc` and `fisher: diagonal`"));
        }
        problems.extend(training::check_warmup(self.common.warmup));
        let (flip, shift) = (self.common.flip, self.common.shift);
        if method.head_only() && (flip || shift > 0) {
            let name = if flip { "flip" } else { "shift" };
            let message = format!(
                "`{name}` is not available with a frozen backbone, which sees every image only once"
            );
            problems.push(ParameterProblem::value(name, message));
        }
        problems
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        let given = |name| known_classes::of(inputs, name);
        match self.common.head {
            Head::New => known_classes::giving("model", given("data")),
            Head::Keep => ClassForecast {
                problems: Vec::from_iter(known_classes::unmatched(inputs, "init", "data")),
                ..known_classes::giving("model", given("init"))
            },
        }
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        let count = price::images(foreseen, "data");
        let short = count.and_then(|count| training::short(&self.plan(), count));
        let config = price::model(foreseen, "init");
        let misfit = config.as_ref().and_then(|it| self.method().misfit(it));
        let misfit = misfit.map(ParameterProblem::from);
        let Some((config, count)) = config.zip(count) else {
            return CostEstimate {
                short,
                misfit,
                ..CostEstimate::unknown()
            };
        };
        let price = CostEstimate {
            cost: self.cost(&config, count),
            short,
            misfit,
            ..CostEstimate::default()
        };
        price.giving("model", PortForecast::Model(config))
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, given: &InputArtifacts, device_class: &str) -> Vec<Work> {
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
        if self.common.shuffle_labels {
            let order = Stream::new(self.common.seed, "labels").permutation(set.len());
            set.labels = order.iter().map(|image| set.labels[*image]).collect();
        }
        let known = self.known(context, &given, &set)?;
        let start = self.start(given, &set)?;
        let method = self.build(&start, &set, context)?;
        let watch = training::TrainingRecorder::start(context, self.common.epochs, set.len());
        let fitted = fit_with(
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
