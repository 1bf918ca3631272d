//! Lists missing data and environment variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::invocation::quoted;
use crate::engine::SurveyedNode;
use crate::quantity::count;
use crate::ui::text::printable;
use crate::workflow::graph::Graph;

/// The maximum number of reasons to list.
const LISTED: usize = 20;

/// How results can be had without data that the lock file identifies.
pub fn locked_hint(graph: &Graph, nodes: &[&SurveyedNode], file: &Path) -> Option<String> {
    let ids: BTreeSet<String> = nodes
        .iter()
        .map(|node| graph.dag[node.node].id_by_value())
        .collect();
    let mut locked = graph.locked.0.keys();
    let file = quoted(&file.display().to_string());
    locked.any(|(id, _, _)| ids.contains(id)).then(|| {
        format!(
            "Without the data: `ribflow pull {file} --records-only --remote NAME` fetches the results of \
             another lab, since the lock file identifies it."
        )
    })
}

/// Each missing item once, with the first node that needs it.
pub fn lines(graph: &Graph, nodes: &[&SurveyedNode]) -> Vec<String> {
    let mut reasons: Vec<(&SurveyedNode, usize)> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for &node in nodes {
        let place = *places.entry(&node.why).or_insert_with(|| {
            reasons.push((node, 0));
            reasons.len() - 1
        });
        reasons[place].1 += 1;
    }
    let line = |(first, nodes): &(&SurveyedNode, usize)| {
        let id = &graph.dag[first.node].id;
        let more = match nodes {
            1 => String::new(),
            _ => format!(" and {} more", nodes - 1),
        };
        format!("  {id}{more}: {}", printable(&first.why))
    };
    let mut lines: Vec<String> = reasons.iter().take(LISTED).map(line).collect();
    if reasons.len() > LISTED {
        let more = count(reasons.len() - LISTED, "further reason");
        lines.push(format!("  and {more}: `ribflow plan -v` lists every node"));
    }
    lines
}
