//! Other predictors of drops, and a comparison of all predictors.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::Cell;
use super::relation::{Axes, Relation, drops, numbers, pair};
use crate::ml::ot::distance::DISTANCES;
use crate::store::artifact::{Metric, Table};

/// The accuracy metric of an `evaluate` node. Its negative stands for the gap to the accuracy on
/// the models' own set: the latter is the same for all domains, so it does not affect correlations
/// or regression lines.
const ACCURACY: &str = "top1";
/// Other predictors of drops: further distances, and the missing accuracy of models on a domain
/// before fine-tuning.
pub fn rivals(cells: &[Cell]) -> Vec<Relation> {
    let drops = drops(cells);
    let mut rivals = Vec::new();
    for distance in &DISTANCES.all {
        for (input, distances) in numbers(cells, distance.name) {
            let name = format!("{input}_{}", distance.name);
            rivals.extend(pair(&name, &distances, &drops));
        }
    }
    for (input, accuracies) in numbers(cells, ACCURACY) {
        let gaps: Vec<(&Axes, f64)> = accuracies
            .iter()
            .map(|(axes, accuracy)| (*axes, 0.0 - accuracy))
            .collect();
        rivals.extend(pair(&format!("{input}_gap"), &gaps, &drops));
    }
    rivals
}

/// One row for each predictor: correlations with p-values and intervals, and the
/// leave-one-domain-out error next to that of the mean.
pub fn predictor_table<'r>(relations: impl Iterator<Item = &'r Relation>) -> Table {
    const NUMBERS: [&str; 6] = [
        "spearman",
        "spearman_p",
        "pearson",
        "pearson_p",
        "loo",
        "loo_mean",
    ];
    let row = |relation: &Relation| {
        let metrics: BTreeMap<String, Metric> = relation.metrics().into_iter().collect();
        let metric = |name: &str| metrics.get(&format!("{}_drop_{name}", relation.input));
        let points: usize = relation.groups.iter().map(|group| group.points.len()).sum();
        let mut row: Vec<Value> = vec![json!(relation.input), json!(points)];
        row.extend(NUMBERS.map(|name| json!(metric(name).map(|metric| metric.value))));
        let interval = metric("spearman").and_then(|metric| metric.interval);
        row.push(json!(interval.map(|[low, _]| low)));
        row.push(json!(interval.map(|[_, high]| high)));
        row
    };
    let mut columns = vec!["predictor".to_string(), "n".to_string()];
    columns.extend(NUMBERS.map(str::to_string));
    columns.extend(["spearman_low", "spearman_high"].map(str::to_string));
    Table {
        columns,
        rows: relations.map(row).collect(),
    }
}
