//! Checks before a run that the shells of `command` nodes are installed.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;

use super::failure::Failure;
use crate::diag::listed;
use crate::engine::event::PlanState;
use crate::engine::{self, Accepting, RemoteRecords, Survey};
use crate::stages::command::Shell;
use crate::store::Store;
use crate::workflow::graph::Graph;
use crate::workflow::kind::Meaning;

/// Fails if a node that may have to run needs a shell that is not installed.
///
/// `forced` nodes run even if they have a record.
pub fn check(graph: &Graph, survey: &Survey, forced: &[NodeIndex]) -> Result<(), Failure> {
    let has_record = |node: NodeIndex| {
        survey
            .get(node)
            .is_some_and(|surveyed| matches!(surveyed.state, PlanState::Reused | PlanState::Remote))
    };
    let needed = needing_absent(graph).into_iter();
    let mut needed: BTreeMap<Shell, Vec<NodeIndex>> = needed
        .map(|(shell, mut nodes)| {
            nodes.retain(|node| forced.contains(node) || !has_record(*node));
            (shell, nodes)
        })
        .collect();
    needed.retain(|_, nodes| !nodes.is_empty());
    match needed.pop_first() {
        None => Ok(()),
        Some((shell, nodes)) => Err(absent(graph, shell, &nodes)),
    }
}

/// Like [`check`], for a run that has not surveyed its nodes yet. It costs nothing if every shell
/// is installed.
pub fn check_run(
    graph: &Graph,
    store: &Store,
    forced: &[NodeIndex],
    device: &str,
    accepting: &Accepting,
) -> Result<(), Failure> {
    if needing_absent(graph).is_empty() {
        return Ok(());
    }
    let survey = engine::survey_with(graph, store, device, &RemoteRecords::default(), accepting)?;
    check(graph, &survey, forced)
}

/// The nodes whose shell is not installed.
fn needing_absent(graph: &Graph) -> BTreeMap<Shell, Vec<NodeIndex>> {
    let mut needing: BTreeMap<Shell, Vec<NodeIndex>> = BTreeMap::new();
    for node in graph.dag.node_indices() {
        if graph.dag[node].kind.meaning() == Meaning::Program {
            let shell = Shell::of(&graph.dag[node].with);
            needing.entry(shell).or_default().push(node);
        }
    }
    needing.retain(|shell, _| shell.program().is_none());
    needing
}

fn absent(graph: &Graph, shell: Shell, nodes: &[NodeIndex]) -> Failure {
    let stages: BTreeSet<&str> = nodes
        .iter()
        .map(|node| graph.dag[*node].stage.as_str())
        .collect();
    let number = if stages.len() == 1 { "stage" } else { "stages" };
    let message = format!(
        "{}: PATH has no `{}`, which runs the commands of the {number} {}",
        graph.file.display(),
        shell.name(),
        listed(stages.into_iter())
    );
    Failure::usage("no-shell", message).hint(format!(
        "install {}, or write `shell: sh` under `with:` of a command that /bin/sh can run",
        shell.name()
    ))
}
