//! The outputs of a distance: metrics, and distances between classes.

use serde_json::json;

use super::side::Side;
use crate::ml::ot::OtddResult;
use crate::ml::ot::distance::Measurement;
use crate::stages::task::{Context, TaskError};
use crate::store::artifact::{Metric, Metrics, Tensors};
use crate::store::tensors;

/// The metrics that a distance can have.
pub(super) const METRICS: [&str; 4] = ["distance", "value", "marginal_error", "dual_gap"];

/// The metrics listed in [`METRICS`].
pub(super) fn metrics(found: &Measurement) -> Metrics {
    let [a, b] = found.points;
    let distance = Metric {
        n: Some((a + b) as u64),
        interval: found.interval,
        ..Metric::new(found.distance, "")
    };
    let mut values = std::collections::BTreeMap::from([("distance".to_string(), distance)]);
    let mut add = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            values.insert(name.to_string(), Metric::new(value, ""));
        }
    };
    add("value", found.value);
    add("marginal_error", found.marginal_error);
    add("dual_gap", found.dual_gap);
    Metrics { values }
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
