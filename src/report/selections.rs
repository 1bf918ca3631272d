//! What each selection chose, and what it cost to have the choice.

use std::collections::BTreeSet;

use petgraph::graph::NodeIndex;
use serde::Serialize;
use serde_json::Value;

use super::view::View;
use crate::store::artifact::{Artifact, Metric, Table};
use crate::workflow::kind::Meaning;
use crate::workflow::kind::selection::{CANDIDATE, CHOICE, METRIC, TAKEN};

/// The choice of one node.
pub struct Selection<'a> {
    pub node: NodeIndex,
    /// The metric that the candidates were compared by.
    pub by: &'a str,
    pub score: Option<&'a Metric>,
    pub candidates: usize,
    /// The names of the candidates in the result.
    pub chosen: Vec<&'a str>,
    /// The recorded time in seconds of all nodes that the selection depends on, and of itself.
    pub seconds: f64,
    pub choice: &'a Table,
}

/// A line of `results.json`.
#[derive(Serialize)]
pub struct SelectionLine<'a> {
    id: &'a str,
    by: &'a str,
    candidates: usize,
    chosen: &'a [&'a str],
}

impl<'a> Selection<'a> {
    pub fn line(&'a self, view: &View<'a>) -> SelectionLine<'a> {
        SelectionLine {
            id: &view.node(self.node).id,
            by: self.by,
            candidates: self.candidates,
            chosen: &self.chosen,
        }
    }
}

/// All selections with a record, in the order of the file.
pub fn selections<'a>(view: &View<'a>) -> Vec<Selection<'a>> {
    let nodes = view.done(Meaning::Selection).into_iter();
    nodes.filter_map(|node| selection(view, node)).collect()
}

fn selection<'a>(view: &View<'a>, node: NodeIndex) -> Option<Selection<'a>> {
    let record = &view.records.get(&node)?.record;
    let Artifact::Table(choice) = record.ports.get(CHOICE)?.inline.as_ref()? else {
        return None;
    };
    let column = |name: &str| choice.columns.iter().position(|column| column == name);
    let (name, metric, taken) = (column(CANDIDATE)?, column(METRIC)?, column(TAKEN)?);
    let rows = choice.rows.iter();
    let chosen = rows
        .filter(|row| row.get(taken) == Some(&Value::Bool(true)))
        .filter_map(|row| row.get(name)?.as_str())
        .collect();
    let by = choice.rows.first()?.get(metric)?.as_str()?;
    Some(Selection {
        node,
        by,
        score: view.metric(node, "score"),
        candidates: choice.rows.len(),
        chosen,
        seconds: seconds(view, node),
        choice,
    })
}

fn seconds(view: &View, node: NodeIndex) -> f64 {
    let mut seen = BTreeSet::from([node]);
    let mut next = vec![node];
    let mut sum = 0.0;
    while let Some(index) = next.pop() {
        let stored = view.records.get(&index);
        sum += stored.map_or(0.0, |it| it.record.provenance.wall_seconds);
        let inputs = view.node(index).inputs.iter();
        for member in inputs.flat_map(|input| &input.members) {
            if seen.insert(member.node) {
                next.push(member.node);
            }
        }
    }
    sum
}
