//! geomloss's Sinkhorn loop, step by step, to reproduce microsoft/otdd's numbers.
//!
//! It goes through a schedule of ε once and stops, converged or not (typically some percent too
//! low), so it is only for reproducing published values. Feydy et al. 2019; geomloss 0.2.6,
//! `sinkhorn_divergence.py`.

use super::cost::Cost;
use super::kernel::Plan;
use super::points::Points;
use super::sinkhorn::{Transport, marginal_error};
use crate::{Error, Observer, Result};

/// The schedule of one loop.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(Vec<f64>);

impl Schedule {
    /// ε from `diameter`² by factors of `scaling`² down to `epsilon` = blur².
    ///
    /// `[D²] + exp(arange(2 ln D, 2 ln blur, 2 ln scaling)) + [blur²]`, as in geomloss for p = 2;
    /// the largest value occurs twice.
    ///
    /// # Errors
    /// A diameter of 0 (all points equal) or an ε or scaling out of range.
    pub fn new(diameter: f64, epsilon: f64, scaling: f64) -> Result<Self> {
        let sound = diameter > 0.0 && epsilon > 0.0 && scaling > 0.0 && scaling < 1.0;
        if !(sound && diameter.is_finite() && epsilon.is_finite()) {
            return Err(Error::Invalid(format!(
                "no schedule leads from a diameter of {diameter} to ε = {epsilon} \
                 by a scaling of {scaling}"
            )));
        }
        let (start, stop) = (2.0 * libm::log(diameter), libm::log(epsilon));
        let step = 2.0 * libm::log(scaling);
        let count = ((stop - start) / step).ceil().max(0.0) as usize;
        let between = (0..count).map(|index| libm::exp(start + index as f64 * step));
        let mut values = vec![diameter * diameter];
        values.extend(between);
        values.push(epsilon);
        Ok(Self(values))
    }

    pub fn values(&self) -> &[f64] {
        &self.0
    }

    /// Runs the loop between two sets. `value` is `Σ a f + Σ b g` of the extrapolated potentials,
    /// and `marginal_error` measures their convergence.
    ///
    /// # Errors
    /// Interruption by `observer`, or a result that is not finite.
    pub fn solve(
        &self,
        cost: &Cost,
        a: &[f64],
        b: &[f64],
        observer: &dyn Observer,
    ) -> Result<Transport> {
        let (f, g) = self.walk(cost, a, b, true, observer)?;
        finish(cost, a, b, f, g, self)
    }

    /// Runs the loop for one set with itself, under a symmetric cost.
    ///
    /// # Errors
    /// As [`Schedule::solve`].
    pub fn solve_symmetric(
        &self,
        cost: &Cost,
        a: &[f64],
        observer: &dyn Observer,
    ) -> Result<Transport> {
        let (f, _) = self.walk(cost, a, a, false, observer)?;
        finish(cost, a, a, f.clone(), f, self)
    }

    /// The final potentials; `g` stays empty unless `both`, and `f` is used instead.
    fn walk(
        &self,
        cost: &Cost,
        a: &[f64],
        b: &[f64],
        both: bool,
        observer: &dyn Observer,
    ) -> Result<(Vec<f64>, Vec<f64>)> {
        let mut f = vec![0.0; a.len()];
        let mut g = vec![0.0; if both { b.len() } else { 0 }];
        // A full first step from zero potentials, then averaged steps, and a full last step.
        let first = self.0.first().map(|epsilon| (*epsilon, 1.0));
        let averaged = self.0.iter().map(|epsilon| (*epsilon, 0.5));
        let last = self.0.last().map(|epsilon| (*epsilon, 1.0));
        let total = self.0.len() as u64 + 2;
        for (done, (epsilon, share)) in first.into_iter().chain(averaged).chain(last).enumerate() {
            if !observer.advance(done as u64, total, "passes") {
                return Err(Error::Interrupted);
            }
            let plan = Plan {
                cost,
                a,
                b,
                f: &f,
                g: if both { &g } else { &f },
                epsilon,
            };
            let sums = plan.log_sums(both);
            for (potential, log) in f.iter_mut().zip(&sums.rows.logs) {
                *potential -= share * epsilon * log;
            }
            for (potential, log) in g.iter_mut().zip(&sums.columns.logs) {
                *potential -= share * epsilon * log;
            }
        }
        Ok((f, g))
    }
}

fn finish(
    cost: &Cost,
    a: &[f64],
    b: &[f64],
    f: Vec<f64>,
    g: Vec<f64>,
    schedule: &Schedule,
) -> Result<Transport> {
    let dot = |weights: &[f64], values: &[f64]| -> f64 {
        weights.iter().zip(values).map(|(a, f)| a * f).sum()
    };
    let value = dot(a, &f) + dot(b, &g);
    let epsilon = schedule.0.last().copied().unwrap_or_default();
    let plan = Plan {
        cost,
        a,
        b,
        f: &f,
        g: &g,
        epsilon,
    };
    let marginal_error = marginal_error(&plan);
    if !value.is_finite() || !marginal_error.is_finite() {
        return Err(Error::Numerical(
            "geomloss's loop gave a number that is not finite".to_string(),
        ));
    }
    Ok(Transport {
        value,
        f,
        g,
        marginal_error,
        iterations: schedule.0.len() as u32 + 2,
        epsilon,
    })
}

/// geomloss's diameter: the norm of the bounding box of both sets.
pub fn box_diameter(a: &Points, b: &Points) -> f64 {
    let sides = (0..a.dimension()).map(|coordinate| {
        let rows = a.rows().chain(b.rows());
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for row in rows {
            low = low.min(row[coordinate]);
            high = high.max(row[coordinate]);
        }
        (high - low) * (high - low)
    });
    sides.sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy's result for D = 39.683 and blur² = 0.1: 9 values (the fixture's `_n_eps`).
    #[test]
    fn the_schedule_is_geomlosss() {
        let schedule = Schedule::new(39.683_312_206_030_1, 0.1, 0.5).unwrap();
        let values = schedule.values();
        assert_eq!(
            (values.len(), values[0], values[8]),
            (9, 39.683_312_206_030_1f64.powi(2), 0.1)
        );
        assert!((values[1] / values[0] - 1.0).abs() < 1e-14);
        assert!((values[3] * 4.0 / values[2] - 1.0).abs() < 1e-14);
        assert!(Schedule::new(0.0, 0.1, 0.5).is_err());
    }
}
