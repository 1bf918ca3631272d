//! `ot`: the distance between two datasets, in the features of a model, in raw pixels, or as
//! arrays.
//!
//! It loads the points and defines the outputs; [`crate::ml::ot`] computes the distances.

mod checks;
mod interval;
mod outputs;
mod pairs;
mod parameters;
mod side;

pub use parameters::{Interval, Mask, Resampling, Weights};

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::choice::WordOr;
use super::derived::{self, InputArtifacts, Work, of_model_and_data};
use super::options::{Common, WithOptions};
use super::price::{self, CostEstimate, InputForecasts, Rows, SharedUse};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::{images, model};
use outputs::classes_of;
use side::Side;

use crate::contract::port::{OutputSpec, PortType};
use crate::ml::declaration::Choice;
use crate::ml::ot::Labelled;
use crate::ml::ot::distance::{DISTANCES, DistanceOptions, Measurement, Sampling};
use crate::store::artifact::Artifact;
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, Gathers, InputClasses, InputSpec, Meaning, OnlyWith,
    ParameterProblem, Withholds,
};

/// A distance.
pub type Distance = Choice<dyn DistanceOptions>;

/// The distance between two datasets, with or without labels.
///
/// `a` and `b` are datasets, in the features of `model` or as raw pixels (0 to 1), or two sets of
/// features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Ot")]
pub struct Comparing {
    /// The distance.
    pub distance: Distance,
    /// The maximum number of points of each set, drawn at random; OTDD's class statistics use all
    /// points.
    #[schemars(range(min = 2))]
    pub samples: usize,
    /// The seed of the samples, the projections and the repeats of `interval`.
    pub seed: u64,
    /// Draw stratified samples, in which every class keeps its share.
    pub stratified: bool,
    /// The weights of the points.
    pub weights: Weights,
    /// Use only these classes: `common` for the classes that both sets have, or a list of names.
    pub mask: Option<WordOr<Mask, Vec<String>>>,
    /// Compute a 95 % interval of the distance, from points resampled within every class.
    pub interval: Option<Interval>,
    /// Further distances between the same two sets, for comparison with `distance`; each is a
    /// metric with its name.
    pub rivals: Vec<Distance>,
}

/// The parameters of `ot`: common parameters, and the options of the distances.
pub type Ot = WithOptions<Comparing>;

impl Common for Comparing {
    type Options = dyn DistanceOptions;

    fn chosen(&self) -> Vec<Distance> {
        [self.distance]
            .into_iter()
            .chain(self.rivals.clone())
            .collect()
    }
}

impl Comparing {
    /// The rivals and the distance.
    fn all(&self) -> impl Iterator<Item = Distance> {
        self.rivals.iter().copied().chain([self.distance])
    }

    fn sampling(&self) -> Sampling {
        Sampling {
            samples: self.samples,
            seed: self.seed,
            stratified: self.stratified,
        }
    }
}

impl Default for Comparing {
    fn default() -> Self {
        Self {
            distance: Distance::default(),
            samples: 10_000,
            seed: 0,
            stratified: false,
            weights: Weights::default(),
            mask: None,
            interval: None,
            rivals: Vec::new(),
        }
    }
}

impl Stage for Ot {
    const NAME: &'static str = "ot";
    const VERSION: u32 = 4;
    const SUMMARY: &'static str =
        "The distance between two datasets, by optimal transport or a related method";
    const COMPARISON: Comparison = Comparison::MetricsWithin(0.01);
    const MEANING: Meaning = Meaning::Distance;

    fn inputs(&self) -> Vec<InputSpec> {
        let points = |name: &str| InputSpec {
            name: name.to_string(),
            accepts: vec![PortType::Dataset, PortType::Arrays],
            required: true,
            many: false,
            gathers: Gathers::None,
        };
        vec![
            InputSpec::one("model", PortType::Model).optional(),
            points("a"),
            points("b"),
        ]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        let mut outputs = vec![OutputSpec::metrics("metrics", &outputs::METRICS)];
        if self.options(self.common.distance).has_classes() {
            outputs.extend(Self::conditional_outputs().into_iter().map(|it| it.spec));
        }
        outputs
    }

