//! Gaussians fitted to points, and the distances between them that have a closed form.
//!
//! ```text
//! W2²(N(m1, S1), N(m2, S2)) = |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½
//! ```
//!
//! (Dowson and Landau 1982; Gelbrich 1990.) With S = FᵀF the last trace is the nuclear norm of F1
//! F2ᵀ, the sum of its singular values: no matrix square root is needed, so rank-deficient
//! covariances (fewer points than coordinates) are equally accurate.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use super::points::Points;
use crate::{Error, Result};

/// Mean and unbiased covariance of some points.
#[derive(Clone, Debug)]
pub struct Gaussian {
    count: usize,
    mean: Vec<f64>,
    /// The rounding error of `mean`, if it matters.
    rest: Vec<f64>,
    /// Sums to the trace of the covariance.
    variances: Vec<f64>,
    /// F with FᵀF the covariance: at most as many rows as coordinates.
    factor: Mat<f64>,
}

impl Gaussian {
    /// Fits at least two points; the covariance is divided by their number minus one.
    ///
    /// # Errors
    /// Fewer than two points; points out of range.
    pub fn fit(points: &Points) -> Result<Self> {
        let (count, dimension) = (points.count(), points.dimension());
        if count < 2 {
            return Err(Error::Invalid(
                "one point has no covariance: two are needed".to_string(),
            ));
        }
        let mean = points.mean();
        let rest = rest_of_mean(points, &mean);
        let shrink = 1.0 / ((count - 1) as f64).sqrt();
        let centred = Mat::from_fn(count, dimension, |row, column| {
            (points.row(row)[column] - mean[column] - rest[column]) * shrink
        });
        let variances = (0..dimension).map(|column| {
            let column = centred.col(column);
            column.iter().map(|value| value * value).sum()
        });
        let variances: Vec<f64> = variances.collect();
        let trace: f64 = variances.iter().sum();
        let varies = || {
            centred
                .col_iter()
                .flat_map(|it| it.iter())
                .any(|it| *it != 0.0)
        };
        if !trace.is_finite() || (trace < SMALLEST_TRACE && varies()) {
            return Err(out_of_range());
        }
        Ok(Self {
            count,
            variances,
            // R of the QR decomposition has the same products, with fewer rows.
            factor: if count > dimension {
                centred.qr().thin_R().to_owned()
            } else {
                centred
            },
            mean,
            rest,
        })
    }

    /// The number of points it was fitted to.
    pub fn count(&self) -> usize {
        self.count
    }

    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The diagonal of the covariance.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// The trace of the covariance.
    pub fn trace(&self) -> f64 {
        self.variances.iter().sum()
    }

    /// The covariance: row-major `[dimension, dimension]`.
    pub fn covariance(&self) -> Vec<f64> {
        let dimension = self.mean.len();
        let product = self.factor.transpose() * &self.factor;
        let entries =
            (0..dimension).flat_map(|row| (0..dimension).map(move |column| (row, column)));
        entries
            .map(|(row, column)| product[(row, column)])
            .collect()
    }

    /// Squared Bures-Wasserstein distance: W2² between the Gaussians.
    ///
    /// # Errors
    /// Different dimensions, singular values that do not converge, points out of range, or a
    /// difference with a relative error above a millionth.
    pub fn bures(&self, other: &Self) -> Result<f64> {
        let means = self.between_means(other)?;
        Ok(means + self.between_covariances(other, means)?)
    }

    /// The contribution of the covariances: tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½, the squared
    /// Bures distance (Bhatia, Jain, Lim 2019).
    ///
    /// # Errors
    /// As [`Gaussian::bures`].
    pub fn covariance_distance(&self, other: &Self) -> Result<f64> {
        self.between_covariances(other, 0.0)
    }

