//! Distances made of means over all pairs of points: kernel mean discrepancy and energy.

use rayon::prelude::*;

use super::cost::{Cost, Precision};
use super::points::Points;
use super::real::Real;
use crate::ml::{Error, Result};

/// The squared maximum mean discrepancy under a Gaussian kernel (Gretton et al. 2012).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmd {
    /// Over all pairs, each point with itself included: never negative.
    pub biased: f64,
    /// Without the pairs of a point with itself: its expectation is right, and it may be negative.
    pub unbiased: f64,
    /// σ² of the kernel.
    pub bandwidth: f64,
}

/// MMD² under `exp(-|x - y|² / (2 σ²))`; without a σ² the median of |x - y|² between the sets.
///
/// # Errors
/// Different dimensions, a set of one point, a σ² that is not positive (or a median of 0).
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
    // A point is at 0 from itself, where the kernel is 1.
    Ok(Mmd {
        biased: aa / (n * n) + bb / (m * m) - 2.0 * ab,
        unbiased: (aa - n) / (n * (n - 1.0)) + (bb - m) / (m * (m - 1.0)) - 2.0 * ab,
        bandwidth,
    })
}

/// The energy distance, in geomloss's scale: E|x - y| - E|x - x'| / 2 - E|y - y'| / 2, half of
/// Székely and Rizzo's (2013).
///
/// Distances below `floor` count as `floor`: geomloss takes 1e-4, also for a point from itself; 0
/// is the distance proper.
///
/// # Errors
/// Different dimensions.
pub fn energy(a: &Points, b: &Points, floor: f64) -> Result<f64> {
    let mean = |a: &Points, b: &Points| -> Result<f64> {
        let distances = sum(&squares(a, b)?, |square| square.sqrt().max(floor));
        Ok(distances / (a.count() as f64 * b.count() as f64))
    };
    Ok(mean(a, b)? - 0.5 * (mean(a, a)? + mean(b, b)?))
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
