//! The pass over a stored cost that all solvers share: with one exponential per entry it computes
//! the row sums and the column sums of a plan.
//!
//! The potentials serve as the shift, so no search for a maximum is needed: near a solution every
//! sum is near 1. Otherwise its logarithm is recomputed with a maximum. Rows are divided into a
//! fixed number of chunks whose column sums are added in order, so the result does not depend on
//! the number of threads; vectors have a fixed number of lanes and fused operations are fused
//! everywhere, so it does not depend on the instruction set either.

use pulp::Arch;
use rayon::prelude::*;

use super::cost::{Cost, Store};
use super::exponents::{Exponentials, Split, WEIGHT_UNIT, Wide};
use super::real::Real;
use super::sweep::{GROUP, Sweep};

/// The maximum number of chunks of rows.
pub(super) const CHUNKS: usize = 32;

/// The number of columns whose sums are combined at a time.
const COLUMNS: usize = 512;

/// Sums outside this range are not trusted: an exponent may have been clamped (at ±87 in f32).
const TRUSTED: std::ops::Range<f64> = 1e-15..1e15;

/// A plan during iteration: potentials and weights of rows and columns for one ε.
///
/// `plan[i, j] = a[i] b[j] exp((f[i] + g[j] - cost[i, j]) / epsilon)`
#[derive(Clone, Copy)]
pub(super) struct Plan<'a> {
    pub cost: &'a Cost,
    pub a: &'a [f64],
    pub b: &'a [f64],
    pub f: &'a [f64],
    pub g: &'a [f64],
    pub epsilon: f64,
}

/// A plan's marginals relative to the required ones.
#[derive(Clone, Debug, Default)]
pub(super) struct LogSums {
    /// For `Σ_j b[j] exp((f[i] + g[j] - cost[i, j]) / epsilon)`
    pub rows: Marginal,
    /// For `Σ_i a[i] exp((f[i] + g[j] - cost[i, j]) / epsilon)`; empty if not requested.
    pub columns: Marginal,
}

/// The ratio of one marginal to the required one.
#[derive(Clone, Debug, Default)]
pub(super) struct Marginal {
    /// Its logarithms.
    pub logs: Vec<f64>,
    /// The relative excess: `exp(log) - 1`; finite even if the first potentials for a small ε are
    /// far off.
    pub excess: Vec<f64>,
}

impl Marginal {
    /// From `(log, excess)` of each point.
    fn of(points: impl IndexedParallelIterator<Item = (f64, f64)>) -> Self {
        let (logs, excess) = points.with_min_len(64).unzip();
        Self { logs, excess }
    }
}

