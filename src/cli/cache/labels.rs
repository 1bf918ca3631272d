//! Names for keys: the nodes that runs computed under them.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::Digest;
use crate::engine::journal::SeenRun;

/// The nodes of each key, as workflow and node id.
#[derive(Debug, Default)]
pub struct Labels(BTreeMap<Digest, BTreeSet<(String, String)>>);

impl Labels {
    pub fn of(runs: &[SeenRun]) -> Self {
        let mut labels = Self::default();
        for run in runs {
            for (id, key) in &run.keys {
                let label = (run.workflow.clone(), id.clone());
                labels.0.entry(*key).or_default().insert(label);
            }
        }
        labels
    }

    /// Workflow and id of each node with the key.
    pub fn nodes(&self, key: &Digest) -> impl Iterator<Item = (&str, &str)> {
        let nodes = self.0.get(key).into_iter().flatten();
        nodes.map(|(workflow, id)| (workflow.as_str(), id.as_str()))
    }

    /// The first node, and the number of others.
    pub fn short(&self, key: &Digest) -> String {
        let mut nodes = self.nodes(key);
        match (nodes.next(), nodes.count()) {
            (None, _) => String::new(),
            (Some((_, id)), 0) => id.to_string(),
            (Some((_, id)), more) => format!("{id} and {more} more"),
        }
    }
}
