//! What the other processes of a run have noted in their journals, taken into account.

use petgraph::graph::NodeIndex;

use super::{Coordinator, Failure};
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::decide::State;
use crate::engine::event::Event;
use crate::fsx::lease::host_name;
use crate::quantity::count;

impl Coordinator<'_> {
    pub(super) fn peer_noted(
        &mut self,
        worker: Option<String>,
        what: Event,
    ) -> Result<(), EngineError> {
        if let Some(name) = &worker {
            let is_start = matches!(what, Event::NodeStarted { .. });
            let state = self.peers.workers.entry(name.clone()).or_default();
            state.claimed |= is_start;
            if let Event::RunStarted { host, .. } = &what {
                state.is_near = *host == Some(host_name());
            }
        }
        match what {
            Event::NodeStarted {
                id,
                key,
                threads,
                why,
                worker: None,
            } => {
                let Some(node) = self.note_peer_key(&id) else {
                    return Ok(());
                };
                self.peers.busy.insert(node, worker.clone());
                if worker.as_ref().is_some_and(|name| self.is_near(name)) {
                    self.decide.has_data_of(node);
                }
                if self.is_worker() || worker.is_none() {
                    return Ok(());
                }
                self.emit(Event::NodeStarted {
                    id,
                    key,
                    threads,
                    why,
                    worker,
                })
            }
            Event::NodeReused { id, .. } => {
                self.note_peer_key(&id);
                Ok(())
            }
            Event::NodeFinished { id, key, wall_s } => {
                let Some(node) = self.note_peer_key(&id) else {
                    return Ok(());
                };
                self.peers.busy.remove(&node);
                self.peer_finished(node, key, wall_s)
            }
            // The process that began the run knows that the one that ran it has ended.
            Event::NodeWaiting { id, .. } if worker.is_none() => {
                let Some(node) = self.note_peer_key(&id) else {
                    return Ok(());
                };
                self.peers.busy.remove(&node);
                self.release(node);
                Ok(())
            }
            Event::Machines { message } if !self.is_worker() => match worker {
                Some(worker) => {
                    let message = format!("{worker}: {message}");
                    self.emit(Event::Machines { message })
                }
                None => Ok(()),
            },
            Event::NodeFailed { id, message, log } => {
                let Some(node) = self.note_peer_key(&id) else {
                    return Ok(());
                };
                self.peers.busy.remove(&node);
                self.peer_failed(node, Failure { message, log });
                Ok(())
            }
            Event::DerivedMade { key, .. } if !self.is_worker() => {
                self.derived.insert(key);
                self.emit(what)
            }
            Event::Warning { message } if !self.is_worker() => {
                let message = match &worker {
                    Some(worker) => format!("{worker}: {message}"),
                    None => message,
                };
                self.emit(Event::Warning { message })
            }
            Event::RunStarted {
                threads, device, ..
            } if !self.is_worker() => match worker {
                Some(worker) => {
                    let threads = count(threads, "core");
                    let message = format!("worker {worker} has joined: {threads}, {device}");
                    self.emit(Event::Machines { message })
                }
                None => Ok(()),
            },
            Event::Summary(_) => self.peer_ended(worker.as_deref(), false),
            _ => Ok(()),
        }
    }

    /// Whether a worker runs on the machine of this process.
    fn is_near(&self, worker: &str) -> bool {
        let state = self.peers.workers.get(worker);
        state.is_some_and(|state| state.is_near)
    }

    /// The node of a key that a peer has noted.
    fn note_peer_key(&mut self, id: &str) -> Option<NodeIndex> {
        let node = self.peers.ids.get(id).copied()?;
        self.peers.noted.insert(node);
        Some(node)
    }

    fn peer_finished(
        &mut self,
        node: NodeIndex,
        key: Digest,
        wall_s: f64,
    ) -> Result<(), EngineError> {
        if !matches!(self.decide.state(node), State::Held | State::Ready) {
            // Its record is found when it is keyed.
            return Ok(());
        }
        let own = self.recipes.get(&node).map(|(key, _)| *key);
        if self.is_worker() && own == Some(key) && !self.decide.is_needed(node) {
            // Nothing here takes anything from it.
            self.decide.found(node);
            return Ok(());
        }
        self.lock_for_reuse()?;
        let found = match own == Some(key) && !self.must_run(node) {
            true => self.keys.find_again(node, &key)?,
            false => None,
        };
        match found {
            Some(record) => {
                self.set_record(node, record)?;
                self.walls.insert(node, wall_s);
                match self.is_worker() {
                    true => self.decide.found(node),
                    false => self.decide.ran_elsewhere(node),
                }
            }
            // Not visible here yet, or its record is not used: ask the store again.
            None => self.release(node),
        }
        Ok(())
    }

    fn peer_failed(&mut self, node: NodeIndex, failure: Failure) {
        match self.decide.state(node) {
            State::Held | State::Ready => {
                self.failures.insert(node, failure);
                self.decide.failed_elsewhere(node);
            }
            State::Blocked | State::Open | State::Twin(_) => {
                self.peers.failed.insert(node, failure);
            }
            _ => {}
        }
    }
}
