//! Sums over all pairs of points in double-double, for means that nearly cancel.

use qd::Quad;
use rayon::prelude::*;

use super::points::Points;
use crate::{Error, Result};

/// With more coordinate differences, such a sum takes minutes of processor time.
const MOST_DIFFERENCES: u64 = 1 << 33;

/// The cost of evaluating the function of a pair, in coordinates.
const VALUE: u64 = 64;

/// Checks that the pairs within and between sets are few enough for [`mean`].
pub(super) fn check_size(a: &Points, b: &Points) -> Result<()> {
    let (n, m) = (a.count() as u64, b.count() as u64);
    let pairs = n * n + m * m + n * m;
    let differences = pairs.saturating_mul(a.dimension() as u64 + VALUE);
    if differences <= MOST_DIFFERENCES {
        return Ok(());
    }
    Err(Error::Numerical(format!(
        "the distances between the sets and those within them cancel to less than a millionth of \
         what f64 tells, and {n} and {m} points are too many for twice its digits: compare fewer \
         points"
    )))
}

/// The mean of `of(|x - y|²)` over all pairs.
pub(super) fn mean(a: &Points, b: &Points, of: impl Fn(Quad) -> Quad + Sync) -> Quad {
    let zero = Quad::from(0.0);
    let rows: Vec<Quad> = (0..a.count())
        .into_par_iter()
        .map(|row| {
            let values = b.rows().map(|other| of(squared(a.row(row), other)));
            values.fold(zero, |sum, value| sum + value)
        })
        .collect();
    let sum = rows.into_iter().fold(zero, |sum, row| sum + row);
    sum / Quad::from((a.count() * b.count()) as f64)
}

fn squared(x: &[f64], y: &[f64]) -> Quad {
    let pairs = x.iter().zip(y);
    pairs.fold(Quad::from(0.0), |sum, (x, y)| {
        let difference = Quad::from(*x) - Quad::from(*y);
        sum + difference * difference
    })
}

/// Whether both sets contain the same points, in any order.
pub(super) fn are_equal(a: &Points, b: &Points) -> bool {
    let sorted = |set: &Points| -> Vec<usize> {
        let mut order: Vec<usize> = (0..set.count()).collect();
        order.sort_by(|x, y| {
            let pairs = set.row(*x).iter().zip(set.row(*y));
            let mut orders = pairs.map(|(x, y)| x.partial_cmp(y));
            let differs = orders.find(|order| *order != Some(std::cmp::Ordering::Equal));
            differs.flatten().unwrap_or(std::cmp::Ordering::Equal)
        });
        order
    };
    if a.count() != b.count() || a.dimension() != b.dimension() {
        return false;
    }
    let pairs = sorted(a).into_iter().zip(sorted(b));
    pairs.into_iter().all(|(x, y)| a.row(x) == b.row(y))
}
