//! Sets of points, their weights and labels: validated once, so that the algorithms never see NaN,
//! ragged rows or empty sets.

use std::collections::BTreeMap;

use crate::rng::Stream;
use crate::{Error, Result};

/// A non-empty set of points: row-major `[count, dimension]`, f64, finite.
///
/// All computation is in f64 from here on; only a stored cost may be f32.
#[derive(Clone, Debug, PartialEq)]
pub struct Points {
    values: Vec<f64>,
    dimension: usize,
}

impl Points {
    /// From row-major `[count, dimension]` values.
    ///
    /// # Errors
    /// No points, a length that is not a multiple of `dimension`, a value that is not finite.
    pub fn new(values: Vec<f64>, dimension: usize) -> Result<Self> {
        if dimension == 0 || values.is_empty() || !values.len().is_multiple_of(dimension) {
            return Err(Error::Invalid(format!(
                "{} values are not a set of points with {dimension} coordinates each",
                values.len()
            )));
        }
        if let Some(place) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::Numerical(format!(
                "point {} is not finite (coordinate {})",
                place / dimension,
                place % dimension
            )));
        }
        Ok(Self { values, dimension })
    }

    /// As [`Points::new`], from f32.
    pub fn from_f32(values: &[f32], dimension: usize) -> Result<Self> {
        Self::new(
            values.iter().map(|value| f64::from(*value)).collect(),
            dimension,
        )
    }

    /// The number of points.
    pub fn count(&self) -> usize {
        self.values.len() / self.dimension
    }

    /// The number of coordinates of a point.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    pub fn row(&self, index: usize) -> &[f64] {
        &self.values[index * self.dimension..(index + 1) * self.dimension]
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.dimension)
    }

    /// The points at `picks`, in that order; `None` if `picks` is empty.
    pub fn select(&self, picks: &[usize]) -> Option<Self> {
        let rows = picks.iter().flat_map(|index| self.row(*index));
        (!picks.is_empty()).then(|| Self {
            values: rows.copied().collect(),
            dimension: self.dimension,
        })
    }

    /// The mean point: `[dimension]`.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.dimension];
        for row in self.rows() {
            for (sum, value) in mean.iter_mut().zip(row) {
                *sum += value;
            }
        }
        let count = self.count() as f64;
        mean.iter_mut().for_each(|sum| *sum /= count);
        mean
    }

    /// The points relative to `centre`.
    pub(super) fn around(&self, centre: &[f64]) -> Self {
        let rows = self.rows();
        let values = rows.flat_map(|row| row.iter().zip(centre).map(|(value, at)| value - at));
        Self {
            values: values.collect(),
            dimension: self.dimension,
        }
    }

    /// The largest distance of a point from 0.
    pub(super) fn largest_norm(&self) -> f64 {
        let norm = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
        self.rows().map(norm).fold(0.0, f64::max)
    }

    /// Equal weights that sum to 1.
    pub fn uniform_weights(&self) -> Vec<f64> {
        vec![1.0 / self.count() as f64; self.count()]
    }

    pub(super) fn check_same_space(&self, other: &Self) -> Result<()> {
        if self.dimension != other.dimension {
            return Err(Error::Invalid(format!(
                "points have different numbers of coordinates: {} and {}",
                self.dimension, other.dimension
            )));
        }
        Ok(())
    }

    /// At most `limit` points, sampled uniformly without replacement, in ascending order; all
    /// points if there are no more. `purpose` names the random stream.
    pub fn sample(&self, limit: usize, seed: u64, purpose: &str) -> Vec<usize> {
        let mut picks = Stream::new(seed, purpose).permutation(self.count());
        picks.truncate(limit.max(1));
        picks.sort_unstable();
        picks
    }
}

/// Points with labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Labelled {
    points: Points,
    labels: Vec<u32>,
    /// `None` if all weights are equal.
    weights: Option<Vec<f64>>,
}

impl Labelled {
    /// # Errors
    /// The number of labels differs from the number of points.
    pub fn new(points: Points, labels: Vec<u32>) -> Result<Self> {
        if labels.len() != points.count() {
            return Err(Error::Invalid(format!(
                "{} labels for {} points",
                labels.len(),
                points.count()
            )));
        }
        Ok(Self {
            points,
            labels,
            weights: None,
        })
    }

    /// The same points with the given weights, which are normalised here.
    ///
    /// # Errors
    /// Invalid weights, see [`normalised`].
    pub fn weighted(self, weights: &[f64]) -> Result<Self> {
        let weights = normalised(weights, self.points.count())?;
        Ok(Self {
            weights: Some(weights),
            ..self
        })
    }

