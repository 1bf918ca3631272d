//! One-dimensional transport, which sorting solves, and the distances that average it over
//! projections: sliced Wasserstein, and s-OTDD for labelled sets.

use std::cmp::Ordering;

use qd::Quad;
use rayon::prelude::*;

use super::digits::Digits;
use super::mass::{Masses, beyond_range};
use super::pairs::are_equal;
use super::points::{Labelled, Points, normalised};
use crate::rng::Stream;
use crate::{Error, Result};

/// W_p^p between two sets of numbers with weights: ∫ |F⁻¹ - G⁻¹|^p over quantiles.
///
/// # Errors
/// Invalid weights (see [`normalised`]), or weights whose rounding affects the distance; numbers
/// that are not finite, or out of range; p below 1.
pub fn wasserstein_1d(x: &[f64], a: &[f64], y: &[f64], b: &[f64], p: f64) -> Result<f64> {
    let (a, b) = (normalised(a, x.len())?, normalised(b, y.len())?);
    if !(1.0..f64::INFINITY).contains(&p) {
        return Err(Error::Invalid(format!("an exponent of {p} is below 1")));
    }
    if x.iter().chain(y).any(|value| !value.is_finite()) {
        return Err(Error::Numerical("a number is not finite".to_string()));
    }
    let masses = Masses::of(&a, &b);
    sorted_transport(sorted(x, &masses.a), sorted(y, &masses.b), &masses, p)
}

fn sorted<V: Digits>(values: &[V], masses: &[i64]) -> Vec<(V, i64)> {
    let mut pairs: Vec<(V, i64)> = values.iter().copied().zip(masses.iter().copied()).collect();
    let order = |x: &V, y: &V| x.partial_cmp(y).unwrap_or(Ordering::Equal);
    pairs.sort_by(|left, right| order(&left.0, &right.0));
    pairs
}

/// Moves mass in sorted order, as much as both ends have left.
fn sorted_transport<V: Digits>(
    x: Vec<(V, i64)>,
    y: Vec<(V, i64)>,
    masses: &Masses,
    p: f64,
) -> Result<f64> {
    let power = |distance: f64| match p {
        1.0 => distance,
        2.0 => distance * distance,
        _ => libm::pow(distance, p),
    };
    let (mut from, mut to) = (x.into_iter(), y.into_iter());
    let (mut left, mut right) = (from.next(), to.next());
    let (mut furthest, mut total, mut doubtful) = (0.0_f64, 0.0, 0.0);
    while let (Some((x, of_x)), Some((y, of_y))) = (left, right) {
        let whole = of_x.min(of_y);
        if whole > 0 {
            let (mass, distance) = (whole as f64 * masses.unit, (x - y).to_f64().abs());
            let cost = power(distance);
            furthest = furthest.max(distance);
            total += mass * cost;
            doubtful += masses.doubtful(mass) * cost;
        }
        left = if of_x > whole {
            Some((x, of_x - whole))
        } else {
            from.next()
        };
        right = if of_y > whole {
            Some((y, of_y - whole))
        } else {
            to.next()
        };
    }
    masses.check(total, doubtful)?;
    let lost = furthest > 0.0 && total < SMALLEST_TOTAL;
    if !total.is_finite() || lost {
        return Err(beyond_range());
    }
    Ok(total)
}

/// Smaller totals may have lost digits to underflow.
const SMALLEST_TOTAL: f64 = 1e-280;

/// W2² along each projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliced {
    /// W2² along each projection.
    pub squares: Vec<f64>,
}

impl Sliced {
    /// The mean of W2² over the projections.
    pub fn mean_square(&self) -> f64 {
        let count = self.squares.len() as f64;
        let sum = self.squares.iter().sum::<f64>();
        match sum.is_finite() {
            true => sum / count,
            // The mean is in the range where the sum is not.
            false => self.squares.iter().map(|square| square / count).sum(),
        }
    }

    /// Its square root: the sliced W2 distance.
    pub fn distance(&self) -> f64 {
        self.mean_square().sqrt()
    }

    /// The standard error of the mean of W2² due to the finite number of projections; `None` for a
    /// single one.
    pub fn standard_error(&self) -> Option<f64> {
        let count = self.squares.len() as f64;
        let mean = self.mean_square();
        let error = |unit: f64| {
            let offs = self.squares.iter().map(|square| (square - mean) / unit);
            let spread: f64 = offs.map(|off| off * off).sum();
            (spread, (spread / (count * (count - 1.0))).sqrt() * unit)
        };
        let (spread, plain) = error(1.0);
        let largest = self.squares.iter().copied().fold(0.0, f64::max);
        let in_range = (SMALLEST_TOTAL..f64::INFINITY).contains(&spread);
        let error = match in_range || largest == 0.0 {
            true => plain,
            // Squares of squares leave the range long before the distance does.
            false => error(largest).1,
        };
        (count > 1.0).then_some(error)
    }
}

