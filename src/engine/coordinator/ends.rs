//! How the other processes of a run end: with their journal, or without; and how a run that has failed
//! waits for what they run.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use petgraph::graph::NodeIndex;

use super::Coordinator;
use super::peers::LONGEST;
use crate::cluster::Presence;
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::engine::journal;
use crate::quantity::count;

/// The interval between two checks of which peers are alive.
const ALIVE: Duration = Duration::from_secs(5);
/// The number of living peers that one check looks at.
const CHECKED: usize = 2;
/// The interval in a process that has waited for a while, and checks one peer.
const ALIVE_IDLE: Duration = Duration::from_secs(10);

impl Coordinator<'_> {
    /// Takes what the others have noted into account at once, in a run that workers may have joined.
    pub(super) fn look_at_joined(&mut self) -> Result<(), EngineError> {
        match self.may_have_peers() {
            true => self.look_at_peers(),
            false => Ok(()),
        }
    }

    /// After a failure, a run ends with the last node that runs, wherever that is. A worker leaves with
    /// its own nodes.
    pub(super) fn await_peers(&mut self) -> Result<(), EngineError> {
        if !self.decide.has_failed() {
            return Ok(());
        }
        if self.is_worker() {
            return match std::mem::replace(&mut self.peers.is_awaited, true) {
                true => Ok(()),
                false => self.emit(Event::Machines {
                    message: "leaves: a node of the run has failed".to_string(),
                }),
            };
        }
        if !std::mem::replace(&mut self.peers.is_awaited, true) {
            self.emit_ended()?;
            self.look_at_joined()?;
            let others = self.peers.busy.len();
            if others > 0 {
                let message = format!(
                    "a node has failed: no node starts any more; waiting for {} that workers run",
                    count(others, "node"),
                );
                self.emit(Event::Machines { message })?;
            }
        }
        let runs = !self.peers.busy.is_empty();
        self.decide.set_runs_elsewhere(runs);
        Ok(())
    }

    /// Notes the end of a run whose first process may be dead, so that later workers do not join it.
    pub(super) fn note_over(&self) {
        let crew = self.store.runs().join(&self.peers.crew);
        let is_others = self.is_shared() && crew != self.journal.folder();
        let is_over = !self.decide.has_withdrawn() && !self.decide.interrupted();
        // Only later workers join it for nothing.
        if is_others
            && is_over
            && let Err(error) = journal::note_over(&crew)
        {
            tracing::debug!("{error}");
        }
    }

    /// Takes notice of peers that have died: a few peers at a time, in turn, and all that have died one
    /// after another.
    pub(super) fn look_for_deaths(&mut self) -> Result<(), EngineError> {
        let (every, most) = match self.peers.pause >= LONGEST {
            true => (ALIVE_IDLE, 1),
            false => (ALIVE, CHECKED),
        };
        if self.peers.checked.elapsed() < every {
            return Ok(());
        }
        self.peers.checked = Instant::now();
        let mut mortal: BTreeSet<Option<String>> = self.peers.busy.values().cloned().collect();
        if !self.is_worker() {
            mortal.extend(self.peers.here().map(|name| Some(name.to_string())));
        }
        let after = self.peers.last_checked.clone();
        let (earlier, later): (Vec<_>, Vec<_>) =
            mortal.into_iter().partition(|peer| *peer <= after);
        let turn = later.into_iter().chain(earlier);
        let (mut alive, mut died) = (0, false);
        for peer in turn {
            if alive == most {
                break;
            }
            self.peers.last_checked.clone_from(&peer);
            match self.peers.follower.has_died(peer.as_deref()) {
                true => {
                    died = true;
                    self.peer_ended(peer.as_deref(), true)?;
                }
                false => alive += 1,
            }
        }
        if died {
            self.check_held()?;
        }
        Ok(())
    }

    /// Another peer has started the node: the one that ran it before has lost its claim, and may be dead.
    pub(super) fn look_for_death_before(
        &mut self,
        node: NodeIndex,
        worker: Option<&str>,
    ) -> Result<(), EngineError> {
        match self.peers.busy.get(&node).cloned() {
            Some(before)
                if before.as_deref() != worker
                    && self.peers.follower.has_died(before.as_deref()) =>
            {
                self.peer_ended(before.as_deref(), true)
            }
            _ => Ok(()),
        }
    }

    /// A peer has ended: nodes that it has not finished are free.
    pub(super) fn peer_ended(
        &mut self,
        worker: Option<&str>,
        died: bool,
    ) -> Result<(), EngineError> {
        if let Some(name) = worker {
            let state = self.peers.workers.entry(name.to_string()).or_default();
            state.presence = match died {
                true => Presence::Lost,
                false => Presence::Left,
            };
        }
        let busy = self.peers.busy.iter();
        let of_peer = busy.filter(|(_, by)| by.as_deref() == worker);
        let nodes: Vec<NodeIndex> = of_peer.map(|(node, _)| *node).collect();
        for &node in &nodes {
            self.peers.busy.remove(&node);
            self.release(node);
        }
        match self.is_worker() {
            true => Ok(()),
            false => self.emit_end(worker, died, &nodes),
        }
    }

    /// Reports the end of a peer that ran `nodes`.
    fn emit_end(
        &mut self,
        worker: Option<&str>,
        died: bool,
        nodes: &[NodeIndex],
    ) -> Result<(), EngineError> {
        // It may have stored a result and not noted that.
        let nodes = nodes.iter().copied();
        let nodes: Vec<NodeIndex> = nodes
            .filter(|node| !self.decide.state(*node).ended())
            .collect();
        let name = match worker {
            Some(name) => format!("worker {name}"),
            None => "the first process of the run".to_string(),
        };
        let ended = if died { "died" } else { "left" };
        let Some(first) = nodes.first() else {
            return match died {
                true => {
                    let message = format!("{name} died while it waited for a node");
                    self.emit(Event::Warning { message })
                }
                false => Ok(()),
            };
        };
        let others = match nodes.len() {
            1 => String::new(),
            count => format!(" and {} others", count - 1),
        };
        let next = match self.decide.has_withdrawn() {
            true => "run it again with the same command",
            false => "another worker runs it again",
        };
        let id = &self.graph.dag[*first].id;
        let message = format!("{name} {ended} while it ran {id}{others}: {next}");
        self.emit(Event::Warning { message })?;
        for node in &nodes {
            if let Some((key, _)) = self.recipes.get(node) {
                let (id, key) = (self.graph.dag[*node].id.clone(), *key);
                self.emit(Event::NodeWaiting { id, key })?;
            }
        }
        Ok(())
    }
}
