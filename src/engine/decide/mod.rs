//! Decides what happens next in a run: a pure state machine over the nodes of a graph.
//!
//! The driver reports observations (a key, a record, an outcome, an interrupt) and receives
//! [`Step`]s. This module knows no store, process or clock, so a coordinator, a pilot on another
//! machine or a test can drive it. Equal observations in equal order give equal decisions.
//!
//! ```text
//!            inputs done        keyed          cores free       outcome          record written
//!  Blocked ─────────────▶ Open ───────▶ Ready ───────────▶ Running ──────▶ Publishing ─────────▶ Done
//!     ▲                    │ ├─▶ Twin ────────(equal node ends)─────────────────────────────────▶│
//!     │                    │ └─────────────────────(record found)──────────────────────────────▶ │
//!     │                    └─▶ Failed                 │  ▲                                       │
//!     │                              ▲  ◀──(failed)───┘  └─(released)── Held ──(record found)──▶ │
//!     └────────────────────────── an input's blob is lost: its node leaves Done and runs again ◀─┘
//! ```
//!
//! Nodes that have not ended when nothing more can happen end as Skipped.

mod capacity;
mod placement;
mod set;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};

use petgraph::graph::NodeIndex;

use crate::digest::Digest;
use crate::workflow::graph::Graph;
use capacity::Usage;
pub use capacity::{Capacity, Demand};
use placement::Placement;

/// The state of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Some input is not done.
    Blocked,
    /// Every input is done: its key can be computed.
    Open,
    /// It has the key of another node that has not ended, and ends the same way.
    Twin(NodeIndex),
    /// Its key has no record: it starts as soon as resources are free.
    Ready,
    /// Another process holds its claim.
    Held,
    /// It executes on this many cores (0: a tiny node, which is not counted).
    Running {
        cores: usize,
    },
    /// It has executed; its record is being written.
    Publishing,
    /// It has a record: made by this run, or reused.
    Done {
        ran: bool,
    },
    Failed,
    Skipped(Skip),
}

impl State {
    /// Whether the state is final, unless an output is lost later.
    pub fn ended(self) -> bool {
        matches!(self, State::Done { .. } | State::Failed | State::Skipped(_))
    }

    fn in_flight(self) -> bool {
        matches!(self, State::Running { .. } | State::Publishing)
    }
}

/// Why a node was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// This ancestor failed.
    Ancestor(NodeIndex),
    /// Another node failed, and the run stops at failures.
    Failure,
    Limit,
    Interrupted,
    /// This process leaves the run to others.
    Left,
}

/// The next action of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Compute the node's key, look up its record, and call [`Decide::keyed`].
    Key(NodeIndex),
    /// Execute the node on this many cores; it counts as running from now on.
    Start { node: NodeIndex, threads: usize },
    /// Wait for an observation.
    Wait,
    /// Every node has ended.
    Over,
}

/// The driver's observation about a node's key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keyed {
    /// It has a record.
    Found,
    /// Another process of this run has made its record.
    RanElsewhere,
    /// It must run.
    ToRun(Demand),
}

/// The nodes and their order.
#[derive(Clone, Debug, Default)]
pub struct Dependencies {
    /// Producers before consumers; also the order of nodes with equal rank.
    pub order: Vec<NodeIndex>,
    /// By node index: the producers of its inputs.
    pub needs: Vec<Vec<NodeIndex>>,
    /// By node index: the expected duration in seconds. Empty: the same for all.
    pub seconds: Vec<f64>,
    /// By node index: the nodes that make the data that it reads. Of equally urgent nodes, those come
    /// first whose data this machine has. Empty: all machines have all data.
    pub data: Vec<Vec<NodeIndex>>,
}

impl Dependencies {
    pub fn of(graph: &Graph) -> Self {
        let needs = graph.dag.node_weights().map(|node| {
            let mut needs: Vec<NodeIndex> = node
                .inputs
                .iter()
                .flat_map(|input| input.members.iter().map(|member| member.node))
                .collect();
            needs.sort();
            needs.dedup();
            needs
        });
        Self {
            needs: needs.collect(),
            order: graph.order.clone(),
            seconds: Vec::new(),
            data: Vec::new(),
        }
    }

