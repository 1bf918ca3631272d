//! The other processes of a run: what their journals say is taken into account before it is asked of
//! the store. A node that another one has started is not claimed, and a result that another one has
//! noted is looked up at once. The store has the last word: a peer that dies, or whose journal is
//! late, costs time only.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use petgraph::graph::NodeIndex;

use super::{Coordinator, Failure, RunOptions};
use crate::cluster::Presence;
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::decide::State;
use crate::engine::event::Event;
use crate::engine::join::{self, Role};
use crate::engine::journal::{self, Bell, Follower, Journal, Noted};
use crate::store::Store;
use crate::workflow::graph::Graph;

/// The shortest interval between two looks at what others do.
const SHORTEST: Duration = Duration::from_millis(50);
/// The longest interval between two looks at the bell.
pub(super) const LONGEST: Duration = Duration::from_secs(2);
/// The longest interval between two looks at all journals, even if the bell has not rung.
const ALL: Duration = Duration::from_secs(60);
/// The interval in a process that has nodes to run.
const BUSY: Duration = Duration::from_millis(500);
/// The number of nodes left to others whose record one look searches.
const LOOKED_UP: usize = 2;

/// What is known of the other processes.
pub(super) struct Peers {
    /// The run whose folder has the journals of all workers.
    pub crew: String,
    pub follower: Follower,
    /// Nodes by id.
    pub ids: HashMap<String, NodeIndex>,
    /// Nodes that a peer runs.
    pub busy: HashMap<NodeIndex, Option<String>>,
    /// Nodes that this process leaves to others.
    pub left: HashSet<NodeIndex>,
    /// Nodes whose keys a peer has noted.
    pub noted: HashSet<NodeIndex>,
    /// Nodes that a worker has run for this run while this process took part, with the key and the seconds.
    pub finished: HashMap<NodeIndex, (Digest, f64)>,
    /// Nodes that have failed in another process.
    pub failed_there: HashSet<NodeIndex>,
    /// The number of workers that had joined when this process last said how to start one.
    pub invited: usize,
    /// Nodes that failed elsewhere and have no key here yet.
    pub failed: HashMap<NodeIndex, Failure>,
    /// What this worker lacks, as reported.
    pub lacking: HashSet<String>,
    /// When this process last had a node in flight.
    pub worked: Instant,
    /// What workers noted before this process resumed their run, each with the name of its worker.
    pub earlier: Vec<(String, Event)>,
    /// What each worker has done, by name.
    pub workers: BTreeMap<String, PeerState>,
    bell: Bell,
    /// This process has noted something that others may wait for.
    pub has_news: bool,
    /// When a local run last looked for a bell.
    looked_for_bell: Option<Instant>,
    looked_at_all: Instant,
    pub pause: Duration,
    looked: Instant,
    /// Whether something was new since the last look.
    news: bool,
    /// The run has failed, and awaits the nodes that workers run.
    pub is_awaited: bool,
    pub checked: Instant,
    /// The peer that was checked last.
    pub last_checked: Option<String>,
    /// Where the search for records of nodes left to others goes on.
    next: usize,
}

/// A worker of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PeerState {
    /// It has started a node.
    pub claimed: bool,
    /// It runs on the machine of this process.
    pub is_near: bool,
    pub presence: Presence,
}

impl Peers {
    pub fn new(
        store: &Store,
        graph: &Graph,
        journal: &Journal,
        options: &RunOptions,
    ) -> Result<Self, EngineError> {
        let crew = match options.role {
            Role::Coordinator => match options.invitation(graph)? {
                Some(invitation) => join::resumable(store, journal.id(), &invitation)?,
                None => None,
            },
            Role::Local | Role::Worker(_) => None,
        };
        let crew = match crew {
            Some(crew) => {
                journal.serves_with(&crew)?;
                crew
            }
            None => journal.id().to_string(),
        };
        let shared = !matches!(options.role, Role::Local);
        // A run that nobody has joined knows no node by its id.
        let ids = match shared {
            true => ids(graph),
            false => HashMap::new(),
        };
        Ok(Self {
            follower: Follower::new(store.locks(), store.runs().join(&crew), journal.folder()),
            ids,
            busy: HashMap::new(),
            left: HashSet::new(),
            noted: HashSet::new(),
            finished: HashMap::new(),
            failed_there: HashSet::new(),
            invited: 0,
            failed: HashMap::new(),
            lacking: HashSet::new(),
            worked: Instant::now(),
            earlier: Vec::new(),
            workers: BTreeMap::new(),
            bell: Bell::of(&store.runs().join(&crew), store.locks()),
            crew,
            has_news: true,
            looked_for_bell: None,
            looked_at_all: Instant::now(),
            pause: SHORTEST,
            looked: Instant::now(),
            news: false,
            is_awaited: false,
            checked: Instant::now(),
            last_checked: None,
            next: 0,
        })
    }

