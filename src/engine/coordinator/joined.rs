//! What a process of a shared run does differently: which nodes it leaves to others, when a worker
//! leaves, and the plan that it finds or leaves.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use petgraph::graph::NodeIndex;

use super::{Coordinator, Failure, WORTH_JOINING};
use crate::contract::port::PortType;
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::decide::{Capacity, Dependencies};
use crate::engine::event::Event;
use crate::engine::join::{self, JoinPlan, Role, WorkerRole};
use crate::engine::journal::{self, SharedFailure, WorkflowIdentity};
use crate::engine::machine;
use crate::quantity::{bytes, count, duration};
use crate::store::Store;
use crate::workflow::graph::{Graph, Node, Resources};

/// Before the end of its time, a worker starts no node any more.
const LAST_START: Duration = Duration::from_secs(60);
/// Before the end of its time, a worker stops its nodes, which have their grace to end.
const LAST_STOP: Duration = Duration::from_secs(20);

/// The number of stages with nodes that did not fit which a worker names when it leaves.
const SHOWN_UNFIT: usize = 3;

impl Role {
    /// The plan that the process works by.
    pub(super) fn plan(&self) -> Option<&JoinPlan> {
        match self {
            Self::Worker(role) => Some(&role.plan),
            Self::Local | Self::Coordinator => None,
        }
    }

    /// Each worker has an order of its own.
    pub(super) fn shuffle(&self) -> Option<u64> {
        match self {
            Self::Worker(role) => {
                let digest = Digest::of(role.name.as_bytes());
                let bytes = digest.as_bytes().first_chunk().copied();
                Some(u64::from_le_bytes(bytes.unwrap_or_default()))
            }
            Self::Local | Self::Coordinator => None,
        }
    }

    /// What the process may use of the machine's capacity.
    pub(super) fn capacity(&self, machine: Capacity) -> Capacity {
        match self {
            Self::Worker(role) => Capacity {
                cores: machine.cores,
                mem: role.mem.unwrap_or(machine.mem),
                gpus: role.gpus.unwrap_or(machine.gpus),
            },
            Self::Local | Self::Coordinator => machine,
        }
    }

    /// When to leave a plan for workers.
    pub(super) fn plan_due(&self, now: Instant) -> Instant {
        match self {
            Self::Coordinator => now,
            Self::Local | Self::Worker(_) => now + WORTH_JOINING,
        }
    }
}

/// The nodes and their order. A shared run has the durations that are expected, too: as the nodes of
/// the stage took in earlier runs, as `resources.time` says, or as a mean stage takes.
pub(super) fn dependencies(graph: &Graph, store: &Store, role: &Role) -> Dependencies {
    let mut dependencies = Dependencies::of(graph);
    if let Role::Local = role {
        return dependencies;
    }
    let known = journal::stage_seconds(store, &WorkflowIdentity::of(graph, store));
    let mean = match known.len() {
        0 => 1.0,
        count => known.values().sum::<f64>() / count as f64,
    };
    let seconds = graph.dag.node_weights().map(|node| {
        let declared = node.resources.time.map(|time| time as f64);
        let recorded = known.get(&node.stage).copied();
        recorded.or(declared).unwrap_or(mean)
    });
    dependencies.seconds = seconds.collect();
    if let Role::Worker(_) = role {
        dependencies.data = graph
            .dag
            .node_indices()
            .map(|node| data_of(graph, node))
            .collect();
    }
    dependencies
}

/// The nodes that make the datasets and the trees of files that `node` reads: what a machine reads from
/// elsewhere, and derives pixels from.
fn data_of(graph: &Graph, node: NodeIndex) -> Vec<NodeIndex> {
    let inputs = graph.dag[node].inputs.iter();
    let members = inputs.flat_map(|input| &input.members);
    let data = members.filter(|member| {
        let outputs = graph.dag[member.node].parameters.outputs();
        let output = outputs.iter().find(|output| output.name == member.port);
        output.is_some_and(|output| matches!(output.gives, PortType::Dataset | PortType::Files))
    });
    let makers: BTreeSet<NodeIndex> = data.map(|member| member.node).collect();
    makers.into_iter().collect()
}

