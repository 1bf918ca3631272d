//! `ot`: the distance between two datasets, in the features of a model, in raw pixels, or as arrays.
//!
//! It owns where the points come from and what is reported; [`crate::ml::ot`] computes the distances.

mod checks;
mod found;
mod interval;
mod pairs;
mod side;
mod words;

pub use words::{Classes, Distance, Interval, Mask, Resampling, SolverMode, Weights};

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::choice::WordOr;
use super::derived::{self, Given, Work, of_model_and_data};
use super::price::{self, Ask, Foreseen, Price, Rows};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::{images, model};
use found::{Found, classes_of};
use side::Side;

use crate::ml::ot::{
    Gaussian, LabelDistance, LabelProjections, Labelled, Mode, Otdd, Power, Precision,
    SinkhornDistance, directions, energy, frechet, mmd, s_otdd, sliced_weighted, wasserstein,
};
use crate::ml::rng::Stream;
use crate::store::artifact::Artifact;
use crate::workflow::kind::{
    BoundInput, Comparison, Gathers, InputSpec, Meaning, OutputSpec, ParameterProblem, PortType,
    Source, Withholds,
};

/// Distance between two datasets, with labels or without.
///
/// `a` and `b` are datasets, seen through `model` or as raw pixels (0 to 1), or two sets of
/// features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ot {
    /// Which distance.
    pub distance: Distance,
    /// At most so many points of each set, drawn at random; OTDD's class statistics use all.
    pub samples: usize,
    /// Draws the samples, the projections and the repeats of `interval`.
    pub seed: u64,
    /// Whether every class keeps its share among the samples.
    pub stratified: bool,
    /// What the points weigh.
    pub weights: Weights,
    /// Only these classes count: `common` for those that both sets have by name, or a list of
    /// names.
    pub mask: Option<WordOr<Mask, Vec<String>>>,
    /// A 95 % interval of the distance, by measuring it on points drawn anew from every class.
    pub interval: Option<Interval>,
    /// 1 for W1, 2 for W2 (wasserstein).
    pub power: u32,
    /// Weight of the entropic term (otdd, sinkhorn, sinkhorn_divergence), in units of the cost,
    /// half a squared distance.
    pub entreg: f64,
    /// How the entropic problems are solved (otdd, sinkhorn, sinkhorn_divergence).
    pub mode: SolverMode,
    /// L1 error of the plan's marginals at which `converged` stops.
    pub tolerance: f64,
    /// Whether a set is at 0 from itself (otdd).
    pub debiased: bool,
    /// How far two classes are from each other (otdd).
    pub classes: Classes,
    /// Entropic weight between the points of two classes (otdd with `classes: points`).
    pub class_entreg: f64,
    /// Factor of the features' part of the cost (otdd).
    pub feature_weight: f64,
    /// Factor of the labels' part of the cost (otdd).
    pub label_weight: f64,
    /// Classes with fewer points are left out (otdd).
    pub min_class: usize,
    /// Directions to project on (sliced, s_otdd).
    pub projections: usize,
    /// Moments of each class that are told apart (s_otdd).
    pub moments: usize,
    /// Squared bandwidth of the kernel (mmd); without one the median squared distance.
    pub bandwidth: Option<f64>,
    /// Further distances between the same two sets, to compare `distance` with: each is a metric
    /// of its name.
    pub rivals: Vec<Distance>,
}

/// Moments beyond this order overflow for anything but small features.
const LARGEST_ORDER: u32 = 8;

impl Default for Ot {
    fn default() -> Self {
        Self {
            distance: Distance::default(),
            samples: 10_000,
            seed: 0,
            stratified: false,
            weights: Weights::default(),
            mask: None,
            interval: None,
            power: 2,
            entreg: 0.1,
            mode: SolverMode::default(),
            tolerance: 1e-6,
            debiased: true,
            classes: Classes::default(),
            class_entreg: 0.1,
            feature_weight: 1.0,
            label_weight: 1.0,
            min_class: 2,
            projections: 1_000,
            moments: 5,
            bandwidth: None,
            rivals: Vec::new(),
        }
    }
}

