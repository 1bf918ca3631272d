//! Entropic transport of points (Cuturi 2013), and its divergence (Feydy et al. 2019).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DistanceOptions, Measurement, Sampling, conflict, counts, declare};
use crate::declaration::{Declaration, OptionProblem};
use crate::ot::{Labelled, Mode, SinkhornDistance};
use crate::{Observer, Result};

pub(super) const SINKHORN_DIVERGENCE: Declaration<dyn DistanceOptions> = declare::<Divergence>(
    "sinkhorn_divergence",
    "Entropic transport of points, debiased.",
);

pub(super) const SINKHORN: Declaration<dyn DistanceOptions> =
    declare::<Plain>("sinkhorn", "Entropic transport of points, not debiased.");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SolverMode {
    /// Iterate to `tolerance`, or fail.
    #[default]
    Converged,
    /// As in microsoft/otdd via geomloss: one pass over a schedule, unconverged.
    Reference,
    /// Without an entropic term (otdd).
    Exact,
}

/// The options of an entropic problem and its solver.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(super) struct Entropic {
    /// Weight of the entropic term, in units of the cost, half a squared distance.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub entreg: f64,
    /// The solver of the entropic problems.
    pub mode: SolverMode,
    /// L1 error of the plan's marginals at which `converged` stops.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub tolerance: f64,
}

impl Default for Entropic {
    fn default() -> Self {
        Self {
            entreg: 0.1,
            mode: SolverMode::default(),
            tolerance: 1e-6,
        }
    }
}

impl Entropic {
    pub fn problems(&self) -> Vec<OptionProblem> {
        let usual = Self::default();
        let unbounded = self.tolerance != usual.tolerance && self.mode == SolverMode::Reference;
        Vec::from_iter(conflict(unbounded, "tolerance", "mode: reference"))
    }

    pub fn solver(&self) -> Mode {
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

    fn inexact_problems(&self, name: &str) -> Vec<OptionProblem> {
        let exact = conflict(self.mode == SolverMode::Exact, "mode", name);
        self.problems().into_iter().chain(exact).collect()
    }

    fn measure(
        &self,
        debiased: bool,
        sets: &[Labelled; 2],
        observer: &dyn Observer,
    ) -> Result<Measurement> {
        let [a, b] = sets;
        let distance = SinkhornDistance {
            epsilon: self.entreg,
            debiased,
            mode: self.solver(),
            ..SinkhornDistance::default()
        };
        let points = (a.points(), b.points());
        let found = distance.between_weighted(points, [&a.weights(), &b.weights()], observer)?;
        Ok(Measurement::of_divergence(&found, counts(sets)))
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Divergence {
    #[serde(flatten)]
    entropic: Entropic,
}

impl DistanceOptions for Divergence {
    fn problems(&self) -> Vec<OptionProblem> {
        self.entropic.inexact_problems("sinkhorn_divergence")
    }

    fn takes_weights(&self) -> bool {
        true
    }

    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        observer: &dyn Observer,
    ) -> Result<Measurement> {
        self.entropic.measure(true, &sampling.of(a, b)?, observer)
    }
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Plain {
    #[serde(flatten)]
    entropic: Entropic,
}

impl DistanceOptions for Plain {
    fn problems(&self) -> Vec<OptionProblem> {
        self.entropic.inexact_problems("sinkhorn")
    }

    fn takes_weights(&self) -> bool {
        true
    }

    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        observer: &dyn Observer,
    ) -> Result<Measurement> {
        self.entropic.measure(false, &sampling.of(a, b)?, observer)
    }
}