    /// The same, accurate to a millionth of its sum with `beside`.
    fn between_covariances(&self, other: &Self, beside: f64) -> Result<f64> {
        self.check(other)?;
        let size = self.trace() + other.trace();
        if !size.is_finite() {
            return Err(out_of_range());
        }
        let (long, short) = match self.factor.nrows() < other.factor.nrows() {
            true => (other, self),
            false => (self, other),
        };
        let cross = product(self.factor.as_ref(), other.factor.transpose());
        let singular = cross.singular_values().map_err(|_| not_converged())?;
        let nuclear: f64 = singular.iter().sum();
        let spread = (size - 2.0 * nuclear).max(0.0);
        if TRACE_ERROR * size <= ERROR * (spread + beside) {
            return Ok(spread);
        }
        let (residual, gain) = long.turned_onto(short)?;
        let error = TURN_ERROR * size.sqrt();
        let off = error * (2.0 * residual + error) + gain;
        // The remainder for a set and itself, or for a translated set.
        let noise = NOISE * error;
        let counts = noise * noise > ERROR * beside && beside > error * error;
        if residual <= noise && !counts {
            return Ok(0.0);
        }
        match off <= ERROR * (residual * residual + beside) {
            true => Ok(residual * residual),
            false => Err(Error::Numerical(format!(
                "two covariances are too similar to compute their distance, {residual:.1e}, in f64 to \
                 a millionth: their points spread over {:.1e}",
                size.sqrt()
            ))),
        }
    }

    /// The norm of F1 - Q F2, where the rotation Q brings F2 as close to F1 as possible (the
    /// orthogonal Procrustes problem, Schönemann 1966). Its square is the squared Bures distance
    /// without the difference of traces, and first-order errors of Q do not matter. Where singular
    /// values of F1 F2ᵀ are below its rounding, Q is arbitrary among their directions: the second
    /// number is the possible decrease of the square for a better Q.
    ///
    /// `other` must have no more rows.
    fn turned_onto(&self, other: &Self) -> Result<(f64, f64)> {
        let cross = product(self.factor.as_ref(), other.factor.transpose());
        let svd = cross.thin_svd().map_err(|_| not_converged())?;
        let turn = product(svd.U(), svd.V().transpose());
        let turned = product(turn.as_ref(), other.factor.as_ref());
        let difference = &self.factor - &turned;
        let gain = gain(
            &difference,
            &other.factor,
            svd.U(),
            svd.V(),
            svd.S().column_vector(),
        );
        Ok((difference.norm_l2(), gain))
    }

    /// The same for diagonal covariances: Σ (√s1 - √s2)².
    ///
    /// # Errors
    /// Different dimensions.
    pub fn bures_diagonal(&self, other: &Self) -> Result<f64> {
        self.check(other)?;
        let pairs = self.variances.iter().zip(&other.variances);
        let spread: f64 = pairs.map(|(s, t)| (s.sqrt() - t.sqrt()).powi(2)).sum();
        Ok(self.between_means(other)? + spread)
    }

    /// |m1 - m2|² + tr S1 + tr S2: an upper bound of [`Gaussian::bures`].
    ///
    /// # Errors
    /// Different dimensions.
    pub fn upper_bound(&self, other: &Self) -> Result<f64> {
        self.check(other)?;
        Ok(self.between_means(other)? + self.trace() + other.trace())
    }

    fn between_means(&self, other: &Self) -> Result<f64> {
        self.check(other)?;
        let rests = self.rest.iter().zip(&other.rest);
        let pairs = self.mean.iter().zip(&other.mean).zip(rests);
        let square: f64 = pairs
            .map(|((x, y), (x_rest, y_rest))| (x - y) + (x_rest - y_rest))
            .map(|difference| difference * difference)
            .sum();
        let lost = square == 0.0 && self.mean != other.mean;
        match square.is_finite() && !lost {
            true => Ok(square),
            false => Err(out_of_range()),
        }
    }

    fn check(&self, other: &Self) -> Result<()> {
        if self.mean.len() != other.mean.len() {
            return Err(Error::Invalid(format!(
                "Gaussians have different dimensions: {} and {}",
                self.mean.len(),
                other.mean.len()
            )));
        }
        Ok(())
    }
}

