//! Groups of nodes that repeat one experiment, and the means over them.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use super::view::{Role, View, without};
use crate::ml::metrics::estimate::{Estimate, estimate};

/// Axes with one id each.
pub type Ids<'a> = Vec<(&'a str, &'a str)>;

/// The nodes of one stage that agree on all axes except the repeats.
pub struct Group<'a> {
    pub stage: &'a str,
    pub axes: Ids<'a>,
    /// The axes of repeats.
    pub over: Vec<&'a str>,
    pub members: Vec<NodeIndex>,
}

impl Group<'_> {
    /// The means of all metrics, in the order of their names.
    pub fn estimates(&self, view: &View) -> BTreeMap<String, Estimate> {
        let mut values: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for (name, metric) in self.members.iter().flat_map(|index| view.metrics(*index)) {
            values.entry(name).or_default().push(metric.value);
        }
        let estimates = values.into_iter();
        estimates
            .filter_map(|(name, values)| Some((name, estimate(&values)?)))
            .collect()
    }
}

/// The axes of repeats.
fn axes<'a>(view: &View<'a>) -> Vec<&'a str> {
    let roles = view.roles().into_iter();
    roles
        .filter(|(_, role)| *role == Role::Repeats)
        .map(|(axis, _)| axis)
        .collect()
}

/// The groups of all stages that have an axis of repeats, in the order of the file.
pub fn groups<'a>(view: &View<'a>) -> Vec<Group<'a>> {
    let nodes = view.nodes().map(|(index, _)| index);
    groups_of(view, nodes)
}

/// The groups among some nodes with the same axes; `None` if no group has several members.
pub fn repeated<'a>(
    view: &View<'a>,
    nodes: impl IntoIterator<Item = NodeIndex>,
) -> Option<Vec<Group<'a>>> {
    let groups = groups_of(view, nodes);
    let several = |group: &Group| group.members.len() > 1;
    groups.iter().any(several).then_some(groups)
}

fn groups_of<'a>(view: &View<'a>, nodes: impl IntoIterator<Item = NodeIndex>) -> Vec<Group<'a>> {
    let repeats = axes(view);
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places: BTreeMap<(&str, Ids), usize> = BTreeMap::new();
    for index in nodes {
        let node = view.node(index);
        let names = node.axes.iter().map(|(axis, _)| axis.as_str());
        let over: Vec<&str> = names.filter(|axis| repeats.contains(axis)).collect();
        if over.is_empty() {
            continue;
        }
        let axes = without(&node.axes, &repeats);
        let place = *places
            .entry((&node.stage, axes.clone()))
            .or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group {
                stage: node.stage.as_str(),
                axes,
                over,
                members: Vec::new(),
            });
        }
        groups[place].members.push(index);
    }
    groups
}
