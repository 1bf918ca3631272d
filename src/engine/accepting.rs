//! Which older versions of kinds a run accepts. Plain data: `accept` finds their records.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use crate::digest::Digest;
use crate::store::{Record, StoredRecord};
use crate::workflow::recipe::Recipe;

/// Which older versions of kinds are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepting {
    versions: BTreeMap<String, BTreeSet<u32>>,
    /// The records that may be taken; `None`: any.
    only: Option<Arc<HashSet<Digest>>>,
}

impl Accepting {
    /// Accepts `version` of `kind`, too.
    pub fn add(&mut self, kind: &str, version: u32) {
        let versions = self.versions.entry(kind.to_string()).or_default();
        versions.insert(version);
    }

    /// The same, of these records only.
    pub fn only(self, records: HashSet<Digest>) -> Self {
        Self {
            only: Some(Arc::new(records)),
            ..self
        }
    }

    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The accepted versions of `kind`, the newest first.
    pub fn versions_of(&self, kind: &str) -> impl Iterator<Item = u32> {
        let versions = self.versions.get(kind).into_iter().flatten();
        versions.rev().copied()
    }

    /// The keys that a node of this recipe would have by the accepted versions.
    pub fn older_keys(&self, recipe: &Recipe) -> Vec<Digest> {
        let versions = self.versions_of(&recipe.kind);
        versions
            .map(|version| recipe.of_version(version).key())
            .collect()
    }

    pub fn takes(&self, record: &Digest) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(record))
    }
}

/// A record that can be accepted.
#[derive(Clone, Debug)]
pub struct Acceptable {
    pub node: NodeIndex,
    /// The record of the older version.
    pub older: StoredRecord,
    /// What it becomes.
    pub record: Record,
    /// Whether the older one is in the store; else a remote has it.
    pub is_here: bool,
}
