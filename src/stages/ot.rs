//! `ot`: how far two datasets are from each other, in the features of a model, in raw pixels, or
//! as arrays.
//!
//! Owns where the points come from and what is told of the result; the distances themselves are
//! [`crate::ml::ot`].

mod found;
mod side;

use std::time::Instant;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::derived::{self, Given, Work, of_model_and_data};
use super::price::{self, Ask, Foreseen, Price, Rows};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::{images, model};
use found::{Found, classes_of};
use side::Side;

use crate::ml::ot::{
    LabelDistance, LabelProjections, Labelled, Mode, Otdd, Precision, SinkhornDistance, directions,
    energy, frechet, mmd, s_otdd, sliced,
};
use crate::rng::Stream;
use crate::store::artifact::Artifact;
use crate::workflow::kind::{
    BoundInput, Comparison, Gathers, InputSpec, OutputSpec, ParameterProblem, PortType, Source,
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
    /// Draws the samples and the projections.
    pub seed: u64,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// Optimal transport of points with labels.
    #[default]
    Otdd,
    /// Entropic transport of points, debiased.
    SinkhornDivergence,
    /// Entropic transport of points, as it is.
    Sinkhorn,
    /// Between the Gaussians fitted to the sets.
    Frechet,
    /// Maximum mean discrepancy under a Gaussian kernel, squared and unbiased.
    Mmd,
    /// Energy distance.
    Energy,
    /// Mean transport over projections on the line.
    Sliced,
    /// The same of points with labels.
    SOtdd,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SolverMode {
    /// To `tolerance`, or the node fails.
    #[default]
    Converged,
    /// As microsoft/otdd does by way of geomloss: one walk down a schedule, unconverged.
    Reference,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Classes {
    /// Between the Gaussians fitted to them.
    #[default]
    Gaussian,
    /// Between those without their correlations.
    Diagonal,
    /// An upper bound of it.
    UpperBound,
    /// Entropic transport of their points.
    Points,
}

/// Moments beyond this order overflow for anything but small features.
const LARGEST_ORDER: u32 = 8;

impl Default for Ot {
    fn default() -> Self {
        Self {
            distance: Distance::default(),
            samples: 10_000,
            seed: 0,
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
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "How far two datasets are from each other, by optimal transport or one of its relatives";
    const COMPARISON: Comparison = Comparison::MetricsWithin(0.01);

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
        let mut outputs = vec![OutputSpec::new("metrics", PortType::Metrics)];
        if self.distance == Distance::Otdd {
            outputs.push(OutputSpec::new("classes", PortType::Arrays));
        }
        outputs
    }

    fn open_inputs(&self) -> bool {
        false
    }

    fn sources(&self) -> Vec<Source> {
        Vec::new()
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
        let (a, b) = self.sides(context)?;
        let begin = Instant::now();
        let pool = images::pool(context)?;
        let found = pool.install(|| self.measure(&a, &b, context))?;
        let mut metrics = found.metrics();
        for rival in &self.rivals {
            context.check_cancelled()?;
            let other = Self {
                distance: *rival,
                ..self.clone()
            };
            let found = pool.install(|| other.measure(&a, &b, context))?;
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
            outputs = outputs.and("classes", Artifact::Tensors(tree));
        }
        Ok(outputs)
    }
}

impl Ot {
    fn out_of_range(&self) -> Vec<ParameterProblem> {
        let mut problems = Vec::new();
        let mut demand = |fits: bool, field: &str, what: &str| {
            if !fits {
                problems.push(ParameterProblem::value(field, format!("must be {what}")));
            }
        };
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let share = |value: f64| (0.0..f64::INFINITY).contains(&value);
        demand(self.samples > 1, "samples", "at least 2");
        demand(positive(self.entreg), "entreg", "above 0");
        demand(positive(self.class_entreg), "class_entreg", "above 0");
        demand(positive(self.tolerance), "tolerance", "above 0");
        demand(self.min_class > 1, "min_class", "at least 2");
        demand(self.projections > 0, "projections", "at least 1");
        let bandwidth = self.bandwidth.is_none_or(positive);
        demand(bandwidth, "bandwidth", "above 0");
        demand(share(self.feature_weight), "feature_weight", "0 or more");
        demand(share(self.label_weight), "label_weight", "0 or more");
        let weights = self.feature_weight + self.label_weight > 0.0;
        demand(
            weights,
            "label_weight",
            "above 0 where `feature_weight` is 0",
        );
        problems
    }

    fn no_rivals(&self) -> Option<ParameterProblem> {
        let all = |distance: Distance| {
            let asked = self.rivals.iter().chain([&self.distance]);
            asked.filter(|asked| **asked == distance).count()
        };
        let twice = self.rivals.iter().find(|rival| all(**rival) > 1)?;
        let message = format!("`{}` is asked for twice", twice.name());
        Some(ParameterProblem::value("rivals", message))
    }

    /// Options that say something to another distance than the one asked for.
    fn out_of_place(&self) -> Vec<ParameterProblem> {
        use Distance::{Mmd, Otdd, SOtdd, Sinkhorn, SinkhornDivergence, Sliced};
        let usual = Self::default();
        let entropic: &[Distance] = &[Otdd, Sinkhorn, SinkhornDivergence];
        let options: [(&str, bool, &[Distance]); 12] = [
            ("entreg", self.entreg != usual.entreg, entropic),
            ("mode", self.mode != usual.mode, entropic),
            ("tolerance", self.tolerance != usual.tolerance, entropic),
            ("debiased", self.debiased != usual.debiased, &[Otdd]),
            ("classes", self.classes != usual.classes, &[Otdd]),
            (
                "class_entreg",
                self.class_entreg != usual.class_entreg,
                &[Otdd],
            ),
            (
                "feature_weight",
                self.feature_weight != usual.feature_weight,
                &[Otdd],
            ),
            (
                "label_weight",
                self.label_weight != usual.label_weight,
                &[Otdd],
            ),
            ("min_class", self.min_class != usual.min_class, &[Otdd]),
            (
                "projections",
                self.projections != usual.projections,
                &[Sliced, SOtdd],
            ),
            ("moments", self.moments != usual.moments, &[SOtdd]),
            ("bandwidth", self.bandwidth != usual.bandwidth, &[Mmd]),
        ];
        let mut problems = Vec::new();
        for (option, given, of) in options {
            let mut asked = self.rivals.iter().chain([&self.distance]);
            if given && !asked.any(|asked| of.contains(asked)) {
                let message = format!("`{option}` means nothing to `{}`", self.distance.name());
                let of: Vec<String> = of.iter().map(|of| format!("`{}`", of.name())).collect();
                let problem = ParameterProblem::value(option, message);
                problems.push(problem.hint(format!("it is an option of {}", of.join(", "))));
            }
        }
        let mut conflict = |option: &str, given: bool, with: &str| {
            if given {
                let message = format!("`{option}` means nothing with `{with}`");
                problems.push(ParameterProblem::value(option, message));
            }
        };
        let tolerance = self.tolerance != usual.tolerance;
        let unbounded = tolerance && self.mode == SolverMode::Reference;
        conflict("tolerance", unbounded, "mode: reference");
        let entropic = self.class_entreg != usual.class_entreg;
        let unused = entropic && self.classes != Classes::Points && self.distance == Otdd;
        conflict(
            "class_entreg",
            unused,
            "classes: gaussian, diagonal or upper_bound",
        );
        problems
    }

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

    fn measure(&self, a: &Side, b: &Side, context: &Context) -> Result<Found, TaskError> {
        if self.distance == Distance::Otdd {
            let found = self.otdd().between(&a.set, &b.set, context)?;
            return Ok(Found::of_otdd(found));
        }
        let (a, b) = (self.sampled(&a.set, "a")?, self.sampled(&b.set, "b")?);
        let (x, y) = (a.points(), b.points());
        let points = [x.count(), y.count()];
        Ok(match self.distance {
            Distance::Sinkhorn | Distance::SinkhornDivergence | Distance::Otdd => {
                let distance = SinkhornDistance {
                    epsilon: self.entreg,
                    debiased: self.distance == Distance::SinkhornDivergence,
                    mode: self.solver(),
                    ..SinkhornDistance::default()
                };
                Found::of_divergence(&distance.between(x, y, context)?, points)
            }
            Distance::Frechet => Found::of_square(frechet(x, y)?, points),
            Distance::Mmd => Found::plain(mmd(x, y, self.bandwidth)?.unbiased, points),
            Distance::Energy => Found::plain(energy(x, y, 0.0)?, points),
            Distance::Sliced => {
                let mut stream = Stream::new(self.seed, "ot projections");
                let directions = directions(self.projections, x.dimension(), &mut stream);
                Found::of_projections(&sliced(x, y, &directions)?, points)
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
        let picks = set.points().sample(self.samples, self.seed, &purpose);
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
        }
    }

    fn solver(&self) -> Mode {
        match (self.mode, Mode::default()) {
            (SolverMode::Reference, _) => Mode::Reference { scaling: 0.5 },
            (SolverMode::Converged, Mode::Converged { max_iterations, .. }) => Mode::Converged {
                tolerance: self.tolerance,
                max_iterations,
            },
            (SolverMode::Converged, other) => other,
        }
    }
}

impl Distance {
    pub const ALL: [Self; 8] = [
        Self::Otdd,
        Self::SinkhornDivergence,
        Self::Sinkhorn,
        Self::Frechet,
        Self::Mmd,
        Self::Energy,
        Self::Sliced,
        Self::SOtdd,
    ];

    /// As it is written, and what its metric is called among `rivals`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Otdd => "otdd",
            Self::SinkhornDivergence => "sinkhorn_divergence",
            Self::Sinkhorn => "sinkhorn",
            Self::Frechet => "frechet",
            Self::Mmd => "mmd",
            Self::Energy => "energy",
            Self::Sliced => "sliced",
            Self::SOtdd => "s_otdd",
        }
    }
}
