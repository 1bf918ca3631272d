//! The optimal transport dataset distance (Alvarez-Melis and Fusi 2020).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entropic::{Entropic, SolverMode};
use super::{DistanceOptions, Measurement, Sampling, conflict, declare};
use crate::declaration::{Declaration, OptionProblem};
use crate::ot::{LabelDistance, Labelled, Otdd, Precision};
use crate::{Observer, Result};

pub(super) const OTDD: Declaration<dyn DistanceOptions> =
    declare::<Options>("otdd", "Optimal transport of points with labels.");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Classes {
    /// Between Gaussians fitted to the classes.
    #[default]
    Gaussian,
    /// Between these Gaussians without correlations.
    Diagonal,
    /// An upper bound of the distance between the Gaussians.
    UpperBound,
    /// Entropic transport of the classes' points.
    Points,
    /// Exact transport of the classes' points.
    Exact,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Options {
    #[serde(flatten)]
    entropic: Entropic,
    /// Whether the distance of a set from itself is 0.
    debiased: bool,
    /// The distance between two classes.
    classes: Classes,
    /// Entropic weight for the points of two classes with `classes: points`.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    class_entreg: f64,
    /// Weight of the features in the cost.
    #[schemars(range(min = 0.0))]
    feature_weight: f64,
    /// Weight of the labels in the cost.
    #[schemars(range(min = 0.0))]
    label_weight: f64,
    /// Classes with fewer points are omitted.
    #[schemars(range(min = 2))]
    min_class: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            entropic: Entropic::default(),
            debiased: true,
            classes: Classes::default(),
            class_entreg: 0.1,
            feature_weight: 1.0,
            label_weight: 1.0,
            min_class: 2,
        }
    }
}

impl Options {
    fn without_cost(&self) -> Option<OptionProblem> {
        let message = "`label_weight` must be above 0 where `feature_weight` is 0";
        let zero = self.feature_weight == 0.0 && self.label_weight == 0.0;
        zero.then(|| OptionProblem::new("label_weight", message))
    }

    /// Options that have no effect because of other options.
    fn without_effect(&self) -> impl Iterator<Item = OptionProblem> {
        const NOT_POINTS: &str = "classes: gaussian, diagonal, upper_bound or exact";
        let usual = Self::default();
        let exact = self.entropic.mode == SolverMode::Exact;
        let entreg = exact && self.entropic.entreg != usual.entropic.entreg;
        let tolerance = exact && self.entropic.tolerance != usual.entropic.tolerance;
        let debiased = exact && self.debiased != usual.debiased;
        let class_entreg =
            self.class_entreg != usual.class_entreg && self.classes != Classes::Points;
        let found = [
            conflict(entreg, "entreg", "mode: exact"),
            conflict(tolerance, "tolerance", "mode: exact"),
            conflict(debiased, "debiased", "mode: exact"),
            conflict(class_entreg, "class_entreg", NOT_POINTS),
        ];
        found.into_iter().flatten()
    }
}

impl DistanceOptions for Options {
    fn problems(&self) -> Vec<OptionProblem> {
        let mut problems = self.entropic.problems();
        problems.extend(self.without_cost());
        problems.extend(self.without_effect());
        problems
    }

    fn takes_weights(&self) -> bool {
        true
    }

    fn has_classes(&self) -> bool {
        true
    }

    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        observer: &dyn Observer,
    ) -> Result<Measurement> {
        let distance = Otdd {
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
            epsilon: self.entropic.entreg,
            debiased: self.debiased,
            mode: self.entropic.solver(),
            precision: Precision::Auto,
            min_class: self.min_class,
            samples: sampling.samples,
            seed: sampling.seed,
            stratified: sampling.stratified,
        };
        Ok(Measurement::of_otdd(distance.between(a, b, observer)?))
    }
}