    /// In units of which the shortest duration is one.
    fn weight(&self, node: NodeIndex) -> u64 {
        /// A thousandth of a second, and a duration that no node reaches.
        const UNITS: std::ops::Range<f64> = 1.0..1e12;
        let seconds = self.seconds.get(node.index());
        seconds.map_or(1, |seconds| {
            (seconds * 1e3).clamp(UNITS.start, UNITS.end) as u64
        })
    }
}

/// When a run stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// A failure stops only the node's descendants.
    pub keep_going: bool,
    /// The maximum number of nodes to start.
    pub limit: Option<usize>,
    /// Orders nodes that begin equally long chains: processes that share a run have different
    /// numbers, so that they rarely reach for the same node. `None`: the order of the file.
    pub shuffle: Option<u64>,
}

/// The number of nodes by final state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub ran: usize,
    pub reused: usize,
    pub failed: usize,
    pub skipped: usize,
}

/// The state machine.
pub struct Decide {
    policy: Policy,
    capacity: Capacity,
    usage: Usage,
    nodes: Vec<Entry>,
    needs: Vec<Vec<NodeIndex>>,
    children: Vec<Vec<NodeIndex>>,
    placement: Placement,
    open: BTreeSet<Rank>,
    ready: BTreeSet<Rank>,
    ready_tiny: BTreeSet<Rank>,
    /// For each key, the node that does its work.
    by_key: HashMap<Digest, NodeIndex>,
    started: usize,
    in_flight: usize,
    held: BTreeSet<NodeIndex>,
    halt: Option<Skip>,
    /// Other processes of this run run nodes.
    runs_elsewhere: bool,
    /// Nodes that ended, in order, for the driver to report.
    ended: VecDeque<NodeIndex>,
}

/// Nodes that begin the longest chains first, then those that lack the least data, then in the order of
/// the file.
type Rank = (Reverse<u64>, usize, usize, NodeIndex);

struct Entry {
    state: State,
    rank: Rank,
    /// Inputs that are not done.
    pending: usize,
    key: Option<Digest>,
    /// Nodes in [`State::Twin`] that wait for this one.
    twins: Vec<NodeIndex>,
    demand: Demand,
    failures: u32,
    /// It has been counted towards the limit.
    started: bool,
    /// It has left [`State::Done`] once, because a blob of its outputs was lost.
    remade: bool,
}

/// A number for the node `index` that looks random (SplitMix64, Steele, Lea and Flood 2014).
fn shuffled(seed: u64, index: usize) -> usize {
    let mut bits = seed.wrapping_add((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)) as usize
}

impl Decide {
    pub fn new(dependencies: &Dependencies, policy: Policy, capacity: Capacity) -> Self {
        let mut children = vec![Vec::new(); dependencies.needs.len()];
        for &node in &dependencies.order {
            for &need in &dependencies.needs[node.index()] {
                children[need.index()].push(node);
            }
        }
        let mut below = vec![0u64; children.len()];
        let mut place = vec![0usize; children.len()];
        for (position, &node) in dependencies.order.iter().enumerate().rev() {
            place[node.index()] = position;
            let chains = children[node.index()].iter();
            let longest = chains.map(|child| below[child.index()]).max();
            below[node.index()] = longest.unwrap_or(0) + dependencies.weight(node);
        }
        let placement = Placement::of(dependencies);
        let entry = |index: usize| Entry {
            state: State::Blocked,
            rank: (
                Reverse(below[index]),
                placement.lacks(index),
                policy
                    .shuffle
                    .map_or(place[index], |seed| shuffled(seed, index)),
                NodeIndex::new(index),
            ),
            pending: dependencies.needs[index].len(),
            key: None,
            twins: Vec::new(),
            demand: Demand::default(),
            failures: 0,
            started: false,
            remade: false,
        };
        let mut decide = Self {
            policy,
            capacity,
            usage: Usage::default(),
            nodes: (0..children.len()).map(entry).collect(),
            needs: dependencies.needs.clone(),
            children,
            placement,
            open: BTreeSet::new(),
            ready: BTreeSet::new(),
            ready_tiny: BTreeSet::new(),
            by_key: HashMap::new(),
            started: 0,
            in_flight: 0,
            held: BTreeSet::new(),
            halt: None,
            runs_elsewhere: false,
            ended: VecDeque::new(),
        };
        for &node in &dependencies.order {
            if decide.entry(node).pending == 0 {
                decide.set(node, State::Open);
            }
        }
        decide
    }

