//! What the other processes of a run have noted in their journals, taken into account.

use std::collections::HashMap;

use petgraph::graph::NodeIndex;

use super::{Coordinator, Failure};
use crate::cluster::Presence;
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::decide::State;
use crate::engine::event::Event;
use crate::fsx::lease::host_name;
use crate::quantity::count;

impl Coordinator<'_> {
    /// Takes an event of another process into account. What was noted before this process resumed the run
    /// (`is_earlier`) is shown only if it still holds.
    pub(super) fn peer_noted(
        &mut self,
        worker: Option<String>,
        what: Event,
        is_earlier: bool,
    ) -> Result<(), EngineError> {
        if let Some(name) = &worker {
            let is_start = matches!(what, Event::NodeStarted { .. });
            let state = self.peers.workers.entry(name.clone()).or_default();
            state.claimed |= is_start;
            // What was found dead and notes something was only suspended.
            if state.presence == Presence::Lost {
                state.presence = Presence::Here;
            }
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
                if !is_earlier {
                    self.look_for_death_before(node, worker.as_deref())?;
                }
                self.peers.busy.insert(node, worker.clone());
                if worker.as_ref().is_some_and(|name| self.is_near(name)) {
                    self.decide.has_data_of(node);
                }
                let Some(name) = worker.clone() else {
                    return Ok(());
                };
                let event = Event::NodeStarted {
                    id,
                    key,
                    threads,
                    why,
                    worker,
                };
                self.relay(name, event, is_earlier)
            }
            Event::NodeReused { id, .. } => {
                self.note_peer_key(&id);
                Ok(())
            }
            Event::NodeFinished { id, key, wall_s } => {
                let Some(node) = self.note_peer_key(&id) else {
                    return Ok(());
                };
                if !is_earlier {
                    self.peers.finished.insert(node, (key, wall_s));
                }
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
            Event::Machines { message } => match worker {
                Some(worker) => {
                    let message = format!("{worker}: {message}");
                    self.relay(worker, Event::Machines { message }, is_earlier)
                }
                None => Ok(()),
            },
            Event::NodeFailed { id, message, log } => {
                let Some(node) = self.note_peer_key(&id) else {
                    return Ok(());
                };
                self.peers.busy.remove(&node);
                self.peers.failed_there.insert(node);
                self.peer_failed(node, Failure { message, log });
                Ok(())
            }
            Event::DerivedMade { key, .. } if !self.is_worker() && !is_earlier => {
                self.derived.insert(key);
                self.emit(what)
            }
            Event::Warning { message } => match worker {
                Some(worker) => {
                    let message = format!("{worker}: {message}");
                    self.relay(worker, Event::Warning { message }, is_earlier)
                }
                None if self.is_worker() || is_earlier => Ok(()),
                None => self.emit(Event::Warning { message }),
            },
            Event::RunStarted {
                threads, device, ..
            } => match worker {
                Some(worker) => {
                    let threads = count(threads, "core");
                    let message = format!("worker {worker} has joined: {threads}, {device}");
                    self.relay(worker, Event::Machines { message }, is_earlier)
                }
                None => Ok(()),
            },
            Event::Summary(_) => self.peer_ended(worker.as_deref(), false),
            _ => Ok(()),
        }
    }

    /// Shows what a worker has noted, unless this process is a worker itself.
    fn relay(&mut self, worker: String, event: Event, is_earlier: bool) -> Result<(), EngineError> {
        match (self.is_worker(), is_earlier) {
            (true, _) => Ok(()),
            (false, true) => {
                self.peers.earlier.push((worker, event));
                Ok(())
            }
            (false, false) => self.emit(event),
        }
    }

    /// Shows what living workers noted before this process resumed their run, and what they run.
    pub(super) fn relay_what_goes_on(&mut self) -> Result<(), EngineError> {
        let earlier = std::mem::take(&mut self.peers.earlier);
        let mut here: HashMap<String, bool> = HashMap::new();
        for (worker, event) in earlier {
            let is_here = *here
                .entry(worker)
                .or_insert_with_key(|worker| self.peers.is_here(worker));
            let goes_on = match &event {
                Event::NodeStarted { id, worker, .. } => self.peers.is_at(id, worker.as_ref()),
                _ => true,
            };
            if is_here && goes_on {
                self.emit(event)?;
            }
        }
        Ok(())
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