impl Stage for Ot {
    const NAME: &'static str = "ot";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str =
        "How far two datasets are from each other, by optimal transport or one of its relatives";
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
        let mut outputs = vec![OutputSpec::metrics("metrics", &found::METRICS)];
        if self.distance == Distance::Otdd {
            outputs.push(OutputSpec::new("classes", PortType::Arrays));
            outputs.push(OutputSpec::new("pairs", PortType::Table));
        }
        outputs
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

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut problems = self.out_of_range();
        problems.extend(self.out_of_place());
        problems.extend(self.no_rivals());
        problems
    }

    fn price(&self, foreseen: &Foreseen) -> Price {
        let count = |name: &str| price::images(foreseen, name);
        let (Some(a), Some(b)) = (count("a"), count("b")) else {
            return Price::unknown();
        };
        let mut price = Price::nothing();
        let points = a.min(self.samples as u64) as f64 * b.min(self.samples as u64) as f64;
        let width = match price::model(foreseen, "model") {
            Some(config) => {
                let ask = |data| Ask {
                    model: "model",
                    data,
                    rows: Rows::Features,
                };
                price.cost.asks = vec![ask("a"), ask("b")];
                config.features() as f64
            }
            None => 1.0,
        };
        // The cost matrix, and some hundreds of passes over it.
        price.cost.operations = points * (2.0 * width + 3_000.0);
        price
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, given: &Given, device_class: &str) -> Vec<Work> {
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
        let mut found = pool.install(|| self.measure(&a.set, &b.set, context))?;
        if let Some(interval) = &self.interval {
            let sets = (&a.set, &b.set);
            let again = |a: &Labelled, b: &Labelled| self.measure(a, b, context);
            found.interval =
                Some(pool.install(|| interval.around(found.distance, sets, self.seed, again))?);
        }
        let mut metrics = found.metrics();
        for rival in &self.rivals {
            context.check_cancelled()?;
            let other = Self {
                distance: *rival,
                ..self.clone()
            };
            let found = pool.install(|| other.measure(&a.set, &b.set, context))?;
            let mut found = found.metrics().values;
            let distance = found.remove("distance").into_iter();
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
                    "`{name}` holds features already: leave `model` out"
                ))),
                (_, Some((model, given))) => Side::of_features(context, (model, given), input),
                (_, None) => Side::of_pixels(context, input),
            }
        };
        Ok((side("a")?, side("b")?))
    }

    /// Leaves out what `mask` leaves out, and weighs the points.
    fn prepare(&self, a: &mut Side, b: &mut Side) -> Result<(), TaskError> {
        if let Some(mask) = &self.mask {
            let names: Vec<String> = match mask {
                WordOr::Other(names) => names.clone(),
                WordOr::Word(Mask::Common) => {
                    let of_b = b.present();
                    a.present().intersection(&of_b).cloned().collect()
                }
            };
            a.keep(&names, "a")?;
            b.keep(&names, "b")?;
        }
        for (side, name) in [(a, "a"), (b, "b")] {
            if self.weights == Weights::Classes {
                side.set = side.set.clone().balanced();
            }
            let mut asked = self.rivals.iter().chain([&self.distance]);
            let unweighted = asked.find(|asked| !asked.takes_weights());
            if let Some(distance) = unweighted.filter(|_| side.set.has_weights()) {
                return Err(TaskError::Input(format!(
                    "`{name}` has weights, and `{}` knows none; {} do",
                    distance.name(),
                    Distance::weighted()
                )));
            }
        }
        Ok(())
    }

    fn measure(&self, a: &Labelled, b: &Labelled, context: &Context) -> Result<Found, TaskError> {
        if self.distance == Distance::Otdd {
            let found = self.otdd().between(a, b, context)?;
            return Ok(Found::of_otdd(found));
        }
        let (a, b) = (self.sampled(a, "a")?, self.sampled(b, "b")?);
        let (x, y) = (a.points(), b.points());
        let points = [x.count(), y.count()];
        let weights = [a.weights(), b.weights()];
        let weights = [&weights[0][..], &weights[1][..]];
        Ok(match self.distance {
            Distance::Sinkhorn | Distance::SinkhornDivergence | Distance::Otdd => {
                let distance = SinkhornDistance {
                    epsilon: self.entreg,
                    debiased: self.distance == Distance::SinkhornDivergence,
                    mode: self.solver(),
                    ..SinkhornDistance::default()
                };
                let found = distance.between_weighted((x, y), weights, context)?;
                Found::of_divergence(&found, points)
            }
            Distance::Wasserstein => {
                let power = if self.power == 1 {
                    Power::One
                } else {
                    Power::Two
                };
                let found = wasserstein(x, y, Some(weights), power, context)?;
                Found::of_exact(&found, power, points)
            }
            Distance::Frechet => Found::of_square(frechet(x, y)?, points),
            Distance::Bures => {
                let (of_a, of_b) = (Gaussian::fit(x)?, Gaussian::fit(y)?);
                Found::of_square(of_a.covariance_distance(&of_b)?, points)
            }
            Distance::Mmd => Found::plain(mmd(x, y, self.bandwidth)?.unbiased, points),
            Distance::Energy => Found::plain(energy(x, y, 0.0)?, points),
            Distance::Sliced => {
                let mut stream = Stream::new(self.seed, "ot projections");
                let directions = directions(self.projections, x.dimension(), &mut stream);
                let found = sliced_weighted((x, y), weights, &directions)?;
                Found::of_projections(&found, points)
            }
            Distance::SOtdd => {
                let (count, moments) = (self.projections, self.moments);
                let d = x.dimension();
                let draws = LabelProjections::draw(count, d, moments, LARGEST_ORDER, self.seed);
                Found::of_projections(&s_otdd(&a, &b, &draws)?, points)
            }
        })
    }

    fn sampled(&self, set: &Labelled, name: &str) -> Result<Labelled, TaskError> {
        let purpose = format!("ot sample {name}");
        let picks = set.sample(self.samples, self.seed, &purpose, self.stratified);
        Ok(set.select(&picks)?)
    }

    fn otdd(&self) -> Otdd {
        Otdd {
            label_distance: match self.classes {
                Classes::Gaussian => LabelDistance::Gaussian,
                Classes::Diagonal => LabelDistance::Diagonal,
                Classes::UpperBound => LabelDistance::UpperBound,
                Classes::Points => LabelDistance::Points {
                    epsilon: self.class_entreg,
                    debiased: false,
                },
                Classes::Exact => LabelDistance::Exact,
            },
            feature_weight: self.feature_weight,
            label_weight: self.label_weight,
            epsilon: self.entreg,
            debiased: self.debiased,
            mode: self.solver(),
            precision: Precision::Auto,
            min_class: self.min_class,
            samples: self.samples,
            seed: self.seed,
            stratified: self.stratified,
        }
    }

    fn solver(&self) -> Mode {
        match (self.mode, Mode::default()) {
            (SolverMode::Reference, _) => Mode::Reference { scaling: 0.5 },
            (SolverMode::Converged, Mode::Converged { max_iterations, .. }) => Mode::Converged {
                tolerance: self.tolerance,
                max_iterations,
            },
            (SolverMode::Exact, _) => Mode::Exact,
            (SolverMode::Converged, other) => other,
        }
    }
}