    /// The next step. Nodes are keyed before any is started, so that the most urgent of all
    /// startable nodes starts.
    pub fn step(&mut self) -> Step {
        if let Some(&(.., node)) = self.open.first() {
            return Step::Key(node);
        }
        if let Some((node, threads)) = self.startable() {
            let entry = &mut self.nodes[node.index()];
            if !std::mem::replace(&mut entry.started, true) {
                self.started += 1;
            }
            let tiny = entry.demand.tiny;
            self.set(
                node,
                State::Running {
                    cores: if tiny { 0 } else { threads },
                },
            );
            return Step::Start { node, threads };
        }
        let waits_for_others = match self.stopped() {
            None => self.any_held(),
            Some(why) => self.runs_elsewhere && why == Skip::Failure,
        };
        if self.in_flight > 0 || waits_for_others {
            return Step::Wait;
        }
        // In a graph without cycles, some step is always possible until the run is stopped.
        let why = self.stopped().unwrap_or(Skip::Failure);
        for index in 0..self.nodes.len() {
            if !self.nodes[index].state.ended() {
                self.set(NodeIndex::new(index), State::Skipped(why));
            }
        }
        Step::Over
    }

    /// An open node has the key `key`.
    pub fn keyed(&mut self, node: NodeIndex, key: Digest, keyed: Keyed) {
        debug_assert_eq!(self.state(node), State::Open);
        if self.entry(node).key.replace(key) != Some(key) {
            self.release_twins(node);
        }
        let first = *self.by_key.entry(key).or_insert(node);
        let demand = match keyed {
            Keyed::Found => return self.set(node, State::Done { ran: false }),
            Keyed::RanElsewhere => return self.set(node, State::Done { ran: true }),
            Keyed::ToRun(demand) => demand,
        };
        self.entry(node).demand = demand;
        match self.state(first) {
            _ if first == node => self.set(node, State::Ready),
            State::Done { ran: true } => self.set(node, State::Done { ran: false }),
            State::Failed => self.set(node, State::Failed),
            // The other node was skipped, or reused the record that this one must not reuse.
            State::Skipped(_) | State::Done { ran: false } => {
                self.by_key.insert(key, node);
                self.set(node, State::Ready);
            }
            _ => {
                self.set(node, State::Twin(first));
                self.entry(first).twins.push(node);
            }
        }
    }

    /// An open node can't be keyed: data or a variable that it needs is missing.
    pub fn unkeyable(&mut self, node: NodeIndex) {
        self.fail(node);
    }

    /// Another process holds the claim of a node that was about to start.
    pub fn held(&mut self, node: NodeIndex) {
        if std::mem::take(&mut self.entry(node).started) {
            self.started -= 1;
        }
        self.set(node, State::Held);
    }

    /// A held node may be claimable now.
    pub fn released(&mut self, node: NodeIndex) {
        self.resume(node);
    }

    /// A record has appeared for a node that was held or about to start.
    pub fn found(&mut self, node: NodeIndex) {
        if std::mem::take(&mut self.entry(node).started) {
            self.started -= 1;
        }
        self.set(node, State::Done { ran: false });
    }

    /// Another process of this run has made the record of a node that has not executed here.
    pub fn ran_elsewhere(&mut self, node: NodeIndex) {
        if std::mem::take(&mut self.entry(node).started) {
            self.started -= 1;
        }
        self.set(node, State::Done { ran: true });
    }

    /// A node that has not started here has failed in another process of this run.
    pub fn failed_elsewhere(&mut self, node: NodeIndex) {
        self.fail(node);
    }

    /// A running node has executed: its cores are free, its record is not written yet.
    pub fn executed(&mut self, node: NodeIndex) {
        self.set(node, State::Publishing);
    }

    /// The record of a node is in the store.
    pub fn published(&mut self, node: NodeIndex) {
        self.set(node, State::Done { ran: true });
    }

    /// A running or publishing node failed. Returns whether it is retried.
    pub fn failed(&mut self, node: NodeIndex) -> bool {
        let stopped = self.halt.is_some();
        let entry = self.entry(node);
        entry.failures += 1;
        let again = entry.failures <= entry.demand.retries && !stopped;
        match again {
            true => self.resume(node),
            false => self.fail(node),
        }
        again
    }