    fn conditional_outputs() -> Vec<OnlyWith<OutputSpec>> {
        let specs = [
            OutputSpec::new("classes", PortType::Arrays),
            OutputSpec::new("pairs", PortType::Table),
        ];
        let only = |spec| OnlyWith {
            spec,
            with: "`distance: otdd`",
        };
        specs.map(only).to_vec()
    }

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        self.problems()
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        ClassForecast {
            problems: self.mask_problems(inputs),
            ..ClassForecast::default()
        }
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        let count = |name: &str| price::images(foreseen, name);
        let (Some(a), Some(b)) = (count("a"), count("b")) else {
            return CostEstimate::unknown();
        };
        let mut price = CostEstimate::nothing();
        let points =
            a.min(self.common.samples as u64) as f64 * b.min(self.common.samples as u64) as f64;
        let width = match price::model(foreseen, "model") {
            Some(config) => {
                let ask = |data| SharedUse {
                    model: "model",
                    data,
                    rows: Rows::Features,
                };
                price.cost.asks = vec![ask("a"), ask("b")];
                config.features() as f64
            }
            None => 1.0,
        };
        // The cost matrix, and a few hundred passes over it.
        price.cost.operations = points * (2.0 * width + 3_000.0);
        price
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, given: &InputArtifacts, device_class: &str) -> Vec<Work> {
        let side = |name: &str| {
            of_model_and_data(given, "model", name, |model, config, data| {
                vec![derived::features(model, config, data, device_class)]
            })
        };
        [side("a"), side("b")].concat()
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let (mut a, mut b) = self.sides(context)?;
        self.prepare(&mut a, &mut b)?;
        let begin = Instant::now();
        let pool = images::pool(context)?;
        let measured = |distance| pool.install(|| self.measure(distance, &a.set, &b.set, context));
        let distance = self.common.distance;
        let mut found = measured(distance)?;
        if let Some(interval) = &self.common.interval {
            let sets = (&a.set, &b.set);
            let seed = self.common.seed;
            let again = |a: &Labelled, b: &Labelled| self.measure(distance, a, b, context);
            let around = pool.install(|| interval.around(found.distance, sets, seed, again));
            found.interval = Some(around?);
        }
        let mut metrics = outputs::metrics(&found);
        for rival in &self.common.rivals {
            let mut values = outputs::metrics(&measured(*rival)?).values;
            let distance = values.remove("distance").into_iter();
            metrics
                .values
                .extend(distance.map(|distance| (rival.name().to_string(), distance)));
        }
        let seconds = begin.elapsed().as_secs_f64();
        let mut outputs = Outputs::one("metrics", Artifact::Metrics(metrics))
            .note("solver_seconds", seconds)
            .note("iterations", found.iterations)
            .note("points", json!(found.points));
        if let Some(classes) = &found.classes {
            let tree = classes_of(context, classes, &a, &b)?;
            let pairs = pairs::table(classes, &a, &b);
            outputs = outputs
                .and("classes", Artifact::Tensors(tree))
                .and("pairs", Artifact::Table(pairs));
        }
        Ok(outputs)
    }
}

impl Ot {
    /// Both sets, from the model's features, from pixels or from arrays.
    fn sides(&self, context: &Context) -> Result<(Side, Side), TaskError> {
        let model = match context.members("model").first() {
            Some(input) => Some((model::read(context, input)?, input)),
            None => None,
        };
        let side = |name: &str| -> Result<Side, TaskError> {
            let input = context.input(name)?;
            match (&input.artifact, &model) {
                (Artifact::Tensors(tree), None) => Side::of_arrays(context, name, tree),
                (Artifact::Tensors(_), Some(_)) => Err(TaskError::Input(format!(
                    "`{name}` already contains features: leave `model` out"
                ))),
                (_, Some((model, given))) => Side::of_features(context, (model, given), input),
                (_, None) => Side::of_pixels(context, input),
            }
        };
        Ok((side("a")?, side("b")?))
    }

    /// Applies `mask` and the weights.
    fn prepare(&self, a: &mut Side, b: &mut Side) -> Result<(), TaskError> {
        if let Some(mask) = &self.common.mask {
            let names: Vec<String> = match mask {
                WordOr::Other(names) => names.clone(),
                WordOr::Word(Mask::Common) => side::common(&a.present(), &b.present()),
            };
            a.keep(&names, "a")?;
            b.keep(&names, "b")?;
        }
        for (side, name) in [(a, "a"), (b, "b")] {
            if self.common.weights == Weights::Classes {
                side.set = side.set.clone().balanced();
            }
            let mut all = self.common.all();
            let unweighted = all.find(|distance| !self.options(*distance).takes_weights());
            if let Some(distance) = unweighted.filter(|_| side.set.has_weights()) {
                let message = format!(
                    "`{name}` has weights, but `{}` does not support them; {} do",
                    distance.name(),
                    weighted()
                );
                return Err(TaskError::Input(message));
            }
        }
        Ok(())
    }

    fn measure(
        &self,
        distance: Distance,
        a: &Labelled,
        b: &Labelled,
        context: &Context,
    ) -> Result<Measurement, TaskError> {
        context.check_cancelled()?;
        let sampling = self.common.sampling();
        Ok(self.options(distance).measure(a, b, sampling, context)?)
    }
}

/// The names of the distances that support weights.
fn weighted() -> String {
    let usual = Ot::default();
    let all = DISTANCES.all.iter().map(Choice);
    let names = all.filter(|distance| usual.options(*distance).takes_weights());
    let names: Vec<String> = names.map(|it| format!("`{}`", it.name())).collect();
    names.join(", ")
}
