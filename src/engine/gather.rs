//! Looking for records at remotes before anything runs: all keys that are known at once, then
//! those that become known by what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::EngineError;
use super::device;
use super::keys::Keys;
use super::why;
use crate::digest::Digest;
use crate::remote::Exchange;
use crate::remote::exchange::{Asked, Refusal, Taken};
use crate::store::{Store, StoreError};
use crate::workflow::graph::Graph;

/// What remotes have for a graph and the store does not.
#[derive(Debug, Default)]
pub struct Gathered {
    /// By key.
    pub taken: BTreeMap<Digest, Taken>,
    /// What was there and was not to be trusted.
    pub refused: Vec<Refusal>,
}

impl Gathered {
    /// Takes the records into `store`: from now on they are reused there.
    pub fn adopt(&self, store: &Store) -> Result<(), StoreError> {
        let outcomes = self.taken.values().flat_map(|taken| &taken.outcomes);
        store.adopt(&outcomes.cloned().collect::<Vec<_>>())
    }
}

/// Looks for a record of every node of `graph` that has none in `store`. Writes nothing.
///
/// `device` is what `run` would be given: it enters the keys of a strict workflow.
pub fn gather(
    graph: &Graph,
    store: &Store,
    device: &str,
    exchange: &Exchange,
) -> Result<Gathered, EngineError> {
    let class = device::class_named(device)?;
    let mut keys = Keys::new(graph, store, &class);
    let mut gathered = Gathered::default();
    let mut asked = BTreeSet::new();
    loop {
        let mut asking = Vec::new();
        for &node in &graph.order {
            let known = keys.record(node).is_some();
            if known || !why::without_record(graph, &keys, node).is_empty() {
                continue;
            }
            let Ok(recipe) = keys.recipe(node) else {
                continue;
            };
            let key = recipe.key();
            let found = match gathered.taken.get(&key) {
                Some(taken) => taken.first().map(Arc::new),
                None => keys.find(node, &key, recipe)?.record(),
            };
            match found {
                Some(record) => keys.set_record(node, record),
                None if asked.insert(key) => asking.push(Asked {
                    key,
                    comparison: graph.dag[node].kind.comparison(),
                }),
                None => {}
            }
        }
        if asking.is_empty() {
            break;
        }
        let found = exchange.look_up(&asking);
        gathered.refused.extend(found.refused);
        if found.taken.is_empty() {
            break;
        }
        gathered.taken.extend(found.taken);
    }
    keys.save();
    Ok(gathered)
}
