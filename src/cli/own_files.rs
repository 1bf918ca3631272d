//! The files of a workflow itself on this machine: scripts, lock files of environments. Those whose
//! content the workflow's lock file has are not needed before a node runs.

use std::collections::BTreeSet;
use std::path::Path;

use petgraph::graph::NodeIndex;

use crate::contract::source::SourceShape;
use crate::diag::Diagnostic;
use crate::store::check_environment_file;
use crate::workflow::graph::{Graph, Node};
use crate::workflow::kind::WorkflowFile;

/// Whether all of them are there and can be what they are declared as.
pub fn are_there(graph: &Graph) -> bool {
    let base = folder(graph);
    nodes(graph).all(|(_, node)| {
        let mut files = node.parameters.files();
        files.retain(|file| file.problem(base).is_some());
        let is_locked = |file: &WorkflowFile| {
            let sources = node.parameters.sources();
            let source = sources.iter().find(|it| it.location == file.location);
            source.is_some_and(|source| graph.locked.find(node, source).is_some())
        };
        files.iter().all(is_locked)
    })
}

/// Lock files and projects of uv that no environment can be built from, each once.
pub fn bad_locks(graph: &Graph) -> Vec<Diagnostic> {
    let base = folder(graph);
    let mut known = BTreeSet::new();
    let mut problems = Vec::new();
    for (index, node) in nodes(graph) {
        for source in node.parameters.sources() {
            let place = base.join(&source.location);
            let is_checked = is_of_environment(&source.shape) && known.insert(place.clone());
            if !is_checked || graph.locked.find(node, &source).is_some() {
                continue;
            }
            if let Err(error) = check_environment_file(&source.shape, &place) {
                let message = error.to_string();
                let found = graph
                    .places
                    .diagnostic(index, &["runner"], "bad-lock", message);
                problems.push(found);
            }
        }
    }
    problems
}

fn is_of_environment(shape: &SourceShape) -> bool {
    matches!(shape, SourceShape::UvLock | SourceShape::PythonProject)
}

fn folder(graph: &Graph) -> &Path {
    graph.file.parent().unwrap_or(Path::new(""))
}

/// The nodes whose paths are known.
fn nodes(graph: &Graph) -> impl Iterator<Item = (NodeIndex, &Node)> {
    let nodes = graph.order.iter().map(|index| (*index, &graph.dag[*index]));
    nodes.filter(|(_, node)| node.missing_env.is_empty())
}
