//! Entropic optimal transport, solved to a stated marginal error.
//!
//! ```text
//! OT_ε(a, b) = min over π with marginals a, b of  <π, C> + ε KL(π | a ⊗ b)
//!            = max over f, g of  <a, f> + <b, g> - ε (Σ_ij π_ij - 1),
//!              π_ij = a_i b_j exp((f_i + g_j - C_ij) / ε)
//! ```
//!
//! (Cuturi 2013; Peyré and Cuturi 2019, section 4.) Iterates in the log domain, from a large ε down
//! to the requested one. Every iteration moves both potentials half way to Sinkhorn's update (the
//! symmetric averaging of geomloss, Feydy et al. 2019), which keeps nearly identical sets
//! symmetric, where alternating updates converge slowly; Nesterov's momentum with the gradient
//! restart of O'Donoghue and Candès (2015) accelerates it, since the averaged update is a gradient
//! step on the concave dual. It stops at the L1 error of the plan's marginals, or fails.

use super::cost::Cost;
use super::kernel::{Marginal, Plan};
use super::points::normalised;
use crate::{Error, Observer, Result};

/// How to solve an entropic problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Sinkhorn {
    /// ε, in the unit of the cost.
    pub epsilon: f64,
    /// Stop where |π1 - a|₁ + |πᵀ1 - b|₁ is at most this.
    pub tolerance: f64,
    /// The maximum number of passes over the cost, for all values of ε together; more is an error.
    pub max_iterations: u32,
    /// The ratio of each ε to the previous one, starting from the largest cost.
    pub scaling: f64,
}

impl Default for Sinkhorn {
    fn default() -> Self {
        Self {
            epsilon: 0.1,
            tolerance: 1e-6,
            max_iterations: 100_000,
            scaling: 0.5,
        }
    }
}

/// A solved problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Transport {
    /// OT_ε(a, b): the dual value, a lower bound that is exact up to second order in the
    /// marginal error. In the unit of the cost.
    pub value: f64,
    /// Potentials of the rows and of the columns, in the unit of the cost.
    pub f: Vec<f64>,
    pub g: Vec<f64>,
    /// |π1 - a|₁ + |πᵀ1 - b|₁ of the plan of the potentials.
    pub marginal_error: f64,
    /// Passes over the cost.
    pub iterations: u32,
    pub epsilon: f64,
}

impl Transport {
    /// <π, C> of the plan of the potentials: the cost without its entropic term.
    pub fn cost(&self, cost: &Cost, a: &[f64], b: &[f64]) -> Result<f64> {
        let (a, b) = (normalised(a, cost.rows())?, normalised(b, cost.columns())?);
        let of_chunks = self.plan(cost, &a, &b).fold_rows(
            || 0.0,
            |sum: &mut f64, row, line| {
                let pairs = line.iter().enumerate();
                *sum += pairs
                    .map(|(column, share)| share * cost.at(row, column))
                    .sum::<f64>();
            },
        );
        Ok(of_chunks.iter().sum())
    }

    /// The mass that the plan moves between groups: row-major `[groups[0], groups[1]]`. `of_rows`
    /// and `of_columns` are the groups of the points, from 0.
    ///
    /// # Errors
    /// A point without a group, or in a group beyond `groups`.
    pub fn coupling(
        &self,
        cost: &Cost,
        a: &[f64],
        b: &[f64],
        (of_rows, of_columns): (&[usize], &[usize]),
        groups: [usize; 2],
    ) -> Result<Vec<f64>> {
        let (a, b) = (normalised(a, cost.rows())?, normalised(b, cost.columns())?);
        let fits = |of: &[usize], count: usize, groups: usize| {
            of.len() == count && of.iter().all(|group| *group < groups)
        };
        if !fits(of_rows, a.len(), groups[0]) || !fits(of_columns, b.len(), groups[1]) {
            return Err(Error::Invalid("every point needs a group".to_string()));
        }
        let width = groups[1];
        let of_chunks = self.plan(cost, &a, &b).fold_rows(
            || vec![0.0; groups[0] * width],
            |moved: &mut Vec<f64>, row, line| {
                let moved = &mut moved[of_rows[row] * width..][..width];
                for (share, group) in line.iter().zip(of_columns) {
                    moved[*group] += share;
                }
            },
        );
        let mut moved = vec![0.0; groups[0] * width];
        for chunk in of_chunks {
            let pairs = moved.iter_mut().zip(chunk);
            pairs.for_each(|(sum, part)| *sum += part);
        }
        Ok(moved)
    }

    fn plan<'a>(&'a self, cost: &'a Cost, a: &'a [f64], b: &'a [f64]) -> Plan<'a> {
        Plan {
            cost,
            a,
            b,
            f: &self.f,
            g: &self.g,
            epsilon: self.epsilon,
        }
    }
}