    /// The same points with equal mass for every class.
    pub fn balanced(self) -> Self {
        let counts = self.class_counts();
        let share = 1.0 / counts.len() as f64;
        let of_label = |label: &u32| share / counts.get(label).map_or(1.0, |count| *count as f64);
        let weights = self.labels.iter().map(of_label).collect();
        Self {
            weights: Some(weights),
            ..self
        }
    }

    /// Weights that sum to 1.
    pub fn weights(&self) -> Vec<f64> {
        let weights = self.weights.clone();
        weights.unwrap_or_else(|| self.points.uniform_weights())
    }

    pub fn has_weights(&self) -> bool {
        self.weights.is_some()
    }

    /// The number of points of each label.
    pub fn class_counts(&self) -> BTreeMap<u32, usize> {
        let mut counts = BTreeMap::new();
        for label in &self.labels {
            *counts.entry(*label).or_insert(0) += 1;
        }
        counts
    }

    /// At most `limit` rows, sampled as by [`Points::sample`], or so that every class keeps its
    /// share of the points (rounding up the largest remainders) and at least one point.
    pub fn sample(&self, limit: usize, seed: u64, purpose: &str, stratified: bool) -> Vec<usize> {
        let count = self.points.count();
        if !stratified || limit >= count {
            return self.points.sample(limit, seed, purpose);
        }
        let classes = self.class_counts();
        let exact = |of_class: usize| of_class as f64 * limit as f64 / count as f64;
        let mut quotas: BTreeMap<u32, usize> = classes
            .iter()
            .map(|(label, of_class)| (*label, (exact(*of_class) as usize).max(1)))
            .collect();
        let mut rests: Vec<(f64, u32)> = classes
            .iter()
            .map(|(label, of_class)| (exact(*of_class) - quotas[label] as f64, *label))
            .collect();
        rests.sort_by(|x, y| y.0.total_cmp(&x.0).then(x.1.cmp(&y.1)));
        let missing = limit.saturating_sub(quotas.values().sum());
        for (_, label) in rests.into_iter().take(missing) {
            *quotas.entry(label).or_insert(0) += 1;
        }
        let order = Stream::new(seed, purpose).permutation(count);
        let mut picks: Vec<usize> = order
            .into_iter()
            .filter(|row| {
                let left = quotas.entry(self.labels[*row]).or_insert(0);
                let taken = *left > 0;
                *left -= usize::from(taken);
                taken
            })
            .collect();
        picks.sort_unstable();
        picks
    }

    pub fn points(&self) -> &Points {
        &self.points
    }

    /// The points at `picks` with their labels.
    ///
    /// # Errors
    /// `picks` is empty, or selects no weight.
    pub fn select(&self, picks: &[usize]) -> Result<Self> {
        let none = || Error::Invalid("no point was picked".to_string());
        Ok(Self {
            points: self.points.select(picks).ok_or_else(none)?,
            labels: picks.iter().map(|pick| self.labels[*pick]).collect(),
            weights: match &self.weights {
                None => None,
                Some(weights) => {
                    let weights: Vec<f64> = picks.iter().map(|pick| weights[*pick]).collect();
                    Some(normalised(&weights, picks.len())?)
                }
            },
        })
    }

    pub fn labels(&self) -> &[u32] {
        &self.labels
    }
}

/// The minimum share of the mass of a point with positive mass: below it, sums over the plan in f32
/// would clip.
const SMALLEST_SHARE: f64 = 1e-15;

/// `weights` divided by their sum.
///
/// # Errors
/// A wrong number of weights; a weight that is negative, not finite, or positive but below
/// 1e-15 of the sum; a sum of 0.
pub fn normalised(weights: &[f64], count: usize) -> Result<Vec<f64>> {
    if weights.len() != count {
        return Err(Error::Invalid(format!(
            "{} weights for {count} points",
            weights.len()
        )));
    }
    if let Some(wrong) = weights
        .iter()
        .find(|weight| !(0.0..f64::INFINITY).contains(*weight))
    {
        return Err(Error::Invalid(format!("{wrong} is not a weight")));
    }
    let sum: f64 = weights.iter().sum();
    if !(sum > 0.0 && sum.is_finite()) {
        return Err(Error::Invalid("the weights have no mass".to_string()));
    }
    let shares: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
    if let Some(tiny) = shares
        .iter()
        .find(|share| **share > 0.0 && **share < SMALLEST_SHARE)
    {
        return Err(Error::Invalid(format!(
            "a weight of {tiny:e} of the mass is too small to be distinguished from 0: leave the point out"
        )));
    }
    Ok(shares)
}
