//! Maps of datasets: if the `ot` nodes of a graph measure the distances between all pairs of some
//! datasets in the same way, classical scaling embeds the datasets in a plane.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::view::View;
use crate::ml::metrics::embedding::{Embedding, classical_scaling};
use crate::workflow::kind::Meaning;

/// Datasets in a plane.
pub struct Map {
    /// The model whose features were compared; `None` for raw pixels and for arrays.
    pub model: Option<NodeIndex>,
    /// The stage that measured the distances, and the name of the distance.
    pub stage: String,
    pub distance: String,
    pub datasets: Vec<NodeIndex>,
    pub embedding: Embedding,
    /// The nodes that computed the distances.
    pub nodes: Vec<NodeIndex>,
}

/// Distances measured in the same way: same stage, model and parameters.
struct Survey<'a> {
    model: Option<NodeIndex>,
    stage: &'a str,
    with: &'a Value,
    /// One or both directions of a pair; the two may differ by rounding.
    between: BTreeMap<[NodeIndex; 2], Vec<f64>>,
    nodes: Vec<NodeIndex>,
}

/// The maps of a graph, in the order of the file. Omits maps with fewer than three datasets or with
/// a missing pair.
pub fn maps(view: &View) -> Vec<Map> {
    let mut surveys: Vec<Survey> = Vec::new();
    for index in view.done(Meaning::Distance) {
        let node = view.node(index);
        let sides = [only(view, index, "a"), only(view, index, "b")];
        let ([Some(a), Some(b)], Some(distance)) = (sides, view.metric(index, "distance")) else {
            continue;
        };
        let model = only(view, index, "model");
        let same = |survey: &Survey| {
            survey.model == model && survey.stage == node.stage && *survey.with == *node.with
        };
        let place = surveys.iter().position(same).unwrap_or_else(|| {
            surveys.push(Survey {
                model,
                stage: &node.stage,
                with: &node.with,
                between: BTreeMap::new(),
                nodes: Vec::new(),
            });
            surveys.len() - 1
        });
        let pair = [a.min(b), a.max(b)];
        let distances = surveys[place].between.entry(pair).or_default();
        distances.push(distance.value);
        surveys[place].nodes.push(index);
    }
    surveys.iter().filter_map(Survey::map).collect()
}

/// The producer of an input with one member.
fn only(view: &View, index: NodeIndex, name: &str) -> Option<NodeIndex> {
    let mut inputs = view.node(index).inputs.iter();
    match &inputs.find(|input| input.name == name)?.members[..] {
        [member] => Some(member.node),
        _ => None,
    }
}

impl Survey<'_> {
    fn map(&self) -> Option<Map> {
        let mut datasets: Vec<NodeIndex> = self.between.keys().flatten().copied().collect();
        datasets.sort_unstable();
        datasets.dedup();
        let n = datasets.len();
        let mut distances = vec![0.0; n * n];
        for row in 0..n {
            for column in 0..row {
                let found = self.between.get(&[datasets[column], datasets[row]])?;
                let mean = found.iter().sum::<f64>() / found.len() as f64;
                distances[row * n + column] = mean;
                distances[column * n + row] = mean;
            }
        }
        let distance = self.with.get("distance").and_then(Value::as_str);
        Some(Map {
            model: self.model,
            stage: self.stage.to_string(),
            distance: distance.unwrap_or("otdd").to_string(),
            embedding: classical_scaling(&distances, n).ok()?,
            datasets,
            nodes: self.nodes.clone(),
        })
    }
}

impl Map {
    /// Names of the datasets: their labels on the axes where they differ, or else their stages.
    pub fn names(&self, view: &View) -> Vec<String> {
        let on = |node: NodeIndex, axis: &str| -> Option<String> {
            let axes = &view.node(node).axes;
            let (_, id) = axes.iter().find(|(name, _)| name == axis)?;
            Some(view.label(axis, id).to_string())
        };
        let differ = |axis: &&str| {
            let first = self.datasets.first().map(|node| on(*node, axis));
            let mut others = self.datasets.iter().map(|node| on(*node, axis));
            others.any(|other| Some(other) != first)
        };
        let axes: Vec<&str> = view
            .graph
            .axes
            .iter()
            .map(|axis| axis.name.as_str())
            .filter(differ)
            .collect();
        let name = |node: &NodeIndex| {
            let labels: Vec<String> = axes.iter().filter_map(|axis| on(*node, axis)).collect();
            match labels.is_empty() {
                true => view.node(*node).stage.clone(),
                false => labels.join(" · "),
            }
        };
        self.datasets.iter().map(name).collect()
    }
}