impl Sinkhorn {
    /// Transport between weights `a` of the rows and `b` of the columns (both are normalised here).
    ///
    /// # Errors
    /// Parameters or weights out of range; no convergence; interruption by `observer`.
    pub fn solve(
        &self,
        cost: &Cost,
        a: &[f64],
        b: &[f64],
        observer: &dyn Observer,
    ) -> Result<Transport> {
        let a = normalised(a, cost.rows())?;
        let b = normalised(b, cost.columns())?;
        let problem = Problem {
            cost,
            a: &a,
            b: Some(&b),
            rough: false,
        };
        let (potentials, found, iterations) = self.iterate(&problem, observer)?;
        let (f, g) = potentials.split_at(a.len());
        Ok(self.transport(f, g, &found, iterations))
    }

    /// Transport of weights `a` to themselves under a symmetric cost: one potential, one row pass
    /// per iteration.
    ///
    /// # Errors
    /// As [`Sinkhorn::solve`].
    pub fn solve_symmetric(
        &self,
        cost: &Cost,
        a: &[f64],
        observer: &dyn Observer,
    ) -> Result<Transport> {
        let a = normalised(a, cost.rows())?;
        if cost.rows() != cost.columns() {
            return Err(Error::Invalid(
                "the cost of a set to itself must be square".to_string(),
            ));
        }
        let problem = Problem {
            cost,
            a: &a,
            b: None,
            rough: false,
        };
        let (f, found, iterations) = self.iterate(&problem, observer)?;
        Ok(self.transport(&f, &f, &found, iterations))
    }

    /// Potentials of the rows and columns after a few passes: only a start for exact transport.
    pub(super) fn rough(
        cost: &Cost,
        a: &[f64],
        b: &[f64],
        observer: &dyn Observer,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let problem = Problem {
            cost,
            a,
            b: Some(b),
            rough: true,
        };
        let mut climb = Climb {
            potentials: vec![0.0; a.len() + b.len()],
            iterations: 0,
            limit: u32::MAX,
        };
        let largest = cost.largest();
        if largest > 0.0 {
            for level in ROUGH_LEVELS {
                let epsilon = largest * libm::exp2(-f64::from(level));
                climb.to(&problem, epsilon, LEVEL_TOLERANCE, ROUGH_PASSES, observer)?;
            }
        }
        let g = climb.potentials.split_off(a.len());
        Ok((climb.potentials, g))
    }

    fn transport(&self, f: &[f64], g: &[f64], found: &Evaluation, iterations: u32) -> Transport {
        Transport {
            value: found.value,
            f: f.to_vec(),
            g: g.to_vec(),
            marginal_error: found.error,
            iterations,
            epsilon: self.epsilon,
        }
    }

    fn check(&self) -> Result<()> {
        let positive = |value: f64| value > 0.0 && value.is_finite();
        let problem = match () {
            () if !positive(self.epsilon) => format!("an entropic weight of {}", self.epsilon),
            () if !positive(self.tolerance) => format!("a tolerance of {}", self.tolerance),
            () if !(0.0..1.0).contains(&self.scaling) => format!("a scaling of {}", self.scaling),
            () => return Ok(()),
        };
        Err(Error::Invalid(format!("{problem} is out of range")))
    }

    fn iterate(
        &self,
        problem: &Problem,
        observer: &dyn Observer,
    ) -> Result<(Vec<f64>, Evaluation, u32)> {
        self.check()?;
        let mut climb = Climb {
            potentials: vec![0.0; problem.masses().count()],
            iterations: 0,
            limit: self.max_iterations,
        };
        let mut epsilon = problem.cost.largest();
        while epsilon * self.scaling > self.epsilon {
            climb.to(
                problem,
                epsilon,
                LEVEL_TOLERANCE,
                LEVEL_ITERATIONS,
                observer,
            )?;
            epsilon *= self.scaling;
            if climb.iterations >= self.max_iterations {
                return Err(Error::Numerical(format!(
                    "Sinkhorn's iteration did not converge: after {} passes it is still on its \
                     way down, at ε = {epsilon:.3e} of {:.3e}",
                    climb.iterations, self.epsilon
                )));
            }
        }
        let (tolerance, limit) = (self.tolerance, self.max_iterations);
        let found = climb.to(problem, self.epsilon, tolerance, limit, observer)?;
        if !found.value.is_finite() || !found.error.is_finite() {
            return Err(Error::Numerical(
                "Sinkhorn's iteration gave a number that is not finite".to_string(),
            ));
        }
        if found.error > tolerance {
            return Err(Error::Numerical(format!(
                "Sinkhorn's iteration did not converge: marginal error {:.2e} after {} passes, \
                 {tolerance:.0e} was asked for; a larger entropic weight or tolerance helps",
                found.error, climb.iterations
            )));
        }
        Ok((climb.potentials, found, climb.iterations))
    }
}

/// The tolerance for all but the smallest ε.
const LEVEL_TOLERANCE: f64 = 0.02;
const LEVEL_ITERATIONS: u32 = 20;

