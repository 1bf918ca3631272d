//! Distances based on means over all pairs of points: maximum mean discrepancy and energy distance.
//!
//! They are differences of means that may be as large as the largest distance. If rounding could
//! reach a millionth of the difference, the means are recomputed in double-double, or, if that
//! would take too long, the distance is refused.

use qd::Quad;
use rayon::prelude::*;

use super::cost::{Cost, Precision};
use super::near::EXPANSION_ERROR;
use super::pairs;
use super::points::Points;
use super::real::Real;
use crate::{Error, Result};

/// The squared maximum mean discrepancy under a Gaussian kernel (Gretton et al. 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmd {
    /// Over all pairs, including each point with itself: never negative.
    pub biased: f64,
    /// Without the pairs of a point with itself: unbiased, and possibly negative.
    pub unbiased: f64,
    /// σ² of the kernel.
    pub bandwidth: f64,
}

/// MMD² under `exp(-|x - y|² / (2 σ²))`; the default σ² is the median of |x - y|² between the sets.
///
/// # Errors
/// Different dimensions, a set of one point, a σ² that is not positive (or a median of 0); points
/// out of range; a difference with a relative error above a millionth.
pub fn mmd(a: &Points, b: &Points, bandwidth: Option<f64>) -> Result<Mmd> {
    let (n, m) = (a.count() as f64, b.count() as f64);
    if a.count() < 2 || b.count() < 2 {
        return Err(Error::Invalid(
            "a mean discrepancy needs two points on each side".to_string(),
        ));
    }
    let between = squares(a, b)?;
    let bandwidth = bandwidth.unwrap_or_else(|| median(&between));
    if !(bandwidth > 0.0 && bandwidth.is_finite()) {
        return Err(Error::Invalid(format!(
            "a squared bandwidth of {bandwidth} gives no kernel"
        )));
    }
    let kernel = |square: f64| Real::exp(-square / (2.0 * bandwidth));
    let ab = sum(&between, kernel) / (n * m);
    drop(between);
    let aa = sum(&squares(a, a)?, kernel);
    let bb = sum(&squares(b, b)?, kernel);
    // The distance of a point from itself is 0, where the kernel is 1.
    let found = Mmd {
        biased: aa / (n * n) + bb / (m * m) - 2.0 * ab,
        unbiased: (aa - n) / (n * (n - 1.0)) + (bb - m) / (m * (m - 1.0)) - 2.0 * ab,
        bandwidth,
    };
    // The error of e^-x for a relative error of x: at most a factor of 1/e.
    let error = 4.0 * (0.5 * EXPANSION_ERROR + rounding(a, b));
    if found.is_accurate(error) {
        return Ok(found);
    }
    if pairs::are_equal(a, b) {
        return Ok(Mmd {
            biased: 0.0,
            ..found
        });
    }
    pairs::check_size(a, b)?;
    found.in_double(a, b)
}

impl Mmd {
    /// Whether this error is below a millionth. `unbiased` may be 0 by chance, so it is compared
    /// with its random variation.
    fn is_accurate(&self, error: f64) -> bool {
        let chance = self.biased - self.unbiased;
        let unbiased = self.unbiased.abs().max(chance);
        error <= ERROR * self.biased.min(unbiased)
    }

    fn in_double(self, a: &Points, b: &Points) -> Result<Self> {
        let factor = Quad::from(-0.5) / Quad::from(self.bandwidth);
        let mean = |a: &Points, b: &Points| pairs::mean(a, b, |square| (square * factor).exp());
        let (ab, aa, bb) = (mean(a, b), mean(a, a), mean(b, b));
        let biased = aa + bb - ab - ab;
        // The difference due to leaving out the n kernels of 1 of a set of n.
        let short =
            |mean: Quad, count: usize| (Quad::from(1.0) - mean) / Quad::from(count as f64 - 1.0);
        let unbiased = biased - short(aa, a.count()) - short(bb, b.count());
        Ok(Self {
            biased: accurate_difference(biased, 1.0)?,
            unbiased: unbiased.0,
            ..self
        })
    }
}