impl Plan<'_> {
    /// The log-sums of the rows, and of the columns if `both`.
    pub fn log_sums(&self, both: bool) -> LogSums {
        match &self.cost.store {
            Store::Single(entries) => match Split::new(self) {
                Some(split) => self.log_sums_by(&split, entries, both),
                None => self.log_sums_by(&Wide::<f32, f32>::new(self), entries, both),
            },
            Store::Double(entries) => self.log_sums_by(&Wide::<f64, f64>::new(self), entries, both),
        }
    }

    /// The same with f32 exponentials regardless of the storage precision: accurate to about 1e-6.
    pub fn rough_log_sums(&self, both: bool) -> LogSums {
        match &self.cost.store {
            Store::Single(_) => self.log_sums(both),
            Store::Double(entries) => self.log_sums_by(&Wide::<f64, f32>::new(self), entries, both),
        }
    }

    fn log_sums_by<E: Exponentials>(
        &self,
        exponentials: &E,
        entries: &[E::Cost],
        both: bool,
    ) -> LogSums {
        let (row_sums, of_chunks) = self.sweep(exponentials, entries, both);
        let rows = row_sums.into_par_iter().enumerate().map(|(row, sum)| {
            let sum = sum / WEIGHT_UNIT;
            marginal_of(sum, exponentials.rest_of_row(row), || self.careful_row(row))
        });
        let column_sums = match both {
            true => added(&of_chunks, self.cost.columns()),
            false => Vec::new(),
        };
        let columns = column_sums.into_par_iter().enumerate();
        let columns = columns.map(|(column, sum)| {
            let sum = sum / WEIGHT_UNIT;
            let rest = exponentials.rest_of_column(column);
            marginal_of(sum, rest, || self.careful_column(column))
        });
        LogSums {
            rows: Marginal::of(rows),
            columns: Marginal::of(columns),
        }
    }

    /// The sums of all rows, and the column sums by chunk of rows, both in [`WEIGHT_UNIT`].
    fn sweep<E: Exponentials>(
        &self,
        exponentials: &E,
        entries: &[E::Cost],
        both: bool,
    ) -> (Vec<f64>, Vec<Vec<f64>>) {
        let rows = self.cost.rows();
        let height = rows.div_ceil(CHUNKS).next_multiple_of(GROUP);
        let stride = self.cost.stride();
        let arch = Arch::new();
        let mut row_sums = vec![0.0; rows];
        let of_chunks = row_sums
            .par_chunks_mut(height)
            .zip(entries.par_chunks(height * stride))
            .enumerate()
            .map(|(chunk, (row_sums, entries))| {
                let mut column_sums = vec![0.0; if both { stride } else { 0 }];
                arch.dispatch(Sweep {
                    exponentials,
                    entries,
                    first_row: chunk * height,
                    row_sums,
                    column_sums: &mut column_sums,
                });
                column_sums
            })
            .collect();
        (row_sums, of_chunks)
    }

    fn careful_row(&self, row: usize) -> f64 {
        careful_log_sum(self.b, |column| self.exponent(row, column))
    }

    fn careful_column(&self, column: usize) -> f64 {
        careful_log_sum(self.a, |row| self.exponent(row, column))
    }

    fn exponent(&self, row: usize, column: usize) -> f64 {
        (self.f[row] + self.g[column] - self.cost.at(row, column)) / self.epsilon
    }

    /// Calls `see(row, line, plan)` for every row, with the costs and the plan's entries of that
    /// row, and sums its results by chunk.
    pub fn fold_rows<R: Send>(
        &self,
        start: impl Fn() -> R + Sync,
        see: impl Fn(&mut R, usize, &[f64]) + Sync,
    ) -> Vec<R> {
        let (rows, columns) = (self.cost.rows(), self.cost.columns());
        let height = rows.div_ceil(CHUNKS);
        let chunks: Vec<usize> = (0..rows).step_by(height).collect();
        chunks
            .into_par_iter()
            .map(|first| {
                let mut result = start();
                let mut line = vec![0.0; columns];
                for row in first..(first + height).min(rows) {
                    for (column, entry) in line.iter_mut().enumerate() {
                        let share = self.a[row] * self.b[column];
                        *entry = share * Real::exp(self.exponent(row, column));
                    }
                    see(&mut result, row, &line);
                }
                result
            })
            .collect()
    }
}

/// `ln Σ weight · exp(exponent)` over positive weights, shifted by the largest exponent.
fn careful_log_sum(weights: &[f64], exponent: impl Fn(usize) -> f64) -> f64 {
    let present = || (0..weights.len()).filter(|place| weights[*place] > 0.0);
    let top = present().map(&exponent).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = present()
        .map(|place| weights[place] * Real::exp(exponent(place) - top))
        .sum();
    top + libm::log(sum)
}

/// The logarithm and the relative excess of a marginal, from its sum without the factor
/// `exp(rest)`.
fn marginal_of(sum: f64, rest: f64, careful: impl Fn() -> f64) -> (f64, f64) {
    if TRUSTED.contains(&sum) {
        let excess = sum * Real::exp(rest) - 1.0;
        return (libm::log(sum) + rest, excess);
    }
    let log = careful();
    (log, libm::expm1(log.min(300.0)))
}

/// The column sums of all chunks, added in the order of the chunks.
fn added(of_chunks: &[Vec<f64>], columns: usize) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    let parts = sums.par_chunks_mut(COLUMNS).enumerate();
    parts.for_each(|(part, sums)| {
        for chunk in of_chunks {
            let terms = &chunk[part * COLUMNS..][..sums.len()];
            sums.iter_mut()
                .zip(terms)
                .for_each(|(sum, term)| *sum += term);
        }
    });
    sums
}
