//! The one pass over a stored cost that everything here is made of: with one exponential per
//! entry it gives the row sums and the column sums of a plan.
//!
//! Potentials are the shift, so there is no search for a maximum: near a solution every sum is
//! near 1. Where one is not, its logarithm is computed again the careful way. Rows are cut into a
//! fixed number of chunks and their column sums added in the order of the chunks, so the result
//! does not depend on the number of threads; vectors have a fixed number of lanes and nothing is
//! contracted, so it does not depend on the instruction set either.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::cost::{Cost, Store, padded};
use super::real::Real;

/// Chunks that the rows of a matrix are cut into.
pub(super) const CHUNKS: usize = 32;

/// Entries that are worked on together.
pub(super) const LANES: usize = 32;

/// Entries of a row that are worked on while they lie in the nearest cache: whole lanes.
const TILE: usize = 16 * LANES;

/// Sums beyond these are not trusted: an exponent may have been clamped (at ±87 in f32).
const TRUSTED: std::ops::Range<f64> = 1e-15..1e15;

/// A plan in the making: potentials and weights of rows and columns under one ε.
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

/// The logarithms of a plan's marginals, relative to what they should be.
#[derive(Clone, Debug, Default)]
pub(super) struct LogSums {
    /// `ln Σ_j b[j] exp((f[i] + g[j] - cost[i, j]) / epsilon)`
    pub rows: Vec<f64>,
    /// `ln Σ_i a[i] exp((f[i] + g[j] - cost[i, j]) / epsilon)`; empty if not asked for.
    pub columns: Vec<f64>,
}

impl Plan<'_> {
    /// The log-sums of the rows, and of the columns if `both`.
    pub fn log_sums(&self, both: bool) -> LogSums {
        match &self.cost.store {
            Store::Single(entries) => self.log_sums_of(entries, both),
            Store::Double(entries) => self.log_sums_of(entries, both),
        }
    }

    fn log_sums_of<T: Real>(&self, entries: &[T], both: bool) -> LogSums {
        let (rows, columns) = (self.cost.rows(), self.cost.columns());
        let scaled = Scaled::new(self);
        let height = rows.div_ceil(CHUNKS);
        let stride = self.cost.stride();
        let arch = Arch::new();
        let mut row_sums = vec![0.0; rows];
        let column_sums: Vec<Vec<f64>> = row_sums
            .par_chunks_mut(height)
            .zip(entries.par_chunks(height * stride))
            .enumerate()
            .map(|(chunk, (row_sums, entries))| {
                let first = chunk * height;
                let mut column_sums = vec![0.0; if both { stride } else { 0 }];
                arch.dispatch(Chunk {
                    entries,
                    f: &scaled.f[first..],
                    a: &self.a[first..],
                    scaled: &scaled,
                    row_sums,
                    column_sums: &mut column_sums,
                });
                column_sums
            })
            .collect();
        let log_rows = row_sums.into_par_iter().enumerate().with_min_len(64);
        let log_rows = log_rows.map(|(row, sum)| match TRUSTED.contains(&sum) {
            true => libm::log(sum),
            false => self.careful_row(row),
        });
        let column = |column: usize| -> f64 {
            let sum: f64 = column_sums.iter().map(|sums| sums[column]).sum();
            match TRUSTED.contains(&sum) {
                true => libm::log(sum),
                false => self.careful_column(column),
            }
        };
        let log_columns = (0..if both { columns } else { 0 }).into_par_iter();
        LogSums {
            rows: log_rows.collect(),
            columns: log_columns.with_min_len(64).map(column).collect(),
        }
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
    /// row, and adds up what it returns by chunk.
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

/// `ln Σ weight · exp(exponent)` over positive weights, through the largest exponent.
fn careful_log_sum(weights: &[f64], exponent: impl Fn(usize) -> f64) -> f64 {
    let present = || (0..weights.len()).filter(|place| weights[*place] > 0.0);
    let top = present().map(&exponent).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = present()
        .map(|place| weights[place] * Real::exp(exponent(place) - top))
        .sum();
    top + libm::log(sum)
}

/// Potentials in units of ε, with the columns padded as the cost is.
struct Scaled {
    f: Vec<f64>,
    g: Vec<f64>,
    b: Vec<f64>,
    per_epsilon: f64,
}

impl Scaled {
    fn new(plan: &Plan) -> Self {
        let per_epsilon = 1.0 / plan.epsilon;
        let stride = padded(plan.cost.columns());
        let scale = |values: &[f64]| values.iter().map(|value| value * per_epsilon).collect();
        let mut g: Vec<f64> = scale(plan.g);
        g.resize(stride, 0.0);
        let mut b = plan.b.to_vec();
        b.resize(stride, 0.0);
        Self {
            f: scale(plan.f),
            g,
            b,
            per_epsilon,
        }
    }
}

/// Some rows of a plan, and where their sums go.
struct Chunk<'a, T> {
    entries: &'a [T],
    f: &'a [f64],
    a: &'a [f64],
    scaled: &'a Scaled,
    row_sums: &'a mut [f64],
    /// Empty where the column sums are not wanted.
    column_sums: &'a mut [f64],
}

impl<T: Real> WithSimd for Chunk<'_, T> {
    type Output = ();

    /// Compiled once per instruction set. Exponents are computed in f64 whatever the cost is
    /// stored in: in f32 they would be off by 1e-4 where potentials are a thousand times ε, and
    /// the iteration would never settle.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let stride = self.scaled.g.len();
        for (row, row_sum) in self.row_sums.iter_mut().enumerate() {
            let line = &self.entries[row * stride..(row + 1) * stride];
            let (f, a) = (self.f[row], self.a[row]);
            let mut lanes = [0.0; LANES];
            for first in (0..stride).step_by(TILE) {
                let last = (first + TILE).min(stride);
                let mut tile = [0.0; TILE];
                let tile = &mut tile[..last - first];
                let g = &self.scaled.g[first..last];
                for ((entry, cost), g) in tile.iter_mut().zip(&line[first..last]).zip(g) {
                    let exponent = (f + g) - cost.to_f64() * self.scaled.per_epsilon;
                    *entry = T::from_f64(exponent).exp().to_f64();
                }
                let b = &self.scaled.b[first..last];
                for (entries, b) in tile.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
                    for lane in 0..LANES {
                        lanes[lane] += b[lane] * entries[lane];
                    }
                }
                if !self.column_sums.is_empty() {
                    let sums = &mut self.column_sums[first..last];
                    for (sum, entry) in sums.iter_mut().zip(&*tile) {
                        *sum += a * entry;
                    }
                }
            }
            *row_sum = lanes.iter().sum();
        }
    }
}
