//! The nodes of a graph counted by stage and state, as a table.

use petgraph::graph::NodeIndex;

use super::table::Table;
use super::words::grouped;
use crate::workflow::graph::Graph;

/// A row for every stage that has nodes, a column for every state that some node is in, and the
/// totals in the last row. `state_of` gives an index into `states`.
pub fn table(graph: &Graph, states: &[&str], state_of: impl Fn(NodeIndex) -> usize) -> Table {
    let count = |stage: Option<&str>| {
        let mut counts = vec![0; states.len()];
        for &node in &graph.order {
            if stage.is_none_or(|name| name == graph.dag[node].stage) {
                counts[state_of(node)] += 1;
            }
        }
        counts
    };
    let totals: Vec<usize> = count(None);
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
        let counts = count(Some(&stage.name));
        let nodes: usize = counts.iter().sum();
        if nodes > 0 {
            table.row(
                [stage.name.clone(), grouped(nodes)]
                    .into_iter()
                    .chain(shown(&counts)),
            );
        }
    }
    let all = ["total".to_string(), grouped(graph.order.len())];
    table.row(all.into_iter().chain(shown(&totals)));
    table
}
