//! Finds records of older versions of a kind that are accepted, and converts them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::EngineError;
use super::accepting::{Acceptable, Accepting};
use super::device;
use super::keys::Keys;
use super::why;
use crate::store::{Store, StoredRecord};
use crate::workflow::graph::Graph;

/// The nodes of `graph` that have no record of the current version and an accepted one of an older
/// version, producers first. Writes nothing but the stat cache.
pub fn acceptable(
    graph: &Graph,
    store: &Store,
    device: &str,
    accepting: &Accepting,
) -> Result<Vec<Acceptable>, EngineError> {
    let class = device::class_named(device)?;
    let mut keys = Keys::new(graph, store, &class).accepting(accepting.clone());
    let mut found = Vec::new();
    for &node in &graph.order {
        if !why::without_record(graph, &keys, node).is_empty() {
            continue;
        }
        // A node that can't be keyed here has no older key either.
        let Ok(recipe) = keys.recipe(node) else {
            continue;
        };
        let key = recipe.key();
        if let Some(record) = keys.find(node, &key, recipe.clone())?.record() {
            keys.set_record(node, record);
            continue;
        }
        if let Some(acceptable) = keys.accept(node, &recipe, &BTreeMap::new())? {
            let record = acceptable.record.clone();
            keys.set_record(node, Arc::new(StoredRecord::of(record)));
            found.push(acceptable);
        }
    }
    keys.save();
    Ok(found)
}
