//! Accepts records of older versions for nodes without one of the current version.

use std::collections::BTreeMap;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::Coordinator;
use crate::contract::recipe::Recipe;
use crate::engine::EngineError;
use crate::engine::keys::KeyState;
use crate::store::{ForeignRecord, StoredRecord};

impl Coordinator<'_> {
    /// The record found, or an accepted older one.
    pub(super) fn or_accepted(
        &mut self,
        node: NodeIndex,
        found: KeyState,
    ) -> Result<KeyState, EngineError> {
        let KeyState::Nothing(recipe) = found else {
            return Ok(found);
        };
        Ok(match self.accept(node, &recipe)? {
            Some(record) => KeyState::Record(record),
            None => KeyState::Nothing(recipe),
        })
    }

    /// As [`Coordinator::or_accepted`], for a node that was keyed before: older records may have
    /// arrived from elsewhere since.
    pub(super) fn accepted_again(
        &mut self,
        node: NodeIndex,
    ) -> Result<Option<Arc<StoredRecord>>, EngineError> {
        match self.recipes.get(&node).cloned() {
            Some((_, recipe)) => self.accept(node, &recipe),
            None => Ok(None),
        }
    }

    fn accept(
        &mut self,
        node: NodeIndex,
        recipe: &Recipe,
    ) -> Result<Option<Arc<StoredRecord>>, EngineError> {
        if self.options.accepting.is_empty() || self.must_run(node) {
            return Ok(None);
        }
        self.lock_for_reuse()?;
        let Some(acceptable) = self.keys.accept(node, recipe, &BTreeMap::new())? else {
            return Ok(None);
        };
        // Its blobs need not be in the store: they are fetched when a consumer reads them.
        self.store.adopt(&[ForeignRecord {
            record: acceptable.record,
            signatures: Vec::new(),
        }])?;
        self.keys.find_again(node, &recipe.key())
    }
}