    /// A running node was stopped before it ended.
    pub fn cancelled(&mut self, node: NodeIndex) {
        self.set(node, State::Skipped(self.halt.unwrap_or(Skip::Interrupted)));
    }

    /// A running node could not read a blob. `producers` is the path from the node that made the
    /// blob to the one that passed it on. Returns `true` if they run again in this order, followed
    /// by the node; `false` if that was tried before, and the caller should fail the node.
    pub fn lost(&mut self, node: NodeIndex, producers: &[NodeIndex]) -> bool {
        if !producers.iter().all(|producer| self.make_again(*producer)) {
            return false;
        }
        self.resume(node);
        true
    }

    /// Schedules `producer` to run again, once.
    fn make_again(&mut self, producer: NodeIndex) -> bool {
        let key = self.entry(producer).key;
        let first = key.and_then(|key| self.by_key.get(&key).copied());
        let first = first.unwrap_or(producer);
        match self.state(first) {
            State::Done { .. } if std::mem::replace(&mut self.entry(first).remade, true) => {
                return false;
            }
            State::Done { .. } => {
                self.entry(first).failures = 0;
                self.set(first, State::Blocked);
                self.reopen(first);
            }
            State::Failed | State::Skipped(_) => return false,
            _ => {}
        }
        if producer != first && matches!(self.state(producer), State::Done { .. }) {
            self.set(producer, State::Twin(first));
            self.entry(first).twins.push(producer);
        }
        true
    }

    /// Stops starting new nodes.
    pub fn interrupt(&mut self) {
        self.halt = Some(Skip::Interrupted);
    }

    /// Stops starting new nodes, because this process leaves the run.
    pub fn withdraw(&mut self) {
        self.halt.get_or_insert(Skip::Left);
    }

    /// Whether no new nodes are started, for whatever reason.
    pub fn has_withdrawn(&self) -> bool {
        self.halt.is_some()
    }

    /// Whether any node takes something from `node`.
    pub fn is_needed(&self, node: NodeIndex) -> bool {
        let entry = &self.nodes[node.index()];
        !self.children[node.index()].is_empty() || !entry.twins.is_empty()
    }

    /// Whether no node is running, and no record is being written.
    pub fn is_idle(&self) -> bool {
        self.in_flight == 0
    }

    /// Whether the node must run although it has a record, because a blob of it was lost.
    pub fn must_run(&self, node: NodeIndex) -> bool {
        self.nodes[node.index()].remade
    }

    /// The next node that ended and has not been reported.
    pub fn next_ended(&mut self) -> Option<NodeIndex> {
        self.ended.pop_front()
    }

    pub fn state(&self, node: NodeIndex) -> State {
        self.nodes[node.index()].state
    }

    /// The node whose outcome applies to `node`: itself, or the equal node that came first.
    pub fn stands_for(&self, node: NodeIndex) -> NodeIndex {
        let key = self.nodes[node.index()].key;
        key.and_then(|key| self.by_key.get(&key).copied())
            .unwrap_or(node)
    }

    /// The nodes that another process holds.
    pub fn all_held(&self) -> impl Iterator<Item = NodeIndex> + '_ {
        self.held.iter().copied()
    }

    /// Whether other processes of this run run nodes. After a failure, their ends are awaited like those
    /// of nodes that run here.
    pub fn set_runs_elsewhere(&mut self, runs: bool) {
        self.runs_elsewhere = runs;
    }

    /// Whether a failure has stopped the start of nodes.
    pub fn has_failed(&self) -> bool {
        self.halt == Some(Skip::Failure)
    }

    pub fn any_held(&self) -> bool {
        !self.held.is_empty()
    }

    pub fn interrupted(&self) -> bool {
        self.halt == Some(Skip::Interrupted)
    }

    /// Whether the keyed node runs without a worker.
    pub fn is_tiny(&self, node: NodeIndex) -> bool {
        self.nodes[node.index()].demand.tiny
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in &self.nodes {
            match entry.state {
                State::Done { ran: true } => counts.ran += 1,
                State::Done { ran: false } => counts.reused += 1,
                State::Failed => counts.failed += 1,
                State::Skipped(_) => counts.skipped += 1,
                _ => {}
            }
        }
        counts
    }
}
