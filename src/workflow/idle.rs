//! Axes that make no difference: points of a stage that differ only in one of its axes and are
//! the same work for every one of its values. Where that axis is meant to repeat something, every
//! repeat would be the same number.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use petgraph::graph::NodeIndex;

use super::graph::{Graph, Node};
use crate::digest::Digest;

/// Beyond so many nodes nobody looks: the file is not a small one that somebody is writing.
const MOST_NODES: usize = 200_000;

/// Stages with an axis of several values that changes none of their nodes, by name.
pub fn idle_axes(graph: &Graph) -> Vec<(String, String)> {
    if graph.order.len() > MOST_NODES {
        return Vec::new();
    }
    let works = works(graph);
    let mut found = Vec::new();
    for stage in &graph.stages {
        let nodes: Vec<NodeIndex> = graph
            .order
            .iter()
            .copied()
            .filter(|index| graph.dag[*index].stage == stage.name)
            .collect();
        for (place, axis) in stage.axes.iter().enumerate() {
            if is_idle(graph, &nodes, place, &works) {
                found.push((stage.name.clone(), axis.clone()));
            }
        }
    }
    found
}

/// For each node a number that equal work shares: the same kind, parameters and inputs.
fn works(graph: &Graph) -> HashMap<NodeIndex, usize> {
    let mut numbers: HashMap<Digest, usize> = HashMap::new();
    let mut works = HashMap::new();
    for index in &graph.order {
        let digest = digest(&graph.dag[*index], &works);
        let next = numbers.len();
        works.insert(*index, *numbers.entry(digest).or_insert(next));
    }
    works
}

fn digest(node: &Node, works: &HashMap<NodeIndex, usize>) -> Digest {
    let mut text = format!("{} {}", node.kind.name(), node.with);
    for input in &node.inputs {
        text.push_str(&format!("\n{}:", input.name));
        for member in &input.members {
            let work = works.get(&member.node).copied().unwrap_or_default();
            text.push_str(&format!(" {work}.{} {:?}", member.port, member.axes));
        }
    }
    Digest::of(text.as_bytes())
}

fn is_idle(
    graph: &Graph,
    nodes: &[NodeIndex],
    place: usize,
    works: &HashMap<NodeIndex, usize>,
) -> bool {
    // By the other axes' ids: the ids on this one, and the works.
    type Seen<'a> = (BTreeSet<&'a str>, BTreeSet<usize>);
    let mut groups: BTreeMap<Vec<&str>, Seen> = BTreeMap::new();
    for index in nodes {
        let axes = &graph.dag[*index].axes;
        let Some((_, id)) = axes.get(place) else {
            return false;
        };
        let others = axes.iter().enumerate().filter(|it| it.0 != place);
        let others = others.map(|(_, (_, id))| id.as_str()).collect();
        let (ids, seen) = groups.entry(others).or_default();
        ids.insert(id);
        seen.extend(works.get(index));
    }
    let several = groups.values().any(|(ids, _)| ids.len() > 1);
    several && groups.values().all(|(_, works)| works.len() == 1)
}
