//! Gaussians fitted to points, and the distances between them that have a closed form.
//!
//! ```text
//! W2²(N(m1, S1), N(m2, S2)) = |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½
//! ```
//!
//! (Dowson and Landau 1982; Gelbrich 1990.) With S = FᵀF the last trace is the nuclear norm of
//! F1 F2ᵀ, the sum of its singular values: no square root of a matrix is taken, so rank-deficient
//! covariances (fewer points than coordinates) are as exact as any.

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};

use super::points::Points;
use crate::ml::{Error, Result};

/// Mean and unbiased covariance of some points.
#[derive(Clone, Debug)]
pub struct Gaussian {
    count: usize,
    mean: Vec<f64>,
    /// Sums to the trace of the covariance.
    variances: Vec<f64>,
    /// F with FᵀF the covariance: at most as many rows as coordinates.
    factor: Mat<f64>,
}

impl Gaussian {
    /// From at least two points; the covariance is divided by their number less one.
    ///
    /// # Errors
    /// Fewer than two points.
    pub fn fit(points: &Points) -> Result<Self> {
        let (count, dimension) = (points.count(), points.dimension());
        if count < 2 {
            return Err(Error::Invalid(
                "one point has no covariance: two are needed".to_string(),
            ));
        }
        let mean = points.mean();
        let shrink = 1.0 / ((count - 1) as f64).sqrt();
        let centred = Mat::from_fn(count, dimension, |row, column| {
            (points.row(row)[column] - mean[column]) * shrink
        });
        let variances = (0..dimension).map(|column| {
            let column = centred.col(column);
            column.iter().map(|value| value * value).sum()
        });
        Ok(Self {
            count,
            variances: variances.collect(),
            // R of QR has the same products, with fewer rows.
            factor: if count > dimension {
                centred.qr().thin_R().to_owned()
            } else {
                centred
            },
            mean,
        })
    }

    /// How many points it was fitted to.
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
    /// Different dimensions, or singular values that do not converge.
    pub fn bures(&self, other: &Self) -> Result<f64> {
        Ok(self.between_means(other) + self.covariance_distance(other)?)
    }

    /// The part of the covariances in it: tr S1 + tr S2 - 2 tr (S1^½ S2 S1^½)^½, the squared Bures
    /// distance (Bhatia, Jain, Lim 2019).
    ///
    /// # Errors
    /// As [`Gaussian::bures`].
    pub fn covariance_distance(&self, other: &Self) -> Result<f64> {
        self.check(other)?;
        let (rows, columns) = (self.factor.nrows(), other.factor.nrows());
        let mut cross = Mat::zeros(rows, columns);
        let right: MatRef<f64> = other.factor.as_ref();
        matmul(
            cross.as_mut(),
            Accum::Replace,
            self.factor.as_ref(),
            right.transpose(),
            1.0,
            Par::Seq,
        );
        let singular = cross.singular_values().map_err(|_| {
            Error::Numerical("the singular values of two classes did not converge".to_string())
        })?;
        let nuclear: f64 = singular.iter().sum();
        let spread = self.trace() + other.trace() - 2.0 * nuclear;
        Ok(spread.max(0.0))
    }

    /// The same with the covariances replaced by their diagonals: Σ (√s1 - √s2)².
    ///
    /// # Errors
    /// Different dimensions.
    pub fn bures_diagonal(&self, other: &Self) -> Result<f64> {
        self.check(other)?;
        let pairs = self.variances.iter().zip(&other.variances);
        let spread: f64 = pairs.map(|(s, t)| (s.sqrt() - t.sqrt()).powi(2)).sum();
        Ok(self.between_means(other) + spread)
    }

    /// |m1 - m2|² + tr S1 + tr S2: an upper bound of [`Gaussian::bures`].
    ///
    /// # Errors
    /// Different dimensions.
    pub fn upper_bound(&self, other: &Self) -> Result<f64> {
        self.check(other)?;
        Ok(self.between_means(other) + self.trace() + other.trace())
    }

    fn between_means(&self, other: &Self) -> f64 {
        let pairs = self.mean.iter().zip(&other.mean);
        pairs.map(|(x, y)| (x - y) * (x - y)).sum()
    }

    fn check(&self, other: &Self) -> Result<()> {
        if self.mean.len() != other.mean.len() {
            return Err(Error::Invalid(format!(
                "Gaussians in {} and in {} dimensions have no distance",
                self.mean.len(),
                other.mean.len()
            )));
        }
        Ok(())
    }
}

/// The Fréchet distance, squared, between two sets: W2² of the Gaussians fitted to them (Heusel et
/// al. 2017 call it FID on Inception features).
///
/// # Errors
/// A set of fewer than two points; different dimensions.
pub fn frechet(a: &Points, b: &Points) -> Result<f64> {
    Gaussian::fit(a)?.bures(&Gaussian::fit(b)?)
}