/// The energy distance, in geomloss's scale: E|x - y| - E|x - x'| / 2 - E|y - y'| / 2, half of
/// Székely and Rizzo's (2013).
///
/// Distances below `floor` count as `floor`: geomloss uses 1e-4, also for a point and itself; 0
/// gives the exact energy distance.
///
/// # Errors
/// Different dimensions; points out of range; a difference with a relative error above a millionth.
pub fn energy(a: &Points, b: &Points, floor: f64) -> Result<f64> {
    let mean = |a: &Points, b: &Points| -> Result<f64> {
        let distances = sum(&squares(a, b)?, |square| square.sqrt().max(floor));
        Ok(distances / (a.count() as f64 * b.count() as f64))
    };
    let (ab, within) = (mean(a, b)?, 0.5 * (mean(a, a)? + mean(b, b)?));
    let found = ab - within;
    // A square root halves the relative error.
    let error = (ab + within) * (0.5 * EXPANSION_ERROR + rounding(a, b));
    if error <= ERROR * found.abs() {
        return Ok(found);
    }
    if pairs::are_equal(a, b) {
        return Ok(0.0);
    }
    pairs::check_size(a, b)?;
    let least = Quad::from(floor);
    let mean = |a: &Points, b: &Points| {
        pairs::mean(a, b, |square| {
            let distance = square.sqrt();
            if distance < least { least } else { distance }
        })
    };
    let within = (mean(a, a) + mean(b, b)) * Quad::from(0.5);
    let found = mean(a, b) - within;
    accurate_difference(found, within.0)
}

/// The maximum relative error of a distance.
const ERROR: f64 = 1e-6;

/// The relative rounding error of a sum over all pairs: within a row, then over the rows; and of
/// the function that is summed.
fn rounding(a: &Points, b: &Points) -> f64 {
    let longest = a.count().max(b.count()) as f64;
    (longest + 4.0) * f64::EPSILON
}

/// A difference of means of this size, if its relative error is below a millionth; 0 if it is
/// rounding in 32 digits.
fn accurate_difference(found: Quad, size: f64) -> Result<f64> {
    const ROUNDING: f64 = 1e-29;
    match found.0.abs() / size {
        share if share <= ROUNDING => Ok(0.0),
        share if share * ERROR >= ROUNDING => Ok(found.0),
        _ => Err(Error::Numerical(
            "the distances between the sets and within them cancel beyond 32 \
             digits: the sets are equal up to rounding"
                .to_string(),
        )),
    }
}

fn squares(a: &Points, b: &Points) -> Result<Cost> {
    Cost::squared_euclidean(a, b, 1.0, None, Precision::Double)
}

/// Row by row, then over the rows in order: the same bits for any number of threads.
fn sum(squares: &Cost, of: impl Fn(f64) -> f64 + Sync) -> f64 {
    let row = |row| {
        (0..squares.columns())
            .map(|column| of(squares.at(row, column)))
            .sum()
    };
    let rows: Vec<f64> = (0..squares.rows()).into_par_iter().map(row).collect();
    rows.iter().sum()
}

/// The middle entry, or the mean of the two middle ones.
fn median(squares: &Cost) -> f64 {
    let entries = (0..squares.rows())
        .flat_map(|row| (0..squares.columns()).map(move |column| squares.at(row, column)));
    let mut entries: Vec<f64> = entries.collect();
    let middle = entries.len() / 2;
    let (below, upper, _) = entries.select_nth_unstable_by(middle, f64::total_cmp);
    let upper = *upper;
    match below.iter().copied().max_by(f64::total_cmp) {
        Some(lower) if (squares.rows() * squares.columns()).is_multiple_of(2) => {
            0.5 * (lower + upper)
        }
        _ => upper,
    }
}
