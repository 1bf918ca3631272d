//! The pass over some rows of a stored cost: one exponential per entry, added to its row sum and
//! its column sum.

use pulp::{Simd, WithSimd};

use super::exponents::Exponentials;
use super::prefetch::bring_near;
use super::real::Real;

/// The number of entries that are processed together.
pub(super) const LANES: usize = 32;

/// The number of entries of a row that are processed while they and their columns' data are in the
/// L1 cache; a multiple of the lanes. Half of it took a quarter to a third more time (measured at
/// 2,000 and 5,000 points).
const TILE: usize = 8 * LANES;

/// The number of rows whose column sums are accumulated before they are written to memory.
pub(super) const GROUP: usize = 8;

/// Some rows of a plan, and the targets of their sums.
pub(super) struct Sweep<'a, E: Exponentials> {
    pub exponentials: &'a E,
    /// The costs of these rows.
    pub entries: &'a [E::Cost],
    pub first_row: usize,
    pub row_sums: &'a mut [f64],
    /// Empty if the column sums are not needed.
    pub column_sums: &'a mut [f64],
}

impl<E: Exponentials> WithSimd for Sweep<'_, E> {
    type Output = ();

    /// Compiled once per instruction set. Sums are f64; if exponentials are f32, so are runs of
    /// [`GROUP`] and of `TILE / LANES` terms, whose rounding is comparable to that of the terms.
    #[inline(always)]
    fn with_simd<I: Simd>(mut self, _: I) {
        let rows = self.row_sums.len();
        let whole = rows - rows % GROUP;
        // Loops, not `for_each`: a closure would be compiled without the instruction set.
        for row in (0..whole).step_by(GROUP) {
            self.rows::<GROUP>(row);
        }
        for row in whole..rows {
            self.rows::<1>(row);
        }
    }
}

impl<E: Exponentials> Sweep<'_, E> {
    #[inline(always)]
    fn rows<const ROWS: usize>(&mut self, row: usize) {
        let exponentials = self.exponentials;
        let weights = exponentials.column_weights();
        let stride = weights.len();
        let zero = E::Value::from_f64(0.0);
        let mut sums = [[0.0; LANES]; ROWS];
        let mut tiles = [[zero; TILE]; ROWS];
        for first in (0..stride).step_by(TILE) {
            let last = (first + TILE).min(stride);
            let weights = &weights[first..last];
            for (within, (tile, sums)) in tiles.iter_mut().zip(&mut sums).enumerate() {
                let line = (row + within) * stride;
                self.bring_next_near(line, last, ROWS);
                let costs = &self.entries[line + first..line + last];
                let tile = &mut tile[..last - first];
                exponentials.fill(tile, costs, self.first_row + row + within, first);
                let mut lanes = [zero; LANES];
                let pairs = tile.chunks_exact(LANES).zip(weights.chunks_exact(LANES));
                for (entries, weights) in pairs {
                    for lane in 0..LANES {
                        lanes[lane] = weights[lane].fused(entries[lane], lanes[lane]);
                    }
                }
                for lane in 0..LANES {
                    sums[lane] += lanes[lane].to_f64();
                }
            }
            if !self.column_sums.is_empty() {
                let first_row = self.first_row + row;
                let weights = &exponentials.row_weights()[first_row..first_row + ROWS];
                add_columns(&mut self.column_sums[first..last], &tiles, weights);
            }
        }
        for (target, lanes) in self.row_sums[row..].iter_mut().zip(&sums) {
            *target = lanes.iter().sum();
        }
    }

    /// Prefetches the next tile: that of the row that starts at `line`, or the first one of the row
    /// that replaces it in the next group.
    #[inline(always)]
    fn bring_next_near(&self, line: usize, last: usize, rows: usize) {
        let stride = self.exponentials.column_weights().len();
        let next = match last < stride {
            true => line + last,
            false => line + rows * stride,
        };
        if next < self.entries.len() {
            bring_near(&self.entries[next..(next + TILE).min(self.entries.len())]);
        }
    }
}

/// Adds the column sums of some rows.
#[inline(always)]
fn add_columns<T: Real, const ROWS: usize>(
    sums: &mut [f64],
    tiles: &[[T; TILE]; ROWS],
    weights: &[T],
) {
    let mut of_rows = [T::from_f64(0.0); ROWS];
    of_rows.copy_from_slice(weights);
    for (column, sum) in sums.iter_mut().enumerate() {
        let mut group = T::from_f64(0.0);
        for row in 0..ROWS {
            group = of_rows[row].fused(tiles[row][column], group);
        }
        *sum += group.to_f64();
    }
}