/// Unit vectors, uniform on the sphere: row-major `[count, dimension]`.
pub fn directions(count: usize, dimension: usize, stream: &mut Stream) -> Vec<f64> {
    let mut values = Vec::with_capacity(count * dimension);
    while values.len() < count * dimension {
        let draw: Vec<f64> = (0..dimension).map(|_| stream.normal()).collect();
        let norm = draw.iter().map(|x| x * x).sum::<f64>().sqrt();
        if norm > 0.0 {
            values.extend(draw.iter().map(|x| x / norm));
        }
    }
    values
}

/// Sliced W2 (Rabin et al. 2012; Bonneel et al. 2015) along given directions, row-major
/// `[projections, dimension]`.
///
/// # Errors
/// Different dimensions, or directions of another dimension; points out of range; a distance with a
/// relative error above a millionth.
pub fn sliced(a: &Points, b: &Points, directions: &[f64]) -> Result<Sliced> {
    let weights = [&a.uniform_weights()[..], &b.uniform_weights()[..]];
    sliced_weighted((a, b), weights, directions)
}

/// The same between weighted points.
///
/// # Errors
/// As [`sliced`], and invalid weights.
pub fn sliced_weighted(
    (a, b): (&Points, &Points),
    [of_a, of_b]: [&[f64]; 2],
    directions: &[f64],
) -> Result<Sliced> {
    a.check_same_space(b)?;
    let directions = Points::new(directions.to_vec(), a.dimension())?;
    let mass_a = normalised(of_a, a.count())?;
    let mass_b = normalised(of_b, b.count())?;
    let masses = Masses::of(&mass_a, &mass_b);
    let centre: Vec<f64> = {
        let (of_a, of_b) = (a.mean(), b.mean());
        of_a.iter()
            .zip(&of_b)
            .map(|(x, y)| 0.5 * x + 0.5 * y)
            .collect()
    };
    let (near_a, near_b) = (a.around(&centre), b.around(&centre));
    let found = squares_along((&near_a, &near_b), &directions, &masses, projected)?;
    let error = projection_error(a.dimension()) * (near_a.largest_norm() + near_b.largest_norm());
    if 2.0 * error <= ERROR * found.distance() {
        return Ok(found);
    }
    if are_equal(a, b) && mass_a.iter().chain(&mass_b).all(|mass| *mass == mass_a[0]) {
        return Ok(found);
    }
    let found = squares_along((a, b), &directions, &masses, projected_in_double)?;
    // In double-double, the error is squared.
    let error = error.max(a.largest_norm() + b.largest_norm()) * 1e-28;
    match 2.0 * error <= ERROR * found.distance() || found.distance() == 0.0 {
        true => Ok(found),
        false => Err(too_alike()),
    }
}

/// The maximum relative error of a distance.
const ERROR: f64 = 1e-6;

/// The maximum error of an inner product, as a share of both norms. See [`super::near::bar`].
fn projection_error(dimension: usize) -> f64 {
    let terms = (dimension + 4) as f64;
    terms.min(6.0 * terms.sqrt()) * f64::EPSILON
}

fn too_alike() -> Error {
    Error::Numerical(
        "the projections of the sets are too similar to compute a distance to a \
         millionth: centre the points, and scale them to about 1"
            .to_string(),
    )
}

fn squares_along<V: Digits>(
    (a, b): (&Points, &Points),
    directions: &Points,
    masses: &Masses,
    project: impl Fn(&Points, &[f64]) -> Vec<V> + Sync,
) -> Result<Sliced> {
    let squares = (0..directions.count()).into_par_iter().map(|index| {
        let direction = directions.row(index);
        let (x, y) = (project(a, direction), project(b, direction));
        sorted_transport(sorted(&x, &masses.a), sorted(&y, &masses.b), masses, 2.0)
    });
    let squares = squares.collect::<Result<_>>()?;
    let found = Sliced { squares };
    let spread = found.standard_error().unwrap_or_default();
    match (found.mean_square() + 2.0 * spread).is_finite() {
        true => Ok(found),
        false => Err(beyond_range()),
    }
}

