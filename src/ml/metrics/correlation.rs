//! How well one number predicts another, from few points: correlations with permutation p-values
//! and bootstrap intervals, and leave-one-out errors.

use super::scale::{back, scaled};
use crate::rng::Stream;
use crate::{Error, Result};

/// Which correlation coefficient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coefficient {
    /// Linear: of the values.
    Pearson,
    /// Monotone: of their ranks, with mean ranks for ties.
    Spearman,
}

/// A correlation with its significance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    pub value: f64,
    pub n: u64,
    /// Two-sided: the share of permutations of one side whose coefficient is at least as far from
    /// zero. Exact for up to [`EXACT_UP_TO`] points, otherwise from seeded draws.
    pub p_value: f64,
    /// 95 % percentile bootstrap over the points; `None` for fewer than five points, where
    /// resamples are too few to be meaningful.
    pub interval: Option<[f64; 2]>,
}

/// Up to this number of points, every permutation is tried (8! = 40,320).
pub const EXACT_UP_TO: usize = 8;

const DRAWS: usize = 10_000;

/// The correlation of `x` and `y`, its p-value and interval.
///
/// # Errors
/// Fewer than three points, different lengths, a value that is not finite, or a constant side (for
/// which the correlation is undefined).
pub fn correlate(coefficient: Coefficient, x: &[f64], y: &[f64], seed: u64) -> Result<Correlation> {
    check(x, y)?;
    let (x, y) = match coefficient {
        Coefficient::Pearson => (scaled(x).0, scaled(y).0),
        Coefficient::Spearman => (ranks(x), ranks(y)),
    };
    let value = pearson_of(&x, &y).ok_or_else(constant)?;
    Ok(Correlation {
        value,
        n: x.len() as u64,
        p_value: permutation_p_value(&x, &y, value, seed),
        interval: bootstrap(coefficient, &x, &y, seed),
    })
}

/// Pearson's correlation coefficient. Errors as [`correlate`].
pub fn pearson(x: &[f64], y: &[f64]) -> Result<f64> {
    check(x, y)?;
    pearson_of(&scaled(x).0, &scaled(y).0).ok_or_else(constant)
}

/// Spearman's rank correlation coefficient, with mean ranks for ties. Errors as [`correlate`].
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64> {
    check(x, y)?;
    pearson_of(&ranks(x), &ranks(y)).ok_or_else(constant)
}

/// How well a straight line through the other points predicts each point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeaveOneOut {
    /// Root mean square error of the line, in the unit of `y`.
    pub error: f64,
    /// The same for predicting the mean of the other points: the error of a useless predictor.
    pub error_of_mean: f64,
    pub n: u64,
}

/// Predicts each `y` from its `x` by the least-squares line through the other points.
///
/// # Errors
/// As [`correlate`]; also if all remaining `x` are equal when one point is left out.
pub fn leave_one_out(x: &[f64], y: &[f64]) -> Result<LeaveOneOut> {
    check(x, y)?;
    let (x, _) = scaled(x);
    let (y, exponent) = scaled(y);
    let n = x.len();
    let (mut line_squares, mut mean_squares) = (0.0, 0.0);
    for left_out in 0..n {
        let rest = |values: &[f64]| -> Vec<f64> {
            let kept = values.iter().enumerate();
            kept.filter(|(index, _)| *index != left_out)
                .map(|(_, value)| *value)
                .collect()
        };
        let (rest_x, rest_y) = (rest(&x), rest(&y));
        let moments = Moments::of(&rest_x, &rest_y);
        if moments.xx <= 0.0 {
            return Err(constant());
        }
        let line = moments.mean_y + moments.xy / moments.xx * (x[left_out] - moments.mean_x);
        line_squares += (y[left_out] - line).powi(2);
        mean_squares += (y[left_out] - moments.mean_y).powi(2);
    }
    Ok(LeaveOneOut {
        error: back((line_squares / n as f64).sqrt(), exponent),
        error_of_mean: back((mean_squares / n as f64).sqrt(), exponent),
        n: n as u64,
    })
}

fn check(x: &[f64], y: &[f64]) -> Result<()> {
    if x.len() != y.len() {
        return Err(Error::Invalid(format!(
            "{} values can't be correlated with {}",
            x.len(),
            y.len()
        )));
    }
    if x.len() < 3 {
        return Err(Error::Invalid(format!(
            "a correlation needs three points, there are {}",
            x.len()
        )));
    }
    if x.iter().chain(y).any(|value| !value.is_finite()) {
        return Err(Error::Numerical(
            "a value to correlate is not finite".to_string(),
        ));
    }
    Ok(())
}

fn constant() -> Error {
    Error::Invalid("all values of one side are equal, so no correlation is defined".to_string())
}

/// Means, and sums of squared and mixed deviations.
struct Moments {
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn of(x: &[f64], y: &[f64]) -> Self {
        let n = x.len() as f64;
        let (mean_x, mean_y) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
        let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
        for (x, y) in x.iter().zip(y) {
            let (dx, dy) = (x - mean_x, y - mean_y);
            xx += dx * dx;
            yy += dy * dy;
            xy += dx * dy;
        }
        Self {
            mean_x,
            mean_y,
            xx,
            yy,
            xy,
        }
    }
}

/// `None` if a side is constant.
fn pearson_of(x: &[f64], y: &[f64]) -> Option<f64> {
    let moments = Moments::of(x, y);
    let scale = moments.xx.sqrt() * moments.yy.sqrt();
    (scale > 0.0).then(|| (moments.xy / scale).clamp(-1.0, 1.0))
}

