//! A run: drives [`Decide`], performs each step and reports the outcome back to it.
//!
//! One task owns the state of the run. Jobs and the publisher are separate tasks that only send
//! messages to it, so nothing is shared, and decisions follow the order of messages. It knows no
//! scheduling policy: `decide` owns that.

mod accept;
mod emit;
mod ends;
mod finish;
mod invitation;
mod joined;
mod lookup;
mod noted;
mod peers;
mod reuse;
mod start;
mod supply;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use petgraph::graph::NodeIndex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::peers::Peers;
use self::supply::Supply;
use super::accepting::Accepting;
use super::decide::{Capacity, Decide, Keyed, Policy, Step};
use super::event::{Event, Summary};
use super::job::Outcome;
use super::join::{Invites, Places, Role};
use super::journal::{self, Journal};
use super::keys::{KeyState, Keys};
use super::pool::{Pool, Worker, until_true};
use super::publish::{Executed, Published};
use super::roots::Roots;
use super::why::History;
use super::{EngineError, device, machine};
use crate::cluster::{ClusterError, Notice};
use crate::contract::recipe::Recipe;
use crate::digest::Digest;
use crate::fsx::StandingLock;
use crate::fsx::lease::host_name;
use crate::remote::Exchange;
use crate::stages::registry::Registry;
use crate::store::derived_cache::Budget;
use crate::store::receipt::RunInputs;
use crate::store::{Claim, Store, StoreError, StoredRecord};
use crate::workflow::graph::Graph;
use crate::workflow::withheld::Withheld;

/// A run that has lasted this long leaves a plan for workers.
const WORTH_JOINING: Duration = Duration::from_secs(1);

/// How to run a graph.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Cores for the whole run.
    pub threads: usize,
    /// `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: String,
    /// After a failure, continue with all nodes that do not descend from it.
    pub keep_going: bool,
    /// The maximum number of nodes to start.
    pub limit: Option<usize>,
    /// Run these even if they have a record.
    pub force: Vec<NodeIndex>,
    /// Check the files of sealed datasets too.
    pub check_sealed: bool,
    /// Determine the inputs that a run with nothing to do depends on.
    pub collect_inputs: bool,
    /// The maximum number of bytes of derived work in the store.
    pub derived_max: u64,
    /// The command line of a worker.
    pub worker: Vec<OsString>,
    /// Where to look for records before nodes run.
    pub exchange: Option<Arc<Exchange>>,
    /// Nodes that may be reused but not run, with the reason.
    pub refused: HashMap<NodeIndex, String>,
    /// Older versions of kinds whose records are accepted.
    pub accepting: Accepting,
    /// The part of this process in the run.
    pub role: Role,
    /// `None`: no worker may join.
    pub invites: Option<Invites>,
    /// Supplies places for workers; `None`: they are started by hand.
    pub places: Option<Places>,
}

/// The result of a run.
#[derive(Debug)]
pub struct RunResult {
    /// Without the path of the report, which the caller adds. Not sent as an event.
    pub summary: Summary,
    /// The record of every node that has one.
    pub records: BTreeMap<NodeIndex, StoredRecord>,
    /// The id of the run: its folder under the store's `runs/`. `None`: the store can't be written,
    /// and the run has left no journal.
    pub run: Option<String>,
    /// The inputs that a run with nothing to do depends on, if a cheap check can cover them.
    pub inputs: Option<RunInputs>,
}

/// Runs the nodes that `graph` needs and `store` has no records of.
///
/// A failing node is not an error: the summary counts it. When `interrupt` becomes true, running
/// nodes are stopped, finished ones are recorded, and the rest is skipped.
///
/// # Errors
/// The store or the run's journal can't be read or written, or the device is invalid.
pub async fn run(
    graph: &Graph,
    store: Arc<Store>,
    registry: &Registry,
    options: &RunOptions,
    interrupt: watch::Receiver<bool>,
    events: UnboundedSender<Event>,
) -> Result<RunResult, EngineError> {
    let started = Instant::now();
    let mut coordinator = Coordinator::new(graph, &store, registry, options, events)?;
    let ended = coordinator.drive(interrupt).await;
    coordinator.end_jobs().await;
    if ended.is_err() {
        coordinator.take_back_plan();
    }
    ended?;
    coordinator.result(started)
}

