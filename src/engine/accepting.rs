//! Which older versions of kinds a run accepts. Plain data: `accept` finds the records.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use crate::contract::recipe::Recipe;
use crate::digest::Digest;
use crate::store::{Record, StoredRecord};

/// Which older versions of kinds are accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepting {
    versions: BTreeMap<String, BTreeSet<u32>>,
    /// The accepted records; `None`: all.
    only: Option<Arc<HashSet<Digest>>>,
}

impl Accepting {
    /// Also accepts `version` of `kind`.
    pub fn add(&mut self, kind: &str, version: u32) {
        let versions = self.versions.entry(kind.to_string()).or_default();
        versions.insert(version);
    }

    /// Restricts acceptance to these records.
    pub fn only(self, records: HashSet<Digest>) -> Self {
        Self {
            only: Some(Arc::new(records)),
            ..self
        }
    }

    pub fn is_empty(&self) -> bool {
        self.versions.is_empty()
    }

    /// The accepted versions of `kind`, newest first.
    pub fn versions_of(&self, kind: &str) -> impl Iterator<Item = u32> {
        let versions = self.versions.get(kind).into_iter().flatten();
        versions.rev().copied()
    }

    /// The keys of this recipe under the accepted versions.
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
    /// The record under the current version.
    pub record: Record,
    /// Whether the older record is in the store; otherwise it is at a remote.
    pub is_here: bool,
}
