//! What data and variables are missing, in lines.

use std::collections::BTreeMap;

use crate::engine::SurveyedNode;
use crate::ui::text::{count, printable};
use crate::workflow::graph::Graph;

/// The most reasons that are listed.
const LISTED: usize = 20;

/// Each thing that `nodes` miss once, with the first node that misses it.
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
        lines.push(format!("  and {more}: `ribflow plan -v` has every node"));
    }
    lines
}
