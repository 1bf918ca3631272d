//! Finds axes that make no difference: points of a stage that differ only in one of its axes and do
//! the same work for all of its values. If such an axis is meant to repeat something, every repeat
//! gives the same number.

use std::collections::{BTreeMap, HashMap};

use petgraph::graph::NodeIndex;

use super::graph::Graph;
use crate::digest::Digest;

/// Graphs with more nodes are not checked: the warning is for small files that are being written.
const MOST_NODES: usize = 200_000;

/// Stages with an axis of several values that changes none of their nodes, by name.
pub fn idle_axes(graph: &Graph) -> Vec<(String, String)> {
    if graph.order.len() > MOST_NODES {
        return Vec::new();
    }
    let mut nodes: HashMap<&str, Vec<NodeIndex>> = HashMap::new();
    for index in &graph.order {
        let stage = graph.dag[*index].stage.as_str();
        nodes.entry(stage).or_default().push(*index);
    }
    let mut works = WorkNumbers {
        graph,
        numbers: HashMap::new(),
        of: HashMap::new(),
    };
    let mut found = Vec::new();
    for stage in &graph.stages {
        let nodes = nodes.remove(stage.name.as_str()).unwrap_or_default();
        for (place, axis) in stage.axes.iter().enumerate() {
            if is_idle(&nodes, place, &mut works) {
                found.push((stage.name.clone(), axis.clone()));
            }
        }
    }
    found
}

/// Numbers the work of each node. Equal work (the same kind, parameters and inputs) has the same
/// number.
struct WorkNumbers<'a> {
    graph: &'a Graph,
    numbers: HashMap<Digest, usize>,
    of: HashMap<NodeIndex, usize>,
}

impl WorkNumbers<'_> {
    fn of(&mut self, index: NodeIndex) -> usize {
        if let Some(work) = self.of.get(&index) {
            return *work;
        }
        let node = &self.graph.dag[index];
        let mut text = format!("{} {}", node.kind.name(), node.with);
        for input in &node.inputs {
            text.push_str(&format!("\n{}:", input.name));
            for member in &input.members {
                let work = self.of(member.node);
                text.push_str(&format!(" {work}.{} {:?}", member.port, member.axes));
            }
        }
        let next = self.numbers.len();
        let work = *self
            .numbers
            .entry(Digest::of(text.as_bytes()))
            .or_insert(next);
        self.of.insert(index, work);
        work
    }
}

/// Most axes make a difference, which usually shows at the second node.
fn is_idle(nodes: &[NodeIndex], place: usize, works: &mut WorkNumbers) -> bool {
    // By the ids on the other axes: the first node's id on this axis, and its work.
    let mut groups: BTreeMap<Vec<&str>, (&str, usize)> = BTreeMap::new();
    let graph = works.graph;
    let mut several = false;
    for index in nodes {
        let axes = &graph.dag[*index].axes;
        let Some((_, id)) = axes.get(place) else {
            return false;
        };
        let others = axes.iter().enumerate().filter(|it| it.0 != place);
        let others = others.map(|(_, (_, id))| id.as_str()).collect();
        let work = works.of(*index);
        let (first, same) = *groups.entry(others).or_insert((id, work));
        if work != same {
            return false;
        }
        several |= first != id;
    }
    several
}
