//! Checkpoints that may change under the same key: warns of them, and pins them with the lock file.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::common::Common;
use super::failure::Failure;
use super::invocation::quoted;
use crate::quantity::count;
use crate::remote::lock::Lock;
use crate::stages::checkpoint::{USUAL_FILE, is_commit};
use crate::workflow::graph::{Graph, Locked, Node};
use crate::workflow::kind::Meaning;

/// A file of a hub repository that is named by a branch or tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnpinnedCheckpoint {
    pub hub: String,
    pub revision: String,
    pub file: String,
}

impl UnpinnedCheckpoint {
    fn of(node: &Node) -> Option<Self> {
        let text = |name: &str| node.with.get(name).and_then(Value::as_str);
        let revision = text("revision").unwrap_or("main");
        if node.kind.meaning() != Meaning::Published
            || text("digest").is_some()
            || is_commit(revision)
        {
            return None;
        }
        Some(Self {
            hub: text("hub")?.to_string(),
            revision: revision.to_string(),
            file: text("file").unwrap_or(USUAL_FILE).to_string(),
        })
    }
}

/// The unpinned checkpoints of a graph.
pub fn in_graph(graph: &Graph) -> impl Iterator<Item = UnpinnedCheckpoint> + '_ {
    graph.dag.node_weights().filter_map(UnpinnedCheckpoint::of)
}

/// Replaces branches and tags with the commits in the lock file of `workflow`.
pub fn apply_lock(graph: &mut Graph, workflow: &Path) -> Result<(), Failure> {
    match Lock::read(workflow)? {
        Some(lock) => take_lock(graph, workflow, &lock),
        None => Ok(()),
    }
}

/// The same with `lock`, the content of the lock file.
pub fn take_lock(graph: &mut Graph, workflow: &Path, lock: &Lock) -> Result<(), Failure> {
    graph.locked = sources(lock);
    for node in graph.dag.node_weights_mut() {
        let Some(checkpoint) = UnpinnedCheckpoint::of(node) else {
            continue;
        };
        let Some(locked) = lock.find(&checkpoint.hub, &checkpoint.revision, &checkpoint.file)
        else {
            continue;
        };
        let mut with = (*node.with).clone();
        with["revision"] = json!(locked.commit);
        if let Some(digest) = &locked.digest {
            with["digest"] = json!(digest);
        }
        // The workflow has been checked, so only the lock file can be wrong here.
        let wrong = |_| {
            let path = Lock::path(workflow).display().to_string();
            let message = format!("{path}: the entry for {} is invalid", checkpoint.hub);
            let file = quoted(&workflow.display().to_string());
            Failure::usage("lock", message)
                .hint(format!("`ribflow lock {file} --update` rewrites it"))
        };
        let parameters = node.kind.parse(&with).map_err(wrong)?;
        node.parameters = Arc::from(parameters);
        node.with = Arc::new(with);
    }
    Ok(())
}

/// The digests of external data in a lock file, indexed for the computation of keys.
fn sources(lock: &Lock) -> Locked {
    let entries = lock.sources.iter().map(|source| {
        let place = (
            source.node.clone(),
            source.source.clone(),
            source.parameters,
        );
        (place, source.digest)
    });
    Locked(entries.collect())
}

/// Warns of checkpoints that neither the workflow nor its lock file pins.
pub fn warn(graph: &Graph, workflow: &Path, common: &Common) {
    let is_loose = |node: &&Node| UnpinnedCheckpoint::of(node).is_some();
    let checkpoint: Vec<&Node> = graph.dag.node_weights().filter(is_loose).collect();
    if checkpoint.is_empty() || common.quiet {
        return;
    }
    let stages: BTreeSet<&str> = checkpoint.iter().map(|node| node.stage.as_str()).collect();
    let stages: Vec<&str> = stages.into_iter().collect();
    // Failing to print a warning must not stop the command.
    let _ = writeln!(
        crate::ui::streams::stderr(),
        "warning: {} of {} may change under the same key: a branch or tag can move\n\
         hint: pin the commits with `ribflow lock {}`",
        count(checkpoint.len(), "checkpoint"),
        stages.join(", "),
        quoted(&workflow.display().to_string())
    );
}
