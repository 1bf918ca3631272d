//! Looking for records at remotes before anything runs: all keys that are known at once, then
//! those that become known by what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::EngineError;
use super::accepting::Accepting;
use super::device;
use super::keys::Keys;
use super::why;
use crate::digest::Digest;
use crate::remote::Exchange;
use crate::remote::exchange::{Agreement, Asked, Refusal, Taken};
use crate::store::{Store, StoreError, StoredRecord};
use crate::workflow::graph::Graph;

/// What remotes have for a graph and the store does not.
#[derive(Debug, Default)]
pub struct Gathered {
    /// By key.
    pub taken: BTreeMap<Digest, Taken>,
    /// What was there and was not to be trusted.
    pub refused: Vec<Refusal>,
    /// How far several labs agree, by key.
    pub agreements: BTreeMap<Digest, Agreement>,
}

impl Gathered {
    /// Takes the records into `store`: from now on they are reused there.
    pub fn adopt(&self, store: &Store) -> Result<(), StoreError> {
        let outcomes = self.taken.values().flat_map(|taken| &taken.outcomes);
        store.adopt(&outcomes.cloned().collect::<Vec<_>>())
    }
}

/// Looks for a record of every node of `graph` that has none in `store`, or only one that has been
/// taken back. Writes nothing.
///
/// `device` is what `run` would be given: it enters the keys of a strict workflow. Records of older
/// versions that are accepted are looked for, too.
pub fn gather(
    graph: &Graph,
    store: &Store,
    device: &str,
    exchange: &Exchange,
    accepting: &Accepting,
) -> Result<Gathered, EngineError> {
    let class = device::class_named(device)?;
    let mut keys = Keys::new(graph, store, &class).accepting(accepting.clone());
    let mut gathered = Gathered::default();
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
            let taken = gathered.taken.get(&key).and_then(Taken::first);
            let found = match taken {
                Some(taken) => Some(Arc::new(taken)),
                None => keys.find(node, &key, recipe.clone())?.record(),
            };
            let stands = match &found {
                Some(found) => !store.is_taken_back(&key, &found.digest)?,
                None => false,
            };
            if !stands && !answered.contains(&key) {
                let comparison = graph.dag[node].kind.comparison();
                let older = accepting.older_keys(&recipe).into_iter();
                for key in older.chain([key]).filter(|key| !answered.contains(key)) {
                    asking.insert(key, Asked { key, comparison });
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
