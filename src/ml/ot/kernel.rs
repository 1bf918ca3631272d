//! The one pass over a stored cost that everything here is made of: with one exponential per
//! entry it gives the row sums and the column sums of a plan.
//!
//! Potentials are the shift, so there is no search for a maximum: near a solution every sum is
//! near 1. Where one is not, its logarithm is computed again the careful way. Rows are cut into a
//! fixed number of chunks and their column sums added in the order of the chunks, so the result
//! does not depend on the number of threads; vectors have a fixed number of lanes and what is
//! fused is fused everywhere, so it does not depend on the instruction set either.

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
            Store::Single(entries) => self.log_sums_of::<f32, f32>(entries, both),
            Store::Double(entries) => self.log_sums_of::<f64, f64>(entries, both),
        }
    }

    /// The same with exponentials in f32 whatever the cost is stored in: good to 1e-6 or so.
    pub fn rough_log_sums(&self, both: bool) -> LogSums {
        match &self.cost.store {
            Store::Single(entries) => self.log_sums_of::<f32, f32>(entries, both),
            Store::Double(entries) => self.log_sums_of::<f64, f32>(entries, both),
        }
    }

    /// From costs stored as `S`, with exponentials as `T`.
    fn log_sums_of<S: Real, T: Real>(&self, entries: &[S], both: bool) -> LogSums {
        let (rows, columns) = (self.cost.rows(), self.cost.columns());
        let scaled = Scaled::<T>::new(self);
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
                    a: &scaled.a[first..],
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

/// Potentials in units of ε and weights, with the columns padded as the cost is.
struct Scaled<T> {
    f: Vec<f64>,
    g: Vec<f64>,
    a: Vec<T>,
    b: Vec<T>,
    per_epsilon: f64,
}

impl<T: Real> Scaled<T> {
    fn new(plan: &Plan) -> Self {
        let per_epsilon = 1.0 / plan.epsilon;
        let stride = padded(plan.cost.columns());
        let scale = |values: &[f64]| values.iter().map(|value| value * per_epsilon).collect();
        let weights = |values: &[f64]| values.iter().map(|value| T::from_f64(*value)).collect();
        let mut g: Vec<f64> = scale(plan.g);
        g.resize(stride, 0.0);
        let mut b: Vec<T> = weights(plan.b);
        b.resize(stride, T::from_f64(0.0));
        Self {
            f: scale(plan.f),
            g,
            a: weights(plan.a),
            b,
            per_epsilon,
        }
    }
}

/// Rows whose column sums are added up before they go to memory.
const GROUP: usize = 4;

/// Some rows of a plan, and where their sums go.
struct Chunk<'a, S, T> {
    entries: &'a [S],
    f: &'a [f64],
    a: &'a [T],
    scaled: &'a Scaled<T>,
    row_sums: &'a mut [f64],
    /// Empty where the column sums are not wanted.
    column_sums: &'a mut [f64],
}

impl<S: Real, T: Real> WithSimd for Chunk<'_, S, T> {
    type Output = ();

    /// Compiled once per instruction set. Exponents are computed in f64 whatever the cost is
    /// stored in: in f32 they would be off by 1e-4 where potentials are a thousand times ε, and
    /// the iteration would never settle. Sums are f64; where exponentials are f32, so are runs of
    /// [`GROUP`] and of `TILE / LANES` terms, whose rounding is that of the terms.
    #[inline(always)]
    fn with_simd<I: Simd>(mut self, _: I) {
        for first in (0..self.row_sums.len()).step_by(GROUP) {
            if first + GROUP <= self.row_sums.len() {
                self.rows::<GROUP>(first);
            } else {
                (first..self.row_sums.len()).for_each(|row| self.rows::<1>(row));
            }
        }
    }
}

impl<S: Real, T: Real> Chunk<'_, S, T> {
    #[inline(always)]
    fn rows<const ROWS: usize>(&mut self, first_row: usize) {
        let stride = self.scaled.g.len();
        let mut sums = [0.0; ROWS];
        let mut tiles = [[T::from_f64(0.0); TILE]; ROWS];
        for first in (0..stride).step_by(TILE) {
            let last = (first + TILE).min(stride);
            let (g, b) = (&self.scaled.g[first..last], &self.scaled.b[first..last]);
            for (row, (tile, sum)) in tiles.iter_mut().zip(&mut sums).enumerate() {
                let f = self.f[first_row + row];
                let line = (first_row + row) * stride;
                let costs = &self.entries[line + first..line + last];
                let tile = &mut tile[..last - first];
                for ((entry, cost), g) in tile.iter_mut().zip(costs).zip(g) {
                    let exponent = cost.to_f64().mul_add(-self.scaled.per_epsilon, f + g);
                    *entry = T::from_f64(exponent).fused_exp();
                }
                let mut lanes = [T::from_f64(0.0); LANES];
                for (entries, b) in tile.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
                    for lane in 0..LANES {
                        lanes[lane] = b[lane].fused(entries[lane], lanes[lane]);
                    }
                }
                *sum += lanes.iter().map(|lane| lane.to_f64()).sum::<f64>();
            }
            if !self.column_sums.is_empty() {
                let a = &self.a[first_row..first_row + ROWS];
                let columns = &mut self.column_sums[first..last];
                for (column, sum) in columns.iter_mut().enumerate() {
                    let mut group = T::from_f64(0.0);
                    for row in 0..ROWS {
                        group = a[row].fused(tiles[row][column], group);
                    }
                    *sum += group.to_f64();
                }
            }
        }
        self.row_sums[first_row..first_row + ROWS].copy_from_slice(&sums);
    }
}
