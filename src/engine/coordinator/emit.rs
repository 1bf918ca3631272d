//! Emits events: each goes to the journal and to the listener.

use petgraph::graph::NodeIndex;

use super::Coordinator;
use crate::engine::EngineError;
use crate::engine::decide::{Skip, State};
use crate::engine::event::Event;

impl Coordinator<'_> {
    pub(super) fn emit(&mut self, event: Event) -> Result<(), EngineError> {
        if self.is_noted(&event) {
            self.peers.has_news |= !matches!(event, Event::NodeProgress { .. });
            self.journal.note(&event)?;
        }
        // There may be no listener.
        let _ = self.events.send(event);
        Ok(())
    }

    /// Reports the nodes that have ended since the last call.
    pub(super) fn emit_ended(&mut self) -> Result<(), EngineError> {
        while let Some(node) = self.decide.next_ended() {
            let id = self.graph.dag[node].id.clone();
            match self.decide.state(node) {
                State::Done { ran } => self.emit_done(node, id, ran)?,
                State::Failed => self.emit_failed(node, id)?,
                State::Skipped(skip) => {
                    let why = self.why_skipped(skip);
                    self.emit(Event::NodeSkipped { id, why })?;
                }
                // It ended and was reopened at once.
                _ => {}
            }
        }
        Ok(())
    }

    fn emit_done(&mut self, node: NodeIndex, id: String, ran: bool) -> Result<(), EngineError> {
        let first = self.decide.stands_for(node);
        if first != node
            && !ran
            && let State::Done { .. } = self.decide.state(first)
            && let Some(record) = self.keys.record(first).cloned()
        {
            self.set_record(node, record)?;
        }
        let Some(record) = self.keys.record(node) else {
            return Ok(());
        };
        let key = record.record.key;
        self.recipes.remove(&node);
        self.emit(match ran {
            true => Event::NodeFinished {
                id,
                key,
                wall_s: self.walls.get(&node).copied().unwrap_or_default(),
            },
            false => Event::NodeReused { id, key },
        })
    }

    fn emit_failed(&mut self, node: NodeIndex, id: String) -> Result<(), EngineError> {
        let first = self.decide.stands_for(node);
        let (message, log) = match self.failures.get(&node) {
            Some(failure) => (failure.message.clone(), failure.log.clone()),
            None => {
                let equal = &self.graph.dag[first].id;
                (format!("it is equal to `{equal}`, which failed"), None)
            }
        };
        self.emit(Event::NodeFailed { id, message, log })
    }

    fn why_skipped(&self, skip: Skip) -> String {
        match skip {
            Skip::Ancestor(cause) => format!("`{}` failed", self.graph.dag[cause].id),
            Skip::Failure => "another node failed".to_string(),
            Skip::Interrupted => "interrupted".to_string(),
            Skip::Left => "left to other workers".to_string(),
            Skip::Limit => {
                let limit = self.options.limit.unwrap_or_default();
                format!("the limit of {limit} started nodes was reached")
            }
        }
    }
}
