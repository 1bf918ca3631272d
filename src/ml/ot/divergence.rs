//! The three terms of a debiased entropic distance, computed one after another, so that only one
//! cost matrix is in memory.

use super::cost::{Cost, Precision};
use super::points::{Points, normalised};
use super::reference::{Schedule, box_diameter};
use super::sinkhorn::{Sinkhorn, Transport};
use crate::{Error, Observer, Result};

/// The solver of the entropic problems.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// Iterate to a marginal error, or fail. The value does not depend on the solver.
    Converged {
        /// Stop where the L1 error of the marginals is at most this.
        tolerance: f64,
        /// The maximum number of passes over the cost; more is an error.
        max_iterations: u32,
    },
    /// geomloss's loop, one pass over a schedule: unconverged, for comparison with published
    /// values. Costs are stored in f64.
    Reference {
        /// geomloss's `scaling`: 0.5 by default there and in microsoft/otdd.
        scaling: f64,
    },
    /// Without an entropic term, by [`super::Exact`]: the distance of a set from itself is 0, so
    /// debiasing is not needed. Costs are stored in f64.
    Exact,
}

impl Default for Mode {
    fn default() -> Self {
        let solver = Sinkhorn::default();
        Self::Converged {
            tolerance: solver.tolerance,
            max_iterations: solver.max_iterations,
        }
    }
}

/// The result of one entropic problem.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// OT_ε in the unit of the cost.
    pub value: f64,
    /// L1 error of the marginals reached.
    pub marginal_error: f64,
    /// Passes over the cost.
    pub iterations: u32,
}

impl From<&Transport> for Term {
    fn from(found: &Transport) -> Self {
        Self {
            value: found.value,
            marginal_error: found.marginal_error,
            iterations: found.iterations,
        }
    }
}

/// OT_ε(a, b), and with `aa` and `bb` the debiased S_ε.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// `ab - (aa + bb) / 2`, or `ab` alone.
    pub value: f64,
    pub ab: Term,
    /// The terms of each set with itself; `None` if not debiased.
    pub within: Option<[Term; 2]>,
}

impl Divergence {
    pub(super) fn new(ab: Term, within: Option<[Term; 2]>) -> Self {
        let bias = within.map_or(0.0, |[aa, bb]| 0.5 * (aa.value + bb.value));
        Self {
            value: ab.value - bias,
            ab,
            within,
        }
    }

    fn terms(&self) -> impl Iterator<Item = &Term> {
        std::iter::once(&self.ab).chain(self.within.iter().flatten())
    }

    /// The largest marginal error of the terms.
    pub fn marginal_error(&self) -> f64 {
        self.terms()
            .map(|term| term.marginal_error)
            .fold(0.0, f64::max)
    }

    /// Passes over a cost, for all terms together.
    pub fn iterations(&self) -> u32 {
        self.terms().map(|term| term.iterations).sum()
    }
}

/// One way of solving, for all terms of a distance.
pub(super) enum Solver {
    Converged(Sinkhorn),
    Reference(Schedule),
}

impl Solver {
    /// `diameter` is evaluated only if a schedule starts from it.
    pub fn new(mode: &Mode, epsilon: f64, diameter: impl FnOnce() -> f64) -> Result<Self> {
        Ok(match mode {
            Mode::Converged {
                tolerance,
                max_iterations,
            } => Self::Converged(Sinkhorn {
                epsilon,
                tolerance: *tolerance,
                max_iterations: *max_iterations,
                ..Sinkhorn::default()
            }),
            Mode::Reference { scaling } => {
                Self::Reference(Schedule::new(diameter(), epsilon, *scaling)?)
            }
            Mode::Exact => {
                let message = "exact transport has no entropic term: `Exact` solves it";
                return Err(Error::Invalid(message.to_string()));
            }
        })
    }

    pub fn between(
        &self,
        cost: &Cost,
        a: &[f64],
        b: &[f64],
        observer: &dyn Observer,
    ) -> Result<Transport> {
        match self {
            Self::Converged(solver) => solver.solve(cost, a, b, observer),
            Self::Reference(schedule) => schedule.solve(cost, a, b, observer),
        }
    }

    pub fn within(&self, cost: &Cost, a: &[f64], observer: &dyn Observer) -> Result<Term> {
        let found = match self {
            Self::Converged(solver) => solver.solve_symmetric(cost, a, observer),
            Self::Reference(schedule) => schedule.solve_symmetric(cost, a, observer),
        };
        Ok(Term::from(&found?))
    }

    /// The storage precision of the cost.
    pub fn precision(&self, wanted: Precision) -> Precision {
        match self {
            Self::Converged(_) => wanted,
            Self::Reference(_) => Precision::Double,
        }
    }
}

/// An entropic distance between two sets of points, with equal or given weights, under `scale · |x
/// - y|²`.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkhornDistance {
    /// ε, in the unit of the cost.
    pub epsilon: f64,
    /// The factor of |x - y|²: 0.5 as in geomloss and OTDD, 1 for W2².
    pub scale: f64,
    /// Subtract half of each set's transport to itself (Genevay et al. 2018), so that the distance
    /// of a set from itself is 0.
    pub debiased: bool,
    pub mode: Mode,
    pub precision: Precision,
}

impl Default for SinkhornDistance {
    fn default() -> Self {
        Self {
            epsilon: 0.1,
            scale: 0.5,
            debiased: true,
            mode: Mode::default(),
            precision: Precision::Auto,
        }
    }
}

impl SinkhornDistance {
    /// # Errors
    /// Different dimensions, parameters out of range, no convergence, interruption.
    pub fn between(&self, a: &Points, b: &Points, observer: &dyn Observer) -> Result<Divergence> {
        let weights = [&a.uniform_weights()[..], &b.uniform_weights()[..]];
        self.between_weighted((a, b), weights, observer)
    }

    /// The same between weighted points, with one weight for each point of either set.
    ///
    /// # Errors
    /// As [`SinkhornDistance::between`], and invalid weights.
    pub fn between_weighted(
        &self,
        (a, b): (&Points, &Points),
        [of_a, of_b]: [&[f64]; 2],
        observer: &dyn Observer,
    ) -> Result<Divergence> {
        a.check_same_space(b)?;
        let solver = Solver::new(&self.mode, self.epsilon, || box_diameter(a, b))?;
        let cost = |a: &Points, b: &Points| {
            let precision = solver.precision(self.precision);
            Cost::squared_euclidean(a, b, self.scale, None, precision)
        };
        let (of_a, of_b) = (normalised(of_a, a.count())?, normalised(of_b, b.count())?);
        let ab = Term::from(&solver.between(&cost(a, b)?, &of_a, &of_b, observer)?);
        let within = if self.debiased {
            Some([
                solver.within(&cost(a, a)?, &of_a, observer)?,
                solver.within(&cost(b, b)?, &of_b, observer)?,
            ])
        } else {
            None
        };
        Ok(Divergence::new(ab, within))
    }
}