struct Coordinator<'a> {
    graph: &'a Graph,
    store: &'a Arc<Store>,
    registry: &'a Registry,
    options: &'a RunOptions,
    /// The resolved name.
    device: String,
    capacity: Capacity,
    forced: HashSet<NodeIndex>,
    withheld: Withheld,
    /// Nodes with a withheld port whose artifact was missing when their record was reused.
    unmarked: Vec<NodeIndex>,
    keys: Keys<'a>,
    history: History<'a>,
    roots: Roots,
    decide: Decide,
    journal: Journal,
    events: UnboundedSender<Event>,
    /// Recipes of keyed nodes without a record.
    recipes: HashMap<NodeIndex, (Digest, Arc<Recipe>)>,
    running: HashMap<NodeIndex, Running>,
    /// Nodes that are being looked up at remotes, and the cores reserved for them.
    lookups: HashMap<NodeIndex, (Claim, usize)>,
    /// Wall times of finished nodes, in seconds.
    walls: HashMap<NodeIndex, f64>,
    /// The derived work that this run has done.
    derived: HashSet<Digest>,
    budget: Budget,
    failures: HashMap<NodeIndex, Failure>,
    /// Nodes that have been reported as held by another process.
    waiting: HashSet<NodeIndex>,
    peers: Peers,
    supply: Supply,
    /// When to leave the plan for workers; `None`: not any more.
    plan_due: Option<Instant>,
    pool: Option<Pool>,
    publisher: Option<UnboundedSender<Executed>>,
    jobs: JoinSet<()>,
    cancel: watch::Sender<bool>,
    /// The same, for jobs in this process.
    cancelled: Arc<AtomicBool>,
    inbox: UnboundedReceiver<Message>,
    outbox: UnboundedSender<Message>,
    /// Held while records have been reused and that is not in the journal yet.
    taking: Option<StandingLock>,
    /// Whether the loss of the journal has been reported.
    warned_of_journal: bool,
    /// Stages whose warning about short trainings was emitted.
    short_stages: HashSet<String>,
}

/// State of a job while it is executed.
struct Running {
    recipe: Arc<Recipe>,
    claim: Claim,
    threads: usize,
    /// Seconds since 1970, UTC.
    started: u64,
}

struct Failure {
    message: String,
    log: Option<String>,
}

/// Messages from jobs and the publisher.
enum Message {
    Progress {
        node: NodeIndex,
        done: u64,
        total: u64,
        unit: String,
    },
    Executed {
        node: NodeIndex,
        outcome: Outcome,
        place: ExecutionSite,
    },
    /// A job of a worker has failed a while ago, and no signal has explained it since.
    Settled {
        node: NodeIndex,
        outcome: Outcome,
    },
    Published(Vec<Published>),
    /// A call of the launcher has ended.
    Supplied(Result<Vec<Notice>, ClusterError>),
    /// A lookup at remotes has ended; the node's record is in the store if they have one.
    LookupEnded(NodeIndex),
}

/// Where a job was executed.
enum ExecutionSite {
    /// In this process, or not at all.
    Here,
    /// In a worker on this many cores, which is returned if it can take another job.
    Worker(usize, Option<Box<Worker>>),
}

impl<'a> Coordinator<'a> {
    fn new(
        graph: &'a Graph,
        store: &'a Arc<Store>,
        registry: &'a Registry,
        options: &'a RunOptions,
        events: UnboundedSender<Event>,
    ) -> Result<Self, EngineError> {
        let device = device::resolve(&options.device)?;
        let class = match graph.strict {
            true => device::class_named(&device)?,
            false => String::new(),
        };
        let policy = Policy {
            keep_going: options.keep_going,
            limit: options.limit,
            shuffle: options.role.shuffle(),
        };
        let capacity = options
            .role
            .capacity(machine::capacity(options.threads, &device));
        let journal = match &options.role {
            Role::Worker(role) => Journal::join(store, graph, &role.plan.run, &role.name)?,
            Role::Local | Role::Coordinator => Journal::create(store, graph),
        };
        let peers = Peers::new(store, graph, &journal, options)?;
        let (outbox, inbox) = unbounded_channel();
        Ok(Self {
            graph,
            store,
            registry,
            options,
            device,
            capacity,
            forced: options.force.iter().copied().collect(),
            withheld: Withheld::of(graph),
            unmarked: Vec::new(),
            keys: Keys::new(graph, store, &class)
                .checking_sealed(options.check_sealed)
                .accepting(options.accepting.clone())
                .planned(options.role.plan()),
            history: History::new(graph, store, Some(journal.id().to_string())),
            roots: Roots::default(),
            decide: Decide::new(
                &joined::dependencies(graph, store, &options.role),
                policy,
                capacity,
            ),
            journal,
            events,
            recipes: HashMap::new(),
            running: HashMap::new(),
            lookups: HashMap::new(),
            walls: HashMap::new(),
            derived: HashSet::new(),
            budget: Budget {
                bytes: options.derived_max,
                since: now(),
            },
            failures: HashMap::new(),
            waiting: HashSet::new(),
            peers,
            supply: Supply::default(),
            plan_due: options
                .invites
                .is_some()
                .then(|| options.role.plan_due(Instant::now())),
            pool: None,
            publisher: None,
            jobs: JoinSet::new(),
            cancel: watch::channel(false).0,
            cancelled: Arc::new(AtomicBool::new(false)),
            inbox,
            outbox,
            taking: None,
            warned_of_journal: false,
            short_stages: HashSet::new(),
        })
    }