fn projected(points: &Points, direction: &[f64]) -> Vec<f64> {
    let rows = points.rows();
    rows.map(|row| row.iter().zip(direction).map(|(x, w)| x * w).sum())
        .collect()
}

fn projected_in_double(points: &Points, direction: &[f64]) -> Vec<Quad> {
    let of_row = |row: &[f64]| {
        let pairs = row.iter().zip(direction);
        pairs.fold(Quad::from(0.0), |sum, (x, w)| {
            sum + Quad::from(*x).times(*w)
        })
    };
    points.rows().map(of_row).collect()
}

/// The random numbers of s-OTDD: one row per projection.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelProjections {
    /// Directions in feature space: `[projections, dimension]`.
    pub theta: Vec<f64>,
    /// Weights of the feature and of each moment: `[projections, 1 + moments]`.
    pub psi: Vec<f64>,
    /// The order of each moment, from 1: `[projections, moments]`.
    pub orders: Vec<u32>,
    pub projections: usize,
    pub moments: usize,
}

impl LabelProjections {
    /// θ and ψ are uniform on their spheres, the i-th order is a zero-truncated Poisson(i), as in
    /// hainn2803/s-OTDD; orders are capped at `largest_order`, above which moments of all but small
    /// numbers overflow.
    pub fn draw(
        projections: usize,
        dimension: usize,
        moments: usize,
        largest_order: u32,
        seed: u64,
    ) -> Self {
        let mut stream = Stream::new(seed, "s-otdd projections");
        let theta = directions(projections, dimension, &mut stream);
        let psi = directions(projections, 1 + moments, &mut stream);
        let orders = (0..projections * moments).map(|place| {
            let mean = (place % moments + 1) as f64;
            zero_truncated_poisson(mean, &mut stream).min(largest_order)
        });
        Self {
            orders: orders.collect(),
            theta,
            psi,
            projections,
            moments,
        }
    }
}

/// By inversion of the distribution function, without the mass at 0.
fn zero_truncated_poisson(mean: f64, stream: &mut Stream) -> u32 {
    let none = libm::exp(-mean);
    let target = none + (1.0 - none) * stream.uniform();
    let (mut order, mut term, mut below) = (0, none, none);
    while below <= target && order < 1_000 {
        order += 1;
        term *= mean / f64::from(order);
        below += term;
    }
    order.max(1)
}

/// s-OTDD (Nguyen et al. 2025, arXiv 2501.18901): each labelled point becomes one number per
/// projection, `ψ_0 <θ, x> + Σ_i ψ_i E_class[<θ, x>^k_i] / k_i!`, followed by one-dimensional
/// transport.
///
/// # Errors
/// Different dimensions, projections that do not fit, moments that overflow or mask the distance
/// (scale the features to about 1 first).
pub fn s_otdd(a: &Labelled, b: &Labelled, projections: &LabelProjections) -> Result<Sliced> {
    a.points().check_same_space(b.points())?;
    let (count, moments) = (projections.projections, projections.moments);
    let fits = projections.theta.len() == count * a.points().dimension()
        && projections.psi.len() == count * (1 + moments)
        && projections.orders.len() == count * moments
        && count > 0
        && !projections.orders.contains(&0);
    if !fits {
        return Err(Error::Invalid(
            "projections of another shape than the points".to_string(),
        ));
    }
    let (mass_a, mass_b) = (a.weights(), b.weights());
    let masses = Masses::of(&mass_a, &mass_b);
    let (classes_a, classes_b) = (Classes::of(a), Classes::of(b));
    let norms = [a.points().largest_norm(), b.points().largest_norm()];
    let found: Vec<(f64, f64)> = (0..count)
        .into_par_iter()
        .map(|index| {
            let x = classes_a.embedded(a, projections, index);
            let y = classes_b.embedded(b, projections, index);
            let error = x.error(norms[0]) + y.error(norms[1]);
            let (x, y) = (sorted(&x.places, &masses.a), sorted(&y.places, &masses.b));
            let square = sorted_transport(x, y, &masses, 2.0)?;
            Ok((square, error * error))
        })
        .collect::<Result<_>>()?;
    let (squares, errors): (Vec<f64>, Vec<f64>) = found.into_iter().unzip();
    let found = Sliced { squares };
    let error = (errors.iter().sum::<f64>() / count as f64).sqrt();
    match 2.0 * error <= ERROR * found.distance() || same_embedding(a, b) {
        true => Ok(found),
        false => Err(too_alike()),
    }
}