/// The values of ε of rough potentials, as powers of a half of the largest cost, and the passes for
/// each. Larger values cost more than the pivots they save (measured at 1,000 to 5,000 points).
const ROUGH_LEVELS: std::ops::RangeInclusive<u8> = 3..=9;
const ROUGH_PASSES: u32 = 8;

/// An entropic problem; without `b`, that of a set with itself, which has one potential.
struct Problem<'a> {
    cost: &'a Cost,
    a: &'a [f64],
    b: Option<&'a [f64]>,
    /// Whether f32 exponentials are sufficient.
    rough: bool,
}

/// The result of one pass over the cost.
struct Evaluation {
    /// The excess of each point's marginal: ln of the ratio.
    log_sums: Vec<f64>,
    /// The relative excess.
    excess: Vec<f64>,
    /// L1 error of both marginals.
    error: f64,
    /// The dual value.
    value: f64,
}

impl Problem<'_> {
    /// The weights in the order of the potentials.
    fn masses(&self) -> impl Iterator<Item = f64> {
        self.a.iter().chain(self.b.unwrap_or(&[])).copied()
    }

    fn evaluate(&self, potentials: &[f64], epsilon: f64) -> Evaluation {
        let (f, g) = potentials.split_at(self.a.len());
        let plan = Plan {
            cost: self.cost,
            a: self.a,
            b: self.b.unwrap_or(self.a),
            f,
            g: if self.b.is_some() { g } else { f },
            epsilon,
        };
        let sums = match self.rough {
            true => plan.rough_log_sums(self.b.is_some()),
            false => plan.log_sums(self.b.is_some()),
        };
        let surplus = weighted(self.a, &sums.rows.excess, |share| share);
        let linear: f64 = potentials
            .iter()
            .zip(self.masses())
            .map(|(f, a)| f * a)
            .sum();
        let (linear, error) = match self.b {
            Some(b) => (linear, off(self.a, &sums.rows) + off(b, &sums.columns)),
            None => (2.0 * linear, 2.0 * off(self.a, &sums.rows)),
        };
        let (mut log_sums, mut excess) = (sums.rows.logs, sums.rows.excess);
        log_sums.extend(sums.columns.logs);
        excess.extend(sums.columns.excess);
        Evaluation {
            log_sums,
            excess,
            error,
            value: linear - epsilon * surplus,
        }
    }
}

/// |π1 - a|₁ + |πᵀ1 - b|₁ of a plan.
pub(super) fn marginal_error(plan: &Plan) -> f64 {
    let sums = plan.log_sums(true);
    off(plan.a, &sums.rows) + off(plan.b, &sums.columns)
}

/// The L1 error of a marginal.
fn off(weights: &[f64], marginal: &Marginal) -> f64 {
    weighted(weights, &marginal.excess, f64::abs)
}

/// Σ weight · of(value), where 0 · anything is 0.
fn weighted(weights: &[f64], values: &[f64], of: impl Fn(f64) -> f64) -> f64 {
    let pairs = weights.iter().zip(values);
    let pairs = pairs.filter(|(weight, _)| **weight > 0.0);
    pairs.map(|(weight, value)| weight * of(*value)).sum()
}

/// The ascent of the dual.
struct Climb {
    potentials: Vec<f64>,
    iterations: u32,
    limit: u32,
}

impl Climb {
    /// Ascends at one ε until the marginal error is at most `tolerance`, or for `limit` passes.
    fn to(
        &mut self,
        problem: &Problem,
        epsilon: f64,
        tolerance: f64,
        limit: u32,
        observer: &dyn Observer,
    ) -> Result<Evaluation> {
        let masses: Vec<f64> = problem.masses().collect();
        let mut before = self.potentials.clone();
        let (mut passes, mut steps) = (0, 0.0);
        loop {
            let found = problem.evaluate(&self.potentials, epsilon);
            self.iterations += 1;
            passes += 1;
            let enough = found.error <= tolerance || found.error.is_nan();
            if enough || passes >= limit || self.iterations >= self.limit {
                return Ok(found);
            }
            // The limit is far above the usual number of passes, so it is no total.
            if !observer.advance(u64::from(self.iterations), 0, "passes") {
                return Err(Error::Interrupted);
            }
            let half_way = self.potentials.iter().zip(&found.log_sums);
            let next: Vec<f64> = half_way.map(|(f, log)| f - 0.5 * epsilon * log).collect();
            let uphill: f64 = masses
                .iter()
                .zip(&found.excess)
                .zip(next.iter().zip(&before))
                .map(|((mass, excess), (next, before))| -mass * excess * (next - before))
                .sum();
            steps = if uphill < 0.0 { 0.0 } else { steps + 1.0 };
            let momentum = steps / (steps + 3.0);
            for ((potential, next), before) in self.potentials.iter_mut().zip(&next).zip(&before) {
                *potential = next + momentum * (next - before);
            }
            before = next;
        }
    }
}