/// What a node needs of a worker, as the workflow writes it.
fn needs(resources: &Resources) -> Vec<String> {
    let cpus = resources.cpus.map(|cpus| format!("cpus {cpus}"));
    let mem = resources.mem.map(|mem| format!("mem {}", bytes(mem)));
    let gpus = resources.gpus.map(|gpus| format!("gpus {gpus}"));
    let time = resources
        .time
        .map(|time| format!("time {}", duration(time as f64)));
    let dedicated = resources
        .dedicated
        .then(|| "dedicated: `--only`".to_string());
    let all = [cpus, mem, gpus, time, dedicated];
    all.into_iter().flatten().collect()
}

/// The first node of a stage that did not fit, the number of those, and what it needs.
fn unfit_stage((first, nodes): &(&Node, usize)) -> String {
    let others = match nodes {
        1 => String::new(),
        nodes => format!(" and {} more", nodes - 1),
    };
    let needs = match needs(&first.resources).as_slice() {
        [] => String::new(),
        needs => format!(" ({})", needs.join(", ")),
    };
    format!("{}{others}{needs}", first.id)
}

impl Coordinator<'_> {
    pub(super) fn is_worker(&self) -> bool {
        matches!(self.options.role, Role::Worker(_))
    }

    fn worker_role(&self) -> Option<&WorkerRole> {
        match &self.options.role {
            Role::Worker(role) => Some(role),
            Role::Local | Role::Coordinator => None,
        }
    }

    /// Whether this process leaves a node to others; then it has marked it.
    pub(super) fn leaves_to_others(&mut self, node: NodeIndex) -> Result<bool, EngineError> {
        if !self.is_shared() {
            return Ok(false);
        }
        if self.peers.runs(node) {
            self.decide.held(node);
            return Ok(true);
        }
        let leaves = match &self.options.role {
            Role::Local => false,
            Role::Coordinator => !self.decide.is_tiny(node),
            Role::Worker(_) => !self.is_fit(node)?,
        };
        if leaves {
            self.peers.left.insert(node);
            self.decide.held(node);
        }
        Ok(leaves)
    }

    /// Whether this worker can run a node.
    fn is_fit(&mut self, node: NodeIndex) -> Result<bool, EngineError> {
        let Some(role) = self.worker_role() else {
            return Ok(true);
        };
        let at = &self.graph.dag[node];
        let resources = &at.resources;
        let is_meant = match &role.only {
            Some(only) => *only == at.id,
            None => !resources.dedicated,
        };
        let time_left = role
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let in_time = match (time_left, resources.time) {
            (Some(left), Some(time)) => Duration::from_secs(time) + LAST_STOP <= left,
            _ => true,
        };
        let demand = self.demand(node);
        let fits = demand.cpus.is_none_or(|cpus| cpus <= self.capacity.cores)
            && demand.mem <= self.capacity.mem
            && demand.gpus <= self.capacity.gpus;
        if !is_meant || !in_time || !fits {
            return Ok(false);
        }
        if self.options.refused.contains_key(&node) {
            return Ok(true);
        }
        match self.keys.can_run(node) {
            Ok(()) => Ok(true),
            Err(missing) => {
                let message = format!("it leaves `{}` to other workers: {missing}", at.id);
                if self.peers.lacking.insert(missing.to_string()) {
                    self.emit(Event::Warning { message })?;
                }
                Ok(false)
            }
        }
    }

    /// Whether the record of a node is looked for only once the node is claimed: the process that began
    /// the run has looked for all of them, and no peer has found or made one since.
    pub(super) fn finds_later(&self, node: NodeIndex) -> bool {
        self.is_worker() && !self.peers.noted.contains(&node)
    }

    /// Notes for the other processes that a node has failed.
    pub(super) fn share_failure(
        &self,
        node: NodeIndex,
        message: &str,
        log: Option<&str>,
    ) -> Result<(), EngineError> {
        let Some((key, _)) = self.recipes.get(&node) else {
            return Ok(());
        };
        if !self.may_have_peers() {
            return Ok(());
        }
        let failure = SharedFailure {
            message: message.to_string(),
            log: log.map(str::to_string),
        };
        journal::note_failure(self.store, &self.peers.crew, key, &failure)
    }

    /// Whether a node that this process has just claimed has failed in another one; then it fails here,
    /// too.
    pub(super) fn has_failed_elsewhere(&mut self, node: NodeIndex, key: &Digest) -> bool {
        if !self.is_shared() && self.peers.workers.is_empty() {
            return false;
        }
        let Some(failure) = journal::failure_of(self.store, &self.peers.crew, key) else {
            return false;
        };
        let SharedFailure { message, log } = failure;
        self.failures.insert(node, Failure { message, log });
        self.peers.failed_there.insert(node);
        self.decide.failed_elsewhere(node);
        true
    }

    /// What becomes of the workers when this process is interrupted; `None`: it has none.
    pub(super) fn effect_on_workers(&self) -> Option<String> {
        if self.is_worker() || self.decide.interrupted() {
            return None;
        }
        let effect = match (&self.options.role, &self.options.places) {
            (Role::Coordinator, Some(_)) => {
                "the jobs and launch lines of this run are cancelled, with the nodes that they run; other \
                 workers finish the nodes that they run, and leave"
            }
            _ if !self.peers.has_workers() => return None,
            (Role::Coordinator, None) => "the workers finish the nodes that they run, and leave",
            // They do not need the process that they helped.
            _ => "the workers that have joined go on with the run",
        };
        Some(effect.to_string())
    }

    /// Warns of a worker that is to use more cores than it has. Its nodes get slower, not wrong, and a
    /// user may mean that: nodes that wait for a network need no cores of their own.
    pub(super) fn warn_of_cores(&mut self) -> Result<(), EngineError> {
        let (asked, there) = (self.options.threads, machine::cores());
        if !self.is_worker() || asked <= there {
            return Ok(());
        }
        let message = format!(
            "{} were asked for, and this machine has {there}: nodes share them",
            count(asked, "core")
        );
        self.emit(Event::Warning { message })
    }

    /// A worker leaves when it has nothing to do, when it is asked to, or when its time is up.
    pub(super) fn check_time(&mut self) -> Result<(), EngineError> {
        let Some(role) = self.worker_role() else {
            return Ok(());
        };
        let now = Instant::now();
        let left = role.until.map(|until| until.saturating_duration_since(now));
        let (idle, asked) = (role.idle, *role.leave.borrow());
        if !self.decide.is_idle() {
            self.peers.worked = now;
        }
        let is_idle = now.duration_since(self.peers.worked) >= idle;
        if self.has_run_its_only_node() {
            self.withdraw("its node has ended")?;
        } else if asked {
            self.withdraw("it was asked to leave")?;
        } else if left.is_some_and(|left| left <= LAST_START) {
            self.withdraw("its time is nearly up")?;
        } else if is_idle {
            let seconds = duration(idle.as_secs_f64());
            self.withdraw(&format!("nothing to run for {seconds}"))?;
        }
        if left.is_some_and(|left| left <= LAST_STOP) && !self.decide.interrupted() {
            self.interrupt()?;
        }
        Ok(())
    }

    /// Starts no node any more, and says why, once.
    pub(super) fn withdraw(&mut self, why: &str) -> Result<(), EngineError> {
        if self.decide.has_withdrawn() {
            return Ok(());
        }
        self.decide.withdraw();
        let others = self.unfit_nodes();
        let message = format!("leaves: {why}{others}");
        self.emit(Event::Machines { message })
    }

    /// Which nodes this worker has left to others, with what they need; nothing if it is for one node.
    fn unfit_nodes(&self) -> String {
        let left = self.peers.left.iter().copied();
        let mut left: Vec<NodeIndex> = left
            .filter(|node| !self.decide.state(*node).ended())
            .collect();
        if left.is_empty() || self.worker_role().is_none_or(|role| role.only.is_some()) {
            return String::new();
        }
        left.sort_unstable();
        let mut stages: Vec<(&Node, usize)> = Vec::new();
        for at in left.iter().map(|node| &self.graph.dag[*node]) {
            match stages.iter_mut().find(|(first, _)| first.stage == at.stage) {
                Some((_, nodes)) => *nodes += 1,
                None => stages.push((at, 1)),
            }
        }
        let shown = stages.iter().take(SHOWN_UNFIT).map(unfit_stage);
        let shown: Vec<String> = shown.collect();
        let rest = if stages.len() > SHOWN_UNFIT {
            ", …"
        } else {
            ""
        };
        let number = count(left.len(), "node");
        format!("; {number} did not fit: {}{rest}", shown.join(", "))
    }

    /// Whether the one node that this worker is for has ended.
    fn has_run_its_only_node(&self) -> bool {
        let only = self.worker_role().and_then(|role| role.only.as_deref());
        let node = only.and_then(|id| self.peers.node(id));
        node.is_some_and(|node| self.decide.state(node).ended())
    }

    /// Ends a run that waits for workers of which none can join: the journal was lost, and with it the
    /// plan.
    pub(super) fn refuse_to_wait_in_vain(&self) -> Result<(), EngineError> {
        let Role::Coordinator = self.options.role else {
            return Ok(());
        };
        let mut nodes = self.peers.left.iter();
        match nodes.find(|node| !self.decide.state(**node).ended()) {
            Some(node) => self.refuse_unwritable(*node),
            None => Ok(()),
        }
    }

    /// Leaves the plan for workers once it is due.
    pub(super) fn leave_plan(&mut self) -> Result<(), EngineError> {
        if self.plan_due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.plan_due = None;
        if self.journal.lost().is_some() || self.peers.crew != self.journal.id() {
            return Ok(());
        }
        let invitation = match (self.options.invitation(self.graph), &self.options.role) {
            (Ok(Some(invitation)), _) => invitation,
            (Ok(None), _) => return Ok(()),
            (Err(error), Role::Coordinator) => return Err(error),
            (Err(error), _) => {
                tracing::warn!("{error}");
                return Ok(());
            }
        };
        let sources = self.keys.planned_sources();
        let folder = self.journal.folder();
        let left = join::leave_plan(self.store, folder, self.journal.id(), &invitation, sources);
        let path = folder.join(join::PLAN_FILE);
        if left.is_ok() {
            self.journal.opens();
        }
        match (left, &self.options.role) {
            (Ok(()), Role::Coordinator) if self.options.places.is_none() => self.invite(),
            (Ok(()), _) => Ok(()),
            (Err(source), Role::Coordinator) => Err(EngineError::Journal { path, source }),
            (Err(error), _) => {
                tracing::warn!("no worker can join this run: its plan can't be written: {error}");
                Ok(())
            }
        }
    }

    /// Removes the plan of a run that has ended with an error before any worker joined it.
    pub(super) fn take_back_plan(&self) {
        let has_joined = journal::has_workers(self.journal.folder());
        if !self.is_worker() && !has_joined && self.peers.crew == self.journal.id() {
            join::take_back_plan(self.journal.folder());
        }
    }

    /// Says how to start a worker, once the last one is gone.
    pub(super) fn invite_again(&mut self) -> Result<(), EngineError> {
        let joined = self.peers.workers.len();
        let is_deserted = !self.peers.has_workers() && joined > self.peers.invited;
        let waits = matches!(self.options.role, Role::Coordinator)
            && self.options.places.is_none()
            && !self.decide.has_withdrawn()
            && self.decide.any_held();
        match is_deserted && waits {
            true => {
                self.peers.invited = joined;
                self.invite()
            }
            false => Ok(()),
        }
    }

    /// Says how to start a worker.
    fn invite(&mut self) -> Result<(), EngineError> {
        let message = format!(
            "waiting for workers: `ribflow worker --join {} --store {}`",
            self.journal.id(),
            self.store.root().display()
        );
        self.emit(Event::Machines { message })
    }

    /// Whether a journal of this process has a place for an event: that of a worker has only what
    /// the worker has done itself.
    pub(super) fn is_noted(&self, event: &Event) -> bool {
        if !self.is_worker() {
            return true;
        }
        match event {
            Event::NodeWaiting { .. } | Event::NodeSkipped { .. } => false,
            Event::NodeReused { id, .. } => !self.peers.is_known(id),
            _ => true,
        }
    }
}