/// Whether both sets have the same points with the same labels and weights.
fn same_embedding(a: &Labelled, b: &Labelled) -> bool {
    let with_labels = |set: &Labelled| -> Result<Points> {
        let weights = set.weights();
        let tails = set.labels().iter().zip(weights);
        let rows = set.points().rows().zip(tails);
        let values = rows.flat_map(|(row, (label, weight))| {
            let tail = [f64::from(*label), weight];
            row.iter().copied().chain(tail).collect::<Vec<f64>>()
        });
        Points::new(values.collect(), set.points().dimension() + 2)
    };
    match (with_labels(a), with_labels(b)) {
        (Ok(a), Ok(b)) => are_equal(&a, &b),
        _ => false,
    }
}

/// The classes of a set, numbered from 0.
struct Classes {
    of: Vec<usize>,
    counts: Vec<f64>,
}

impl Classes {
    fn of(set: &Labelled) -> Self {
        let mut labels = set.labels().to_vec();
        labels.sort_unstable();
        labels.dedup();
        let place = |label: &u32| labels.binary_search(label).unwrap_or_default();
        let of: Vec<usize> = set.labels().iter().map(place).collect();
        let mut counts = vec![0.0; labels.len()];
        of.iter().for_each(|class| counts[*class] += 1.0);
        Self { of, counts }
    }

    /// Every point as one number along projection `index`.
    fn embedded(&self, set: &Labelled, projections: &LabelProjections, index: usize) -> Embedded {
        let (d, k) = (set.points().dimension(), projections.moments);
        let theta = &projections.theta[index * d..(index + 1) * d];
        let psi = &projections.psi[index * (k + 1)..(index + 1) * (k + 1)];
        let orders = &projections.orders[index * k..(index + 1) * k];
        let line = projected(set.points(), theta);
        let furthest = line
            .iter()
            .fold(0.0, |most: f64, value| value.abs().max(most));
        let (mut slope, mut size) = (psi[0].abs(), psi[0].abs() * furthest);
        let mut of_class = vec![0.0; self.counts.len()];
        for (order, weight) in orders.iter().zip(&psi[1..]) {
            let mut sums = vec![0.0; self.counts.len()];
            for (value, class) in line.iter().zip(&self.of) {
                sums[*class] += value.powi(*order as i32);
            }
            let factorial: f64 = (1..=*order).map(f64::from).product();
            for ((embedded, sum), count) in of_class.iter_mut().zip(sums).zip(&self.counts) {
                *embedded += weight * sum / count / factorial;
            }
            let share = weight.abs() / factorial;
            slope += share * f64::from(*order) * furthest.powi(*order as i32 - 1);
            size += share * furthest.powi(*order as i32);
        }
        let pairs = line.iter().zip(&self.of);
        let places = pairs.map(|(value, class)| psi[0] * value + of_class[*class]);
        Embedded {
            places: places.collect(),
            slope: slope * projection_error(d),
            size: size * 16.0 * f64::EPSILON,
        }
    }
}

/// The points of a set as numbers.
struct Embedded {
    places: Vec<f64>,
    /// The error of a number per unit of a point's norm, and per unit of its own size.
    slope: f64,
    size: f64,
}

impl Embedded {
    fn error(&self, largest_norm: f64) -> f64 {
        self.slope * largest_norm + self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mass_moves_in_order() {
        // 1/2 stays at 0, 1/2 moves from 0 to 1; then 1/4 of it moves on to 3.
        let found = wasserstein_1d(&[0.0], &[1.0], &[1.0, 0.0], &[1.0, 1.0], 1.0).unwrap();
        assert_eq!(found, 0.5);
        let found = wasserstein_1d(
            &[0.0, 1.0],
            &[1.0, 1.0],
            &[3.0, 1.0, 0.0],
            &[1.0, 1.0, 2.0],
            2.0,
        );
        assert_eq!(found.unwrap(), 1.0);
        assert!(wasserstein_1d(&[f64::NAN], &[1.0], &[0.0], &[1.0], 1.0).is_err());
        assert!(wasserstein_1d(&[0.0], &[0.0], &[0.0], &[1.0], 1.0).is_err());
    }

    #[test]
    fn truncated_poisson_has_its_mean() {
        let mut stream = Stream::new(1, "test");
        let draws = 20_000;
        let sum: u32 = (0..draws)
            .map(|_| zero_truncated_poisson(2.0, &mut stream))
            .sum();
        let mean = f64::from(sum) / f64::from(draws);
        assert!(
            (mean - 2.0 / (1.0 - (-2.0f64).exp())).abs() < 0.03,
            "{mean}"
        );
    }
}
