//! Squared distances by differences: for points that are so close together, compared with their
//! distance from the centre of a Gram expansion, that the expansion cancels.

use pulp::{Arch, Simd, WithSimd};

use super::sweep::LANES;

/// The maximum relative error of the expansion of a squared distance.
pub(super) const EXPANSION_ERROR: f64 = 1e-11;

/// Smaller squares may have lost digits to underflow. Such a square, unless it is 0, is replaced by
/// this one.
pub(super) const SMALLEST_SQUARE: f64 = 1e-290;

/// The entries of one row of a cost that must not be expanded.
pub(super) struct Near<'a> {
    /// The point of the row, and those of all columns.
    pub point: &'a [f64],
    pub others: &'a [f64],
    /// Squared distances from the centre.
    pub norm: f64,
    pub norms: &'a [f64],
    /// See [`bar`].
    pub bar: f64,
}

/// The share of the squared distances of two points from the centre below which their squared
/// distance from each other is not expanded.
///
/// An inner product of d terms has an error of at most d rounding units times the norms, and almost
/// certainly of at most 6 √d (Higham and Mary 2019).
pub(super) fn bar(dimension: usize) -> f64 {
    let terms = (dimension + 4) as f64;
    terms.min(6.0 * terms.sqrt()) * f64::EPSILON / EXPANSION_ERROR
}

impl Near<'_> {
    /// Whether the expansion of some column is too inaccurate.
    pub fn is_coarse(&self, squares: &[f64]) -> bool {
        let mut coarse = false;
        for (square, norm) in squares.iter().zip(self.norms) {
            coarse |= self.is_near(*square, *norm);
        }
        coarse
    }

    #[inline(always)]
    fn is_near(&self, square: f64, norm: f64) -> bool {
        // NaN counts as near.
        !(square > self.bar * (self.norm + norm) && square > SMALLEST_SQUARE)
    }

    /// Replaces inaccurate expansions by squares of differences. Returns whether one was replaced
    /// by [`SMALLEST_SQUARE`].
    pub fn correct(&self, squares: &mut [f64]) -> bool {
        Arch::new().dispatch(Correct {
            near: self,
            squares,
        })
    }
}

struct Correct<'a, 'b> {
    near: &'a Near<'b>,
    squares: &'a mut [f64],
}

impl WithSimd for Correct<'_, '_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> bool {
        let point = self.near.point;
        let mut lifted = false;
        for (column, square) in self.squares.iter_mut().enumerate() {
            if !self.near.is_near(*square, self.near.norms[column]) {
                continue;
            }
            let other = &self.near.others[column * point.len()..][..point.len()];
            *square = squared(point, other);
            if *square < SMALLEST_SQUARE && point != other {
                *square = SMALLEST_SQUARE;
                lifted = true;
            }
        }
        lifted
    }
}

/// The sum of squared differences, in lanes, so that every instruction set gives the same bits.
#[inline(always)]
fn squared(x: &[f64], y: &[f64]) -> f64 {
    let (x, x_rest) = x.as_chunks::<LANES>();
    let (y, y_rest) = y.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (x, y) in x.iter().zip(y) {
        for lane in 0..LANES {
            let difference = x[lane] - y[lane];
            sums[lane] += difference * difference;
        }
    }
    for lane in 0..x_rest.len() {
        let difference = x_rest[lane] - y_rest[lane];
        sums[lane] += difference * difference;
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_of_any_length() {
        for d in [1, 3, 15, 16, 17, 32, 50] {
            let x: Vec<f64> = (0..d).map(|at| 1e8 + at as f64).collect();
            let y: Vec<f64> = (0..d).map(|at| 1e8 - at as f64).collect();
            let whole: usize = (0..d).map(|at| 4 * at * at).sum();
            assert_eq!(squared(&x, &y), whole as f64);
        }
    }
}
