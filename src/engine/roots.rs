//! Finds the folders of the sources that a dataset's encoded files may be in.
//!
//! A dataset names its images by content. They are read fastest where they were found, so the
//! source folders are passed along to everything derived from a dataset, through any number of
//! nodes that output datasets or files. They are hints: a file that is read there must match its
//! digest.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use petgraph::graph::NodeIndex;

use super::keys::Keys;
use crate::contract::port::PortType;
use crate::workflow::graph::Graph;
use crate::workflow::kind::Meaning;

/// The folders behind each node's datasets, found on demand.
#[derive(Default)]
pub(super) struct Roots(HashMap<NodeIndex, BTreeSet<PathBuf>>);

impl Roots {
    /// The folders that may contain files of the outputs of `node`.
    pub fn of(&mut self, graph: &Graph, keys: &mut Keys, node: NodeIndex) -> BTreeSet<PathBuf> {
        if let Some(known) = self.0.get(&node) {
            return known.clone();
        }
        let mut roots = BTreeSet::new();
        // A program writes its outputs into the store; its sources are scripts.
        if graph.dag[node].kind.meaning() == Meaning::Program {
            return roots;
        }
        // The sources of a keyed node are cached, so this reads nothing.
        for (_, source) in keys.sources(&graph.dag[node]).unwrap_or_default() {
            // Variables have no location.
            if !source.root.as_os_str().is_empty() {
                roots.insert(source.root.clone());
            }
        }
        for input in &graph.dag[node].inputs {
            for member in &input.members {
                let gives = keys.port(member).map(|port| port.gives);
                if matches!(gives, Some(PortType::Dataset | PortType::Files)) {
                    roots.extend(self.of(graph, keys, member.node));
                }
            }
        }
        self.0.insert(node, roots.clone());
        roots
    }
}
