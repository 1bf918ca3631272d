//! Looks for records at remotes before anything runs: first for all known keys, then for those that
//! become known from the records found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::EngineError;
use super::accepting::Accepting;
use super::device;
use super::keys::Keys;
use super::why;
use crate::digest::Digest;
use crate::remote::Exchange;
use crate::remote::exchange::{Agreement, RecordQuery, Refusal, TrustedOutcomes};
use crate::store::{Store, StoreError, StoredRecord};
use crate::workflow::graph::Graph;

/// Records for a graph that remotes have and the store does not.
#[derive(Debug, Default)]
pub struct RemoteRecords {
    /// By key.
    pub taken: BTreeMap<Digest, TrustedOutcomes>,
    /// Records that were found and can't be trusted.
    pub refused: Vec<Refusal>,
    /// The agreement between labs, by key.
    pub agreements: BTreeMap<Digest, Agreement>,
}

impl RemoteRecords {
    /// Adds the records to `store`, where they are reused from now on.
    pub fn adopt(&self, store: &Store) -> Result<(), StoreError> {
        let outcomes = self.taken.values().flat_map(|taken| &taken.outcomes);
        store.adopt(&outcomes.cloned().collect::<Vec<_>>())
    }
}

/// Looks for a record of every node of `graph` that has none in `store`, or only a revoked one.
/// Writes nothing.
///
/// `device` is the same as for `run`: it enters the keys of a strict workflow. Accepted records of
/// older versions are included.
pub fn gather(
    graph: &Graph,
    store: &Store,
    device: &str,
    exchange: &Exchange,
    accepting: &Accepting,
) -> Result<RemoteRecords, EngineError> {
    let class = device::class_named(device)?;
    let mut keys = Keys::new(graph, store, &class).accepting(accepting.clone());
    let mut gathered = RemoteRecords::default();
    let mut answered = BTreeSet::new();
    loop {
        let mut asking = BTreeMap::new();
        for &node in &graph.order {
            let known = keys.record(node).is_some();
            if known || !why::without_record(graph, &keys, node).is_empty() {
                continue;
            }
            let Ok(recipe) = keys.recipe(node) else {
                continue;
            };
            let key = recipe.key();
            let taken = gathered.taken.get(&key).and_then(TrustedOutcomes::first);
            let found = match taken {
                Some(taken) => Some(Arc::new(taken)),
                None => keys.find(node, &key, recipe.clone())?.record(),
            };
            let stands = match &found {
                Some(found) => !store.is_revoked(&key, &found.digest)?,
                None => false,
            };
            if !stands && !answered.contains(&key) {
                let comparison = graph.dag[node].kind.comparison();
                let older = accepting.older_keys(&recipe).into_iter();
                for key in older.chain([key]).filter(|key| !answered.contains(key)) {
                    asking.insert(key, RecordQuery { key, comparison });
                }
            } else if let Some(record) = found {
                keys.set_record(node, record);
            } else if let Some(found) = keys.accept(node, &recipe, &gathered.taken)? {
                keys.set_record(node, Arc::new(StoredRecord::of(found.record)));
            }
        }
        if asking.is_empty() {
            break;
        }
        let found = exchange.look_up(&asking.values().copied().collect::<Vec<_>>());
        answered.extend(asking.into_keys());
        gathered.refused.extend(found.refused);
        gathered.agreements.extend(found.agreements);
        gathered.taken.extend(found.taken);
    }
    keys.save();
    Ok(gathered)
}
