//! What is told of a distance.

use serde_json::json;

use super::side::Side;
use crate::ml::ot::{Divergence, ExactTransport, OtddResult, Power, Sliced};
use crate::stages::task::{Context, TaskError};
use crate::store::artifact::{Metric, Metrics, Tensors};
use crate::store::tensors;

/// What a distance can have beside itself.
pub(super) const METRICS: [&str; 4] = ["distance", "value", "marginal_error", "dual_gap"];

/// What is told of a distance.
pub(super) struct Found {
    /// The distance itself, in the unit of the features where it has one.
    pub distance: f64,
    /// What was computed: a (half) squared distance; `None` where that is the distance.
    pub value: Option<f64>,
    /// L1 error of the marginals, where there are any.
    pub marginal_error: Option<f64>,
    /// By how much `value` may be too large at most, where it is exact.
    pub dual_gap: Option<f64>,
    /// 95 % interval from the finite number of projections, or from points drawn anew.
    pub interval: Option<[f64; 2]>,
    pub iterations: u32,
    pub points: [usize; 2],
    pub classes: Option<OtddResult>,
}

impl Found {
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

    /// From a squared distance. Rounding below 0 is 0.
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

    /// Named in [`METRICS`].
    pub fn metrics(&self) -> Metrics {
        let [a, b] = self.points;
        let distance = Metric {
            n: Some((a + b) as u64),
            interval: self.interval,
            ..Metric::new(self.distance, "")
        };
        let mut values = std::collections::BTreeMap::from([("distance".to_string(), distance)]);
        let mut tell = |name: &str, value: Option<f64>| {
            if let Some(value) = value {
                values.insert(name.to_string(), Metric::new(value, ""));
            }
        };
        tell("value", self.value);
        tell("marginal_error", self.marginal_error);
        tell("dual_gap", self.dual_gap);
        Metrics { values }
    }
}

/// Squared distances between classes and the mass moved between them, all f64.
pub(super) fn classes_of(
    context: &Context,
    found: &OtddResult,
    a: &Side,
    b: &Side,
) -> Result<Tensors, TaskError> {
    let names = |side: &Side, labels: &[u32]| -> Vec<String> {
        labels.iter().map(|label| side.name(*label)).collect()
    };
    let (of_a, of_b) = (&found.classes.a, &found.classes.b);
    let table = |name: &str, rows: &[u32], columns: &[u32], values: &[f64]| {
        let bytes = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        (
            name.to_string(),
            "F64",
            vec![rows.len(), columns.len()],
            bytes,
        )
    };
    let arrays = [
        table("between", of_a, of_b, &found.classes.ab),
        table("coupling", of_a, of_b, &found.coupling),
        table("within_a", of_a, of_a, &found.classes.aa),
        table("within_b", of_b, of_b, &found.classes.bb),
    ];
    let config = json!({
        "holds": "class_distances",
        "unit": "squared distance",
        "rows": names(a, of_a),
        "columns": names(b, of_b),
    });
    Ok(tensors::save(context.blobs, config, &arrays)?)
}
