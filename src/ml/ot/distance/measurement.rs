//! The result of measuring a distance.

use crate::ot::{Divergence, ExactTransport, OtddResult, Power, Sliced};

/// A distance, and facts about its computation.
pub struct Measurement {
    /// The distance, in the unit of the features if it has one.
    pub distance: f64,
    /// The computed value: a (half) squared distance; `None` if that is the distance.
    pub value: Option<f64>,
    /// L1 error of the marginals, if applicable.
    pub marginal_error: Option<f64>,
    /// An upper bound on how much `value` is too large, if it is exact.
    pub dual_gap: Option<f64>,
    /// 95 % interval, from the finite number of projections or from resampled points.
    pub interval: Option<[f64; 2]>,
    pub iterations: u32,
    /// The number of points of each set.
    pub points: [usize; 2],
    /// Class distances, if the distance has them.
    pub classes: Option<OtddResult>,
}

impl Measurement {
    pub fn plain(distance: f64, points: [usize; 2]) -> Self {
        Self {
            distance,
            value: None,
            marginal_error: None,
            dual_gap: None,
            interval: None,
            iterations: 0,
            points,
            classes: None,
        }
    }

    /// From a squared distance. Negative values due to rounding become 0.
    pub fn of_square(square: f64, points: [usize; 2]) -> Self {
        Self {
            value: Some(square),
            ..Self::plain(square.max(0.0).sqrt(), points)
        }
    }

    /// From half of a squared distance.
    pub fn of_divergence(found: &Divergence, points: [usize; 2]) -> Self {
        Self {
            value: Some(found.value),
            marginal_error: Some(found.marginal_error()),
            iterations: found.iterations(),
            ..Self::plain((2.0 * found.value).max(0.0).sqrt(), points)
        }
    }

    pub fn of_exact(found: &ExactTransport, power: Power, points: [usize; 2]) -> Self {
        let distance = match power {
            Power::One => found.value,
            Power::Two => found.value.max(0.0).sqrt(),
        };
        Self {
            value: (power == Power::Two).then_some(found.value),
            dual_gap: Some(found.dual_gap),
            iterations: u32::try_from(found.pivots).unwrap_or(u32::MAX),
            ..Self::plain(distance, points)
        }
    }

    pub fn of_otdd(found: OtddResult) -> Self {
        let entropic = found.dual_gap.is_none();
        let marginal_error = entropic.then(|| found.divergence.marginal_error());
        Self {
            marginal_error,
            dual_gap: found.dual_gap,
            classes: Some(found.clone()),
            ..Self::of_divergence(&found.divergence, found.points)
        }
    }

    pub fn of_projections(found: &Sliced, points: [usize; 2]) -> Self {
        let root = |square: f64| square.max(0.0).sqrt();
        let interval = found.standard_error().map(|error| {
            let square = found.mean_square();
            [root(square - 1.96 * error), root(square + 1.96 * error)]
        });
        Self {
            interval,
            ..Self::of_square(found.mean_square(), points)
        }
    }
}