    /// When to look again.
    pub fn next_look(&self) -> Instant {
        self.looked + self.pause
    }

    /// Takes only the ends of nodes into account that the others have noted since the last look.
    pub fn look_for_ends(&mut self) {
        for Noted { what, .. } in self.follower.look() {
            if let Event::NodeFinished { id, key, wall_s } = what
                && let Some(node) = self.node(&id)
            {
                self.finished.insert(node, (key, wall_s));
            }
        }
    }

    /// Whether a worker of this run has made, or is making, the record of `key` for `node`.
    pub fn has_made(&self, node: NodeIndex, key: &Digest) -> bool {
        self.runs(node) || matches!(self.finished.get(&node), Some((made, _)) if made == key)
    }

    /// Whether a peer is known to run the node.
    pub fn runs(&self, node: NodeIndex) -> bool {
        self.busy.contains_key(&node)
    }

    /// The node `id` of a shared run.
    pub fn node(&self, id: &str) -> Option<NodeIndex> {
        self.ids.get(id).copied()
    }

    /// Whether peers are known to run nodes.
    pub fn any_busy(&self) -> bool {
        !self.busy.is_empty()
    }

    /// The names of the workers that are not known to have left or died.
    pub fn here(&self) -> impl Iterator<Item = &str> {
        let workers = self.workers.iter();
        let here = workers.filter(|(_, worker)| worker.presence == Presence::Here);
        here.map(|(name, _)| name.as_str())
    }

    /// Whether any worker has joined, and is not known to have left or died.
    pub fn has_workers(&self) -> bool {
        self.here().next().is_some()
    }

    /// Whether a worker has neither left nor died.
    pub fn is_here(&self, worker: &str) -> bool {
        let state = self.workers.get(worker);
        state.is_some_and(|state| state.presence == Presence::Here)
            && !self.follower.is_dead(Some(worker))
    }

    /// Whether the node `id` is known to run in `worker`.
    pub fn is_at(&self, id: &str, worker: Option<&String>) -> bool {
        let by = self.node(id).and_then(|node| self.busy.get(&node));
        by.is_some_and(|by| by.as_ref() == worker)
    }

    /// Whether a peer has noted the key of the node `id`.
    pub fn is_known(&self, id: &str) -> bool {
        let node = self.ids.get(id);
        node.is_some_and(|node| self.noted.contains(node))
    }

    /// A process with work of its own need not know at once what the others do.
    fn adapt_pause(&mut self, shared: bool, is_busy: bool) {
        self.looked = Instant::now();
        let longest = match self.follower.living() {
            0 if !shared => SHORTEST,
            _ => LONGEST,
        };
        self.pause = match (std::mem::take(&mut self.news), shared && is_busy) {
            (_, true) => BUSY,
            (true, false) => SHORTEST,
            (false, false) => (self.pause * 2).min(longest),
        };
    }
}

fn ids(graph: &Graph) -> HashMap<String, NodeIndex> {
    let all = graph.dag.node_indices();
    all.map(|node| (graph.dag[node].id.clone(), node)).collect()
}

