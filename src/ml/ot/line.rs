//! Transport on the line, where sorting solves it, and the distances that are averages of it over
//! projections: sliced Wasserstein, and s-OTDD for labelled sets.

use rayon::prelude::*;

use super::points::{Labelled, Points, normalised};
use crate::ml::{Error, Result};
use crate::rng::Stream;

/// W_p^p between two sets of numbers with weights: ∫ |F⁻¹ - G⁻¹|^p over quantiles.
///
/// # Errors
/// Weights that are none (see [`normalised`]), numbers that are not finite, or p below 1.
pub fn wasserstein_1d(x: &[f64], a: &[f64], y: &[f64], b: &[f64], p: f64) -> Result<f64> {
    let (a, b) = (normalised(a, x.len())?, normalised(b, y.len())?);
    if !(1.0..f64::INFINITY).contains(&p) {
        return Err(Error::Invalid(format!("an exponent of {p} is below 1")));
    }
    if x.iter().chain(y).any(|value| !value.is_finite()) {
        return Err(Error::Numerical("a number is not finite".to_string()));
    }
    Ok(sorted_transport(&sorted(x, &a), &sorted(y, &b), p))
}

fn sorted(values: &[f64], weights: &[f64]) -> Vec<(f64, f64)> {
    let mut pairs: Vec<(f64, f64)> = values
        .iter()
        .copied()
        .zip(weights.iter().copied())
        .collect();
    pairs.sort_by(|left, right| left.0.total_cmp(&right.0));
    pairs
}

/// Moves mass in order, always as much as both ends still have.
fn sorted_transport(x: &[(f64, f64)], y: &[(f64, f64)], p: f64) -> f64 {
    let power = |distance: f64| match p {
        1.0 => distance,
        2.0 => distance * distance,
        _ => libm::pow(distance, p),
    };
    let (mut i, mut j, mut total) = (0, 0, 0.0);
    let (mut left, mut right) = (x[0].1, y[0].1);
    loop {
        let moved = left.min(right);
        total += moved * power((x[i].0 - y[j].0).abs());
        left -= moved;
        right -= moved;
        // Equal ends move on together, so that no crumb of rounding is carried along.
        let (next_left, next_right) = (left <= right, right <= left);
        if next_left {
            i += 1;
        }
        if next_right {
            j += 1;
        }
        if i >= x.len() || j >= y.len() {
            return total;
        }
        if next_left {
            left = x[i].1;
        }
        if next_right {
            right = y[j].1;
        }
    }
}

/// W2² along each projection.
#[derive(Clone, Debug, PartialEq)]
pub struct Sliced {
    /// W2² along each projection.
    pub squares: Vec<f64>,
}

impl Sliced {
    /// The mean of W2² over the projections.
    pub fn mean_square(&self) -> f64 {
        self.squares.iter().sum::<f64>() / self.squares.len() as f64
    }

    /// Its root: the sliced W2 distance.
    pub fn distance(&self) -> f64 {
        self.mean_square().sqrt()
    }

    /// The standard error of the mean of W2² from the finite number of projections; `None` for
    /// a single one.
    pub fn standard_error(&self) -> Option<f64> {
        let count = self.squares.len() as f64;
        let mean = self.mean_square();
        let spread: f64 = self.squares.iter().map(|x| (x - mean) * (x - mean)).sum();
        (count > 1.0).then(|| (spread / (count * (count - 1.0))).sqrt())
    }
}

/// Unit vectors drawn uniformly from the sphere: row-major `[count, dimension]`.
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
/// Different dimensions, or directions that are no directions of that space.
pub fn sliced(a: &Points, b: &Points, directions: &[f64]) -> Result<Sliced> {
    let weights = [&a.uniform_weights()[..], &b.uniform_weights()[..]];
    sliced_weighted((a, b), weights, directions)
}

/// The same between points of unequal weights.
///
/// # Errors
/// As [`sliced`], and weights that are none.
pub fn sliced_weighted(
    (a, b): (&Points, &Points),
    [of_a, of_b]: [&[f64]; 2],
    directions: &[f64],
) -> Result<Sliced> {
    a.check_same_space(b)?;
    let directions = Points::new(directions.to_vec(), a.dimension())?;
    let mass_a = normalised(of_a, a.count())?;
    let mass_b = normalised(of_b, b.count())?;
    let squares = (0..directions.count()).into_par_iter().map(|index| {
        let direction = directions.row(index);
        let (x, y) = (projected(a, direction), projected(b, direction));
        sorted_transport(&sorted(&x, &mass_a), &sorted(&y, &mass_b), 2.0)
    });
    Ok(Sliced {
        squares: squares.collect(),
    })
}

fn projected(points: &Points, direction: &[f64]) -> Vec<f64> {
    let rows = points.rows();
    rows.map(|row| row.iter().zip(direction).map(|(x, w)| x * w).sum())
        .collect()
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
    /// θ and ψ uniform on their spheres, the i-th order a Poisson(i) that is not 0, as
    /// hainn2803/s-OTDD draws them; orders stop at `largest_order`, beyond which moments of
    /// anything but small numbers overflow.
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

/// By inversion of the distribution function, the mass at 0 taken away.
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
/// projection, `ψ_0 <θ, x> + Σ_i ψ_i E_class[<θ, x>^k_i] / k_i!`, and the numbers are transported
/// on the line.
///
/// # Errors
/// Different dimensions, projections that do not fit, or moments that overflow (scale the
/// features to about 1 first).
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
    let (classes_a, classes_b) = (Classes::of(a), Classes::of(b));
    let squares = (0..count).into_par_iter().map(|index| {
        let x = classes_a.embedded(a, projections, index);
        let y = classes_b.embedded(b, projections, index);
        let square = sorted_transport(&sorted(&x, &mass_a), &sorted(&y, &mass_b), 2.0);
        match square.is_finite() {
            true => Ok(square),
            false => Err(Error::Numerical(
                "a moment overflowed: scale the features to about 1".to_string(),
            )),
        }
    });
    Ok(Sliced {
        squares: squares.collect::<Result<_>>()?,
    })
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
    fn embedded(&self, set: &Labelled, projections: &LabelProjections, index: usize) -> Vec<f64> {
        let (d, k) = (set.points().dimension(), projections.moments);
        let theta = &projections.theta[index * d..(index + 1) * d];
        let psi = &projections.psi[index * (k + 1)..(index + 1) * (k + 1)];
        let orders = &projections.orders[index * k..(index + 1) * k];
        let line = projected(set.points(), theta);
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
        }
        let pairs = line.iter().zip(&self.of);
        pairs
            .map(|(value, class)| psi[0] * value + of_class[*class])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mass_moves_in_order() {
        // 1/2 stays at 0, 1/2 goes from 0 to 1; then 1/4 of it on to 3.
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
