//! Checkpoints that may change under the same key.

use std::collections::BTreeSet;
use std::io::Write;

use serde_json::Value;

use super::arguments::Common;
use crate::ui::words::count;
use crate::workflow::graph::{Graph, Node};

/// Warns of checkpoints of a hub that are named by a branch or a tag.
pub fn warn(graph: &Graph, common: &Common) {
    let loose: Vec<&Node> = graph
        .dag
        .node_weights()
        .filter(|node| is_loose(node))
        .collect();
    if loose.is_empty() || common.quiet {
        return;
    }
    let stages: BTreeSet<&str> = loose.iter().map(|node| node.stage.as_str()).collect();
    let stages: Vec<&str> = stages.into_iter().collect();
    // A warning that can't be shown is no reason to stop.
    let _ = writeln!(
        std::io::stderr(),
        "warning: {} of {} may change under the same key: a branch or tag can move\n\
         hint: pin them with `revision:` a commit (40 digits), or with `digest:`",
        count(loose.len(), "checkpoint"),
        stages.join(", ")
    );
}

fn is_loose(node: &Node) -> bool {
    let text = |name: &str| node.with.get(name).and_then(Value::as_str);
    node.kind.name() == "checkpoint"
        && text("hub").is_some()
        && text("digest").is_none()
        && !text("revision").is_some_and(is_commit)
}

fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}