impl Coordinator<'_> {
    /// Whether other processes take part in the run by design.
    pub(super) fn is_shared(&self) -> bool {
        !matches!(self.options.role, Role::Local)
    }

    /// Whether a worker may have joined the run.
    pub(super) fn may_have_peers(&self) -> bool {
        self.is_shared() || (self.options.invites.is_some() && self.plan_due.is_none())
    }

    /// Looks at what the others do, and at nodes that they hold.
    pub(super) fn look_around(&mut self) -> Result<(), EngineError> {
        let (shared, is_busy) = (self.is_shared(), !self.decide.is_idle());
        let is_due = self.peers.looked_at_all.elapsed() >= ALL;
        if self.peers.bell.has_rung() || is_busy || !shared || is_due {
            self.look_at_peers()?;
            self.check_held()?;
        }
        self.look_for_deaths()?;
        self.invite_again()?;
        self.peers.adapt_pause(shared, is_busy);
        Ok(())
    }

    /// Takes what the others have noted into account.
    pub(super) fn look_at_peers(&mut self) -> Result<(), EngineError> {
        self.peers.looked_at_all = Instant::now();
        if self.is_shared() {
            self.journal.check_presence()?;
        }
        let noted = self.peers.follower.look();
        if !noted.is_empty() && self.peers.ids.is_empty() {
            self.peers.ids = ids(self.graph);
        }
        self.peers.news |= !noted.is_empty();
        let resumes = self.peers.crew != self.journal.id();
        for Noted {
            worker,
            what,
            is_old,
        } in noted
        {
            self.peer_noted(worker, what, is_old && resumes)?;
        }
        self.relay_what_goes_on()?;
        self.heed_stop()
    }

    /// Workers leave a run that is stopped; another coordinator of it has nothing to wait for.
    fn heed_stop(&mut self) -> Result<(), EngineError> {
        if !self.is_shared() || !journal::is_stopped(self.store, &self.peers.crew) {
            return Ok(());
        }
        if self.is_worker() {
            self.withdraw("the run is stopped")?;
        } else if !self.decide.interrupted() {
            let message = "another process has stopped the run".to_string();
            self.emit(Event::Warning { message })?;
            self.interrupt()?;
        }
        Ok(())
    }

    /// Lets the others know that something is new here.
    pub(super) fn ring(&mut self) {
        if !self.peers.has_news || !self.may_have_peers() || self.looks_for_bell_later() {
            return;
        }
        self.peers.has_news = false;
        if self.has_listeners()
            && let Err(error) = self.peers.bell.ring()
        {
            tracing::debug!("the bell of the run can't be rung: {error}");
        }
    }

    /// When a local run with news looks for a bell again.
    pub(super) fn bell_due(&self) -> Option<Instant> {
        let looked = self.peers.looked_for_bell.filter(|_| self.peers.has_news)?;
        Some(looked + BUSY)
    }

    fn looks_for_bell_later(&self) -> bool {
        let is_due = self.bell_due().is_none_or(|due| Instant::now() >= due);
        !self.is_shared() && !self.peers.bell.is_open() && !is_due
    }

    /// Whether another process may wait for news. A worker that joins a run rings before it reads the
    /// journals, so a local run that finds no bell after it has written its news has none.
    fn has_listeners(&mut self) -> bool {
        if self.is_shared() {
            return true;
        }
        self.peers.looked_for_bell = Some(Instant::now());
        self.peers.bell.is_there()
    }

    /// A node that was held may be started here, unless it is left to others.
    pub(super) fn release(&mut self, node: NodeIndex) {
        if self.decide.state(node) == State::Held && !self.peers.left.contains(&node) {
            self.decide.released(node);
        }
    }

    /// Checks whether nodes that another process holds now have a record or can be claimed.
    pub(super) fn check_held(&mut self) -> Result<(), EngineError> {
        let held: Vec<NodeIndex> = self
            .decide
            .all_held()
            .filter(|node| !self.peers.busy.contains_key(node))
            .collect();
        let (left, held): (Vec<NodeIndex>, Vec<NodeIndex>) = held
            .into_iter()
            .partition(|node| self.peers.left.contains(node));
        for node in held {
            let Some(key) = self.recipes.get(&node).map(|(key, _)| *key) else {
                continue;
            };
            if !self.take_record(node, &key)? && self.store.claim(&key)?.is_some() {
                self.decide.released(node);
            }
        }
        // Other runs may make their records, too. There may be many: a few at a time.
        for offset in 0..LOOKED_UP.min(left.len()) {
            let node = left[(self.peers.next + offset) % left.len()];
            if let Some(key) = self.recipes.get(&node).map(|(key, _)| *key) {
                self.take_record(node, &key)?;
            }
        }
        self.peers.next = self.peers.next.wrapping_add(LOOKED_UP);
        Ok(())
    }
}