    /// Runs until every node has ended.
    async fn drive(&mut self, mut interrupt: watch::Receiver<bool>) -> Result<(), EngineError> {
        self.emit(Event::RunStarted {
            workflow: self.graph.name.clone(),
            run: self.journal.id().to_string(),
            nodes: self.graph.dag.node_count(),
            threads: self.options.threads,
            device: self.device.clone(),
            host: self.is_shared().then(host_name),
        })?;
        self.warn_of_lost_journal()?;
        self.warn_of_cores()?;
        if self.is_shared() {
            self.note()?;
            self.look_at_peers()?;
        }
        let mut interrupted = false;
        loop {
            if *interrupt.borrow() && !std::mem::replace(&mut interrupted, true) {
                self.look_at_joined()?;
                self.interrupt()?;
            }
            self.check_time()?;
            self.await_peers()?;
            if self.advance()? {
                return Ok(());
            }
            self.note()?;
            self.refuse_to_wait_in_vain()?;
            self.leave_plan()?;
            self.supply()?;
            let wakes_up = self.decide.any_held() || self.is_shared() || self.peers.any_busy();
            let due = [self.plan_due, self.supply_due(), self.bell_due()];
            let due = due.into_iter().flatten().min().map(Into::into);
            tokio::select! {
                message = self.inbox.recv() => {
                    if let Some(message) = message {
                        self.observe(message)?;
                    }
                }
                () = until_true(&mut interrupt), if !interrupted => {}
                () = tokio::time::sleep_until(self.peers.next_look().into()), if wakes_up => {
                    self.look_around()?;
                }
                () = until(due), if due.is_some() => {}
            }
        }
    }

    /// Makes the journal visible to other processes.
    fn note(&mut self) -> Result<(), EngineError> {
        self.journal.flush()?;
        self.ring();
        self.warn_of_lost_journal()?;
        self.taking = None;
        Ok(())
    }

    /// Reports, once, that the run leaves no journal.
    fn warn_of_lost_journal(&mut self) -> Result<(), EngineError> {
        if let Some(why) = self.journal.lost()
            && !self.warned_of_journal
        {
            let message = format!(
                "the store can't be written ({why}): the run leaves no journal, and what it uses \
                 counts as unused for a cleaning"
            );
            self.warned_of_journal = true;
            self.emit(Event::Warning { message })?;
        }
        Ok(())
    }

    /// Refuses a node if its result can't be stored.
    fn refuse_unwritable(&self, node: NodeIndex) -> Result<(), EngineError> {
        match self.journal.lost() {
            None => Ok(()),
            Some(why) => Err(EngineError::Unwritable {
                store: self.store.root().to_path_buf(),
                node: self.graph.dag[node].id.clone(),
                why: why.to_string(),
            }),
        }
    }

    /// Prepares to reuse a record of `key`: takes the lock that reuse needs. Returns `false` if the store
    /// has nothing for the key; the lock, which costs more than this look, is then not taken.
    pub(super) fn prepare_reuse(&mut self, key: &Digest) -> Result<bool, EngineError> {
        // While the lock is held, the look is needless.
        if self.taking.is_none() && !self.store.may_have_records(key) {
            return Ok(false);
        }
        self.lock_for_reuse()?;
        Ok(true)
    }

