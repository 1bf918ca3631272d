//! `command` stages of workflows that came from elsewhere: what each of them would run, and
//! whether the user has allowed it.

use std::collections::BTreeSet;
use std::path::Path;

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::arguments::Common;
use super::failure::Failure;
use super::places::{self, Places};
use crate::digest::{Digest, hash_value};
use crate::remote::config::Config;
use crate::remote::home::Home;
use crate::remote::imported;
use crate::remote::neighbours::NeighbourError;
use crate::store::StatCache;
use crate::workflow::graph::{Graph, Node};

/// The kind that runs a program of the workflow's own.
pub const KIND: &str = "command";

/// A node that runs a program.
#[derive(Clone, Debug)]
pub struct CommandNode {
    pub node: NodeIndex,
    /// Of the line and the content of its files: what the user allows.
    pub digest: Digest,
    pub line: String,
}

/// The nodes of `graph` that run programs.
pub fn of(graph: &Graph, common: &Common) -> Result<Vec<CommandNode>, Failure> {
    let is_command = |node: &NodeIndex| graph.dag[*node].kind.name() == KIND;
    let nodes: Vec<NodeIndex> = graph.dag.node_indices().filter(is_command).collect();
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let quiet = Common {
        quiet: true,
        ..common.clone()
    };
    let places = Places::of(&graph.file, common);
    let store = places::look_at_store(&places.store, &quiet)?;
    let stats = StatCache::open(&store);
    let base = graph.file.parent().unwrap_or(Path::new("/"));
    let commands = nodes.into_iter().map(|node| CommandNode {
        node,
        digest: digest(&graph.dag[node], &stats, base),
        line: line(&graph.dag[node]),
    });
    Ok(commands.collect())
}

fn line(node: &Node) -> String {
    let line = node.with.get("run").and_then(Value::as_str);
    line.unwrap_or_default().to_string()
}

/// The digest of what would run. A file that can't be read has a digest of its own: the node
/// can't run either, and is asked about again when it can.
fn digest(node: &Node, stats: &StatCache, base: &Path) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 command v1");
    hash_value(&mut hasher, &Value::from(line(node)));
    for source in node.parameters.sources() {
        // Variables are the user's own.
        if source.location.as_os_str().is_empty() {
            continue;
        }
        let content = stats.identify(&source, base);
        let content = content.map_or_else(|_| String::new(), |found| found.digest.to_hex());
        hash_value(&mut hasher, &Value::from(source.name));
        hash_value(&mut hasher, &Value::from(content));
    }
    Digest::finish(&hasher)
}

/// From now on these run only once they are allowed, and so does whatever else `workflow` would
/// run with other parameters.
pub fn note_imported(workflow: &Path, commands: &[CommandNode]) -> Result<(), Failure> {
    let mut digests: BTreeSet<Digest> = commands.iter().map(|one| one.digest).collect();
    if !commands.is_empty() {
        digests.extend(file_digest(workflow));
    }
    let home = Home::of_user().map_err(NeighbourError::from)?;
    imported::note(&home, &digests).map_err(|error| Failure::from_error(&error))
}

/// The digest of a workflow file; `None` where it can't be read, so that nothing of it runs either.
fn file_digest(workflow: &Path) -> Option<Digest> {
    Some(Digest::of(&std::fs::read(workflow).ok()?))
}

/// The nodes that must not run, and why.
pub fn refused(graph: &Graph, common: &Common) -> Result<Vec<(NodeIndex, String)>, Failure> {
    // Without a home there is nothing that could have been imported.
    let Ok(home) = Home::of_user() else {
        return Ok(Vec::new());
    };
    let imported = imported::read(&home).map_err(|error| Failure::from_error(&error))?;
    if imported.is_empty() {
        return Ok(Vec::new());
    }
    // Only now is it worth looking at the files of every command.
    let commands = of(graph, common)?;
    let allowed = Config::read(&home)?.commands;
    let file = file_digest(&graph.file);
    let is_imported = file.is_some_and(|file| imported.contains(&file));
    let is_off = |one: &CommandNode| {
        (is_imported || imported.contains(&one.digest)) && !allowed.contains(&one.digest)
    };
    let refused = commands.into_iter().filter(is_off);
    Ok(refused
        .map(|CommandNode { node, digest, line }| {
            let why = format!(
                "it runs a command that came from elsewhere: `{line}`; once you have looked at \
                 it and its files, `ribflow trust allow {digest}` lets it run"
            );
            (node, why)
        })
        .collect())
}