/// Ranks from 1; equal values have the mean of their ranks.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = |index: &usize| values[*index] == values[order[start]];
        let run = order[start..]
            .iter()
            .take_while(|index| same(index))
            .count();
        let shared = start as f64 + (run as f64 + 1.0) / 2.0;
        for index in &order[start..start + run] {
            ranks[*index] = shared;
        }
        start += run;
    }
    ranks
}

fn permutation_p_value(x: &[f64], y: &[f64], observed: f64, seed: u64) -> f64 {
    // Rounding must not decide whether the observed order counts as as extreme as itself.
    let bar = observed.abs() - 1e-12;
    let extreme = |order: &[f64]| pearson_of(x, order).is_some_and(|value| value.abs() >= bar);
    if x.len() <= EXACT_UP_TO {
        let (mut hits, mut total) = (0u64, 0u64);
        for_each_permutation(&mut y.to_vec(), &mut |order| {
            total += 1;
            hits += u64::from(extreme(order));
        });
        return hits as f64 / total as f64;
    }
    let mut stream = Stream::new(seed, "permutation test");
    let hits = (0..DRAWS)
        .filter(|_| {
            let order = stream.permutation(y.len());
            extreme(&order.iter().map(|index| y[*index]).collect::<Vec<_>>())
        })
        .count();
    // The observed order is one of the permutations, so a p-value is never 0.
    (hits + 1) as f64 / (DRAWS + 1) as f64
}

/// Heap's algorithm (1963).
fn for_each_permutation(values: &mut [f64], visit: &mut impl FnMut(&[f64])) {
    fn recurse(size: usize, values: &mut [f64], visit: &mut impl FnMut(&[f64])) {
        if size <= 1 {
            return visit(values);
        }
        for index in 0..size {
            recurse(size - 1, values, visit);
            if index + 1 < size {
                let other = if size.is_multiple_of(2) { index } else { 0 };
                values.swap(other, size - 1);
            }
        }
    }
    let size = values.len();
    recurse(size, values, visit);
}

/// Resamples points with replacement; a resample with a constant side is drawn again.
fn bootstrap(coefficient: Coefficient, x: &[f64], y: &[f64], seed: u64) -> Option<[f64; 2]> {
    let n = x.len();
    if n < 5 {
        return None;
    }
    let mut stream = Stream::new(seed, "bootstrap");
    let mut values = Vec::with_capacity(DRAWS);
    let mut attempts = 0;
    while values.len() < DRAWS && attempts < 10 * DRAWS {
        attempts += 1;
        let picks: Vec<usize> = (0..n).map(|_| stream.below(n as u64) as usize).collect();
        let take = |side: &[f64]| picks.iter().map(|pick| side[*pick]).collect::<Vec<_>>();
        let (x, y) = (take(x), take(y));
        let value = match coefficient {
            Coefficient::Pearson => pearson_of(&x, &y),
            Coefficient::Spearman => pearson_of(&ranks(&x), &ranks(&y)),
        };
        values.extend(value);
    }
    if values.len() < DRAWS {
        return None;
    }
    values.sort_by(f64::total_cmp);
    Some([quantile(&values, 0.025), quantile(&values, 0.975)])
}

/// The quantile of sorted values, interpolated linearly (type 7 of Hyndman and Fan 1996).
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const X: [f64; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

    /// A perfect order of six points: two of the 720 permutations are as extreme.
    #[test]
    fn a_perfect_order_of_few_points_is_judged_exactly() {
        let cubes = X.map(|x| x * x * x);
        let found = correlate(Coefficient::Spearman, &X, &cubes, 0).unwrap();
        assert_eq!((found.value, found.p_value), (1.0, 2.0 / 720.0));
    }

    /// scipy.stats.spearmanr([1,2,2,4], [1,3,2,3]): ties share their rank.
    #[test]
    fn ties_share_a_rank() {
        assert_eq!(ranks(&[1.0, 2.0, 2.0, 4.0]), [1.0, 2.5, 2.5, 4.0]);
        let found = spearman(&[1.0, 2.0, 2.0, 4.0], &[1.0, 3.0, 2.0, 3.0]).unwrap();
        assert!((found - 5.0 / 6.0).abs() < 1e-12, "{found}");
    }

    #[test]
    fn what_has_no_correlation_is_an_error() {
        assert!(pearson(&X, &[2.0; 6]).is_err());
        assert!(pearson(&X[..2], &X[..2]).is_err());
        assert!(pearson(&X, &X[..5]).is_err());
        assert!(pearson(&[1.0, f64::NAN, 2.0], &X[..3]).is_err());
    }

    #[test]
    fn a_line_predicts_its_own_points() {
        let line = X.map(|x| 3.0 - 2.0 * x);
        let found = leave_one_out(&X, &line).unwrap();
        assert!(found.error < 1e-12 && found.error_of_mean > 3.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn correlations_are_bounded_symmetric_and_scale_free(
            points in proptest::collection::vec((-1e3..1e3f64, -1e3..1e3f64), 10..14),
            scale in 0.1..10.0f64,
        ) {
            let (x, y): (Vec<f64>, Vec<f64>) = points.into_iter().unzip();
            for coefficient in [Coefficient::Pearson, Coefficient::Spearman] {
                let found = correlate(coefficient, &x, &y, 3).unwrap();
                prop_assert!(found.value.abs() <= 1.0);
                prop_assert!(found.p_value > 0.0 && found.p_value <= 1.0);
                let [low, high] = found.interval.unwrap();
                prop_assert!(-1.0 <= low && low <= high && high <= 1.0);
                prop_assert_eq!(correlate(coefficient, &x, &y, 3).unwrap(), found);
                let scaled: Vec<f64> = x.iter().map(|x| scale * x - 7.0).collect();
                let again = correlate(coefficient, &y, &scaled, 3).unwrap();
                prop_assert!((again.value - found.value).abs() < 1e-9);
            }
        }
    }
}