    /// Holds the lock until [`Coordinator::note`].
    fn lock_for_reuse(&mut self) -> Result<(), EngineError> {
        if self.taking.is_none() && self.journal.lost().is_none() {
            match self.store.taking() {
                Ok(taking) => self.taking = Some(taking),
                // A file system without locks: there are no claims and no cleaning on it.
                Err(StoreError::Io { path, source }) => {
                    self.journal.give_up_early(&path, source)?
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Does everything that does not need to wait; returns `true` when the run is over.
    fn advance(&mut self) -> Result<bool, EngineError> {
        loop {
            self.emit_ended()?;
            match self.decide.step() {
                Step::Key(node) => self.key(node)?,
                Step::Start { node, threads } => self.start(node, threads)?,
                Step::Wait => return Ok(false),
                Step::Over => return self.emit_ended().map(|()| true),
            }
        }
    }

    /// Computes a node's key and looks for its record.
    fn key(&mut self, node: NodeIndex) -> Result<(), EngineError> {
        if let Some(failure) = self.peers.failed.remove(&node) {
            self.failures.insert(node, failure);
            self.decide.unkeyable(node);
            return Ok(());
        }
        let recipe = match self.keys.recipe(node) {
            Ok(recipe) => recipe,
            Err(missing) => {
                let message = missing.to_string();
                self.failures.insert(node, Failure { message, log: None });
                self.decide.unkeyable(node);
                return Ok(());
            }
        };
        let key = recipe.key();
        let may_reuse = !self.must_run(node) && !self.finds_later(node);
        let found = match may_reuse && self.prepare_reuse(&key)? {
            true => self.keys.find(node, &key, recipe)?,
            false => KeyState::Nothing(recipe),
        };
        let found = self.or_accepted(node, found)?;
        match found {
            KeyState::Record(record) => {
                self.set_record(node, record)?;
                let keyed = match self.was_made_for_this_run(node, &key) {
                    true => Keyed::RanElsewhere,
                    false => Keyed::Found,
                };
                self.decide.keyed(node, key, keyed);
            }
            KeyState::Nothing(recipe) => {
                self.recipes.insert(node, (key, Arc::new(recipe)));
                let demand = self.demand(node);
                self.decide.keyed(node, key, Keyed::ToRun(demand));
            }
        }
        Ok(())
    }

    /// Whether a record of the node must not be reused.
    fn must_run(&self, node: NodeIndex) -> bool {
        self.forced.contains(&node) || self.decide.must_run(node)
    }

    fn interrupt(&mut self) -> Result<(), EngineError> {
        let workers = self.effect_on_workers();
        if let Role::Coordinator = self.options.role
            && let Err(error) = journal::stop(self.store, &self.peers.crew)
        {
            tracing::warn!("the workers could not be asked to leave: {error}");
        }
        self.decide.interrupt();
        self.cancelled.store(true, Ordering::Relaxed);
        self.cancel.send_replace(true);
        match workers {
            Some(message) => self.emit(Event::Machines { message }),
            None => Ok(()),
        }
    }

    /// Ends running jobs, of which there are none unless the run itself failed, and the workers.
    async fn end_jobs(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.cancel.send_replace(true);
        self.close_places().await;
        while self.jobs.join_next().await.is_some() {}
        if let Some(pool) = self.pool.take() {
            pool.close().await;
        }
    }

    fn result(mut self, started: Instant) -> Result<RunResult, EngineError> {
        self.withhold_rest()?;
        let counts = self.counts();
        let all_reused = counts.reused == self.graph.dag.node_count();
        let inputs = match self.options.collect_inputs && all_reused {
            true => self.keys.run_inputs(self.store),
            false => None,
        };
        self.keys.save();
        let summary = Summary {
            workflow: self.graph.name.clone(),
            nodes: self.graph.dag.node_count(),
            ran: counts.ran,
            reused: counts.reused,
            failed: counts.failed,
            skipped: counts.skipped,
            derived_ran: self.derived.len(),
            wall_s: started.elapsed().as_secs_f64(),
            report: String::new(),
            interrupted: *self.cancel.borrow() && self.decide.interrupted(),
        };
        self.journal.note(&Event::Summary(summary.clone()))?;
        self.note_over();
        self.peers.has_news = true;
        self.note()?;
        let run = self.journal.id().to_string();
        let run = self.journal.lost().is_none().then_some(run);
        Ok(RunResult {
            summary,
            records: self.keys.into_records(),
            run,
            inputs,
        })
    }
}

/// Returns at `time`; never, if there is none.
async fn until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}
