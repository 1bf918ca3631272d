//! Looks up nodes at remotes whose key becomes known only during the run, before they execute. A
//! task of its own does this, so that a slow remote does not delay anything else.

use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::{Coordinator, Message};
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::remote::exchange::RecordQuery;

impl Coordinator<'_> {
    /// Starts a lookup of a node's record at remotes, unless it is known to be futile.
    pub(super) fn start_lookup(&mut self, node: NodeIndex, key: Digest) -> bool {
        let Some(exchange) = &self.options.exchange else {
            return false;
        };
        if self.must_run(node) {
            return false;
        }
        let mut keys = vec![key];
        if let Some((_, recipe)) = self.recipes.get(&node) {
            keys.extend(self.options.accepting.older_keys(recipe));
        }
        keys.retain(|key| !exchange.is_absent(key));
        if keys.is_empty() {
            return false;
        }
        let exchange = Arc::clone(exchange);
        let store = Arc::clone(self.store);
        let outbox = self.outbox.clone();
        let comparison = self.graph.dag[node].kind.comparison();
        let asked: Vec<RecordQuery> = keys
            .into_iter()
            .map(|key| RecordQuery { key, comparison })
            .collect();
        self.jobs.spawn_blocking(move || {
            // A record that can't be stored is computed instead.
            if let Err(error) = exchange.bring(&store, &asked) {
                tracing::warn!("a record from a remote could not be kept: {error}");
            }
            let _ = outbox.send(Message::LookupEnded(node));
        });
        true
    }

    /// A lookup at remotes has ended: if the node's record is now in the store it is reused,
    /// otherwise the node executes.
    pub(super) fn lookup_ended(&mut self, node: NodeIndex) -> Result<(), EngineError> {
        while self.jobs.try_join_next().is_some() {}
        self.emit_complaints()?;
        let Some((claim, threads)) = self.lookups.remove(&node) else {
            return Ok(());
        };
        let Some(key) = self.recipes.get(&node).map(|(key, _)| *key) else {
            return self.failed(node, "it was started before it was keyed".to_string());
        };
        if self.take_record(node, &key)? {
            return Ok(());
        }
        if self.decide.interrupted() {
            self.decide.cancelled(node);
            return Ok(());
        }
        self.begin(node, claim, threads)
    }

    /// Reports new problems with remotes.
    pub(super) fn emit_complaints(&mut self) -> Result<(), EngineError> {
        let Some(exchange) = self.options.exchange.clone() else {
            return Ok(());
        };
        for message in exchange.complaints() {
            self.emit(Event::Warning { message })?;
        }
        Ok(())
    }
}