/// The maximum relative error of a distance; the error of a difference of traces as a share of
/// them, and that of a rotated factor as a share of its norm.
const ERROR: f64 = 1e-6;
const TRACE_ERROR: f64 = 1e-13;
const TURN_ERROR: f64 = 1e-15;

/// Rotated factors that differ by no more than this, in units of their error, are equal.
const NOISE: f64 = 64.0;

/// Smaller variances may have lost digits to underflow.
const SMALLEST_TRACE: f64 = 1e-290;

/// The rest of a mean is ignored below this share of the standard deviation.
const SMALLEST_REST: f64 = 1e-9;

/// For each coordinate, the mean of the differences from `mean`: 0 unless coordinates are so large
/// compared with their standard deviation that the mean has lost its digits.
fn rest_of_mean(points: &Points, mean: &[f64]) -> Vec<f64> {
    let count = points.count() as f64;
    let (mut sums, mut squares) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
    for row in points.rows() {
        for (column, value) in row.iter().enumerate() {
            let rest = value - mean[column];
            sums[column] += rest;
            squares[column] += rest * rest;
        }
    }
    let pairs = sums.into_iter().zip(squares);
    pairs
        .map(|(sum, square): (f64, f64)| (sum / count, (square / count).sqrt()))
        .map(
            |(rest, deviation)| match rest.abs() > SMALLEST_REST * deviation {
                true => rest,
                false => 0.0,
            },
        )
        .collect()
}

/// The possible second-order decrease of |D|², D = F1 - Q F2, from further rotating Q = U Vᵀ: Q is
/// optimal where D (Q F2)ᵀ is symmetric, and a rotation of the axes i and j by ε changes |D|² by -2
/// ε (A_ij - A_ji) + ε² (σ_i + σ_j), A = Uᵀ D F2ᵀ V; likewise towards an axis outside of U. D is
/// small and accurate, so A is accurate where differences of F1 F2ᵀ are not.
fn gain(
    difference: &Mat<f64>,
    factor: &Mat<f64>,
    u: MatRef<f64>,
    v: MatRef<f64>,
    singular: faer::ColRef<f64>,
) -> f64 {
    let onto = product(factor.transpose(), v);
    let pull = product(difference.as_ref(), onto.as_ref());
    let inside = product(u.transpose(), pull.as_ref());
    let outside = &pull - product(u, inside.as_ref());
    // A gradient within its own rounding is 0: axes without variance have singular values of 0.
    let rounding = TURN_ERROR * difference.norm_l2() * factor.norm_l2();
    let share = |pull: f64, stiffness: f64| match pull.abs() <= rounding {
        true => 0.0,
        false => pull * pull / stiffness.max(f64::MIN_POSITIVE),
    };
    let count = inside.ncols();
    let mut gain = 0.0;
    for j in 0..count {
        for i in 0..j {
            let pull = inside[(i, j)] - inside[(j, i)];
            gain += share(pull, singular[i] + singular[j]);
        }
        let column = outside.col(j);
        let pull: f64 = column.iter().map(|value| value * value).sum();
        gain += share(pull.sqrt(), singular[j]);
    }
    gain
}

fn product(left: MatRef<f64>, right: MatRef<f64>) -> Mat<f64> {
    let mut product = Mat::zeros(left.nrows(), right.ncols());
    matmul(product.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
    product
}

fn not_converged() -> Error {
    Error::Numerical("the singular values of two classes did not converge".to_string())
}

fn out_of_range() -> Error {
    Error::Numerical(
        "the points are too far apart, or too near each other, for the range of f64 (variances \
         of 1e-290 to 1e300): scale them first"
            .to_string(),
    )
}

/// The squared Fréchet distance between two sets: W2² of the Gaussians fitted to them (Heusel et
/// al. 2017 call it FID on Inception features).
///
/// # Errors
/// A set of fewer than two points; different dimensions.
pub fn frechet(a: &Points, b: &Points) -> Result<f64> {
    Gaussian::fit(a)?.bures(&Gaussian::fit(b)?)
}
