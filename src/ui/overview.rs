//! A table of the number of nodes by stage and state.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;

use super::table::Table;
use crate::quantity::grouped;
use crate::workflow::graph::Graph;

/// One row for each stage with nodes, one column for each state that occurs, and totals in the last
/// row. `state_of` returns an index into `states`.
pub fn table(graph: &Graph, states: &[&str], state_of: impl Fn(NodeIndex) -> usize) -> Table {
    let mut totals = vec![0; states.len()];
    let mut by_stage: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &node in &graph.order {
        let counts = by_stage.entry(&graph.dag[node].stage);
        let state = state_of(node);
        counts.or_insert_with(|| vec![0; states.len()])[state] += 1;
        totals[state] += 1;
    }
    let shown = |counts: &[usize]| -> Vec<String> {
        let pairs = counts.iter().zip(&totals);
        pairs
            .filter(|(_, total)| **total > 0)
            .map(|(count, _)| match count {
                0 => String::new(),
                number => grouped(*number),
            })
            .collect()
    };
    let heading = states.iter().zip(&totals).filter(|(_, total)| **total > 0);
    let heading = heading.map(|(state, _)| *state);
    let mut table = Table::new(["stage", "nodes"].into_iter().chain(heading));
    for stage in &graph.stages {
        if let Some(counts) = by_stage.get(stage.name.as_str()) {
            let nodes = grouped(counts.iter().sum());
            let row = [stage.name.clone(), nodes].into_iter();
            table.row(row.chain(shown(counts)));
        }
    }
    let all = ["total".to_string(), grouped(graph.order.len())];
    table.row(all.into_iter().chain(shown(&totals)));
    table
}
