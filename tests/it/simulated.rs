//! A simulated cluster: the state machine of a run ([`Decide`]) in several workers at once, over random
//! graphs, with claims that are leases, workers that are killed or suspended, and clocks of different
//! speed. The time is a number, and there are no processes, files or sleeps.
//!
//! `RIBFLOW_TEST_CLUSTERS=20000` simulates 20,000 clusters instead of 400.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use petgraph::graph::NodeIndex;
use ribflow::digest::Digest;
use ribflow::engine::decide::{Capacity, Decide, Demand, Dependencies, Keyed, Policy, State, Step};
use ribflow::rng::Stream;

/// Milliseconds of the true time.
type Time = u64;

const SECOND: Time = 1000;
/// A worker beats and looks around this often by its own clock.
const BEAT: Time = 15 * SECOND;
const LOOK: Time = SECOND;
/// A lease is lost once its holder's heartbeat was seen unchanged for this long by the clock of the one
/// who looks.
const LOST: Time = 90 * SECOND;
/// A cluster that takes longer has lost a node.
const LONGEST: Time = 100_000 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Beat,
    Look,
    Ends(usize),
    Killed,
    Suspended(Time),
    Resumed,
}

struct Worker {
    decide: Decide,
    alive: bool,
    suspended: bool,
    beats: u64,
    /// How fast its clock goes.
    speed: f64,
    /// The heartbeat of each worker when it changed last, with the own time of the look.
    seen: BTreeMap<usize, (u64, Time)>,
    /// What happened to it while it was suspended.
    missed: Vec<What>,
    /// The claims that it believes to hold, by node.
    claims: BTreeMap<usize, u64>,
}

/// A claim: its holder, and its number among all claims.
#[derive(Clone, Copy)]
struct Claim {
    worker: usize,
    number: u64,
}

struct Cluster {
    now: Time,
    events: BinaryHeap<Reverse<(Time, u64, usize, What)>>,
    count: u64,
    workers: Vec<Worker>,
    needs: Vec<Vec<NodeIndex>>,
    durations: Vec<Time>,
    records: BTreeSet<usize>,
    claims: BTreeMap<usize, Claim>,
    executions: Vec<usize>,
    /// Nodes that ran in two places at once.
    overlaps: usize,
    running: BTreeMap<usize, usize>,
}

#[derive(Default)]
struct Totals {
    clusters: usize,
    nodes: usize,
    executions: usize,
    overlaps: usize,
    kills: usize,
    suspensions: usize,
}

fn graph(chance: &mut Stream) -> Dependencies {
    let count = 2 + chance.below(40) as usize;
    let needs = (0..count).map(|node| {
        let wanted = chance.below(4).min(node as u64);
        let all: BTreeSet<NodeIndex> = (0..wanted)
            .map(|_| NodeIndex::new(chance.below(node as u64) as usize))
            .collect();
        all.into_iter().collect()
    });
    let needs: Vec<Vec<NodeIndex>> = needs.collect();
    Dependencies {
        data: needs.clone(),
        needs,
        order: (0..count).map(NodeIndex::new).collect(),
        ..Dependencies::default()
    }
}

fn key(node: usize) -> Digest {
    Digest::of(&node.to_le_bytes())
}

impl Cluster {
    fn new(chance: &mut Stream) -> Self {
        let dependencies = graph(chance);
        let count = dependencies.needs.len();
        let workers = 1 + chance.below(6) as usize;
        let capacity = Capacity {
            cores: 2,
            mem: u64::MAX,
            gpus: 0,
        };
        let workers: Vec<Worker> = (0..workers)
            .map(|_| {
                let policy = Policy {
                    shuffle: Some(chance.bits()),
                    ..Policy::default()
                };
                Worker {
                    decide: Decide::new(&dependencies, policy, capacity),
                    alive: true,
                    suspended: false,
                    beats: 0,
                    speed: chance.range(0.8, 1.25),
                    seen: BTreeMap::new(),
                    missed: Vec::new(),
                    claims: BTreeMap::new(),
                }
            })
            .collect();
        let mut cluster = Self {
            now: 0,
            events: BinaryHeap::new(),
            count: 0,
            durations: (0..count)
                .map(|_| 1 + (chance.uniform().powi(3) * 400.0) as Time * SECOND)
                .collect(),
            needs: dependencies.needs,
            records: BTreeSet::new(),
            claims: BTreeMap::new(),
            executions: vec![0; count],
            overlaps: 0,
            running: BTreeMap::new(),
            workers,
        };
        for worker in 0..cluster.workers.len() {
            let joins = chance.below(60) * SECOND;
            cluster.plan(joins, worker, What::Beat);
            cluster.plan(joins + 1, worker, What::Look);
        }
        cluster
    }

    fn plan(&mut self, after: Time, worker: usize, what: What) {
        self.count += 1;
        self.events
            .push(Reverse((self.now + after, self.count, worker, what)));
    }

    /// After so much of a worker's own time.
    fn plan_by_clock(&mut self, after: Time, worker: usize, what: What) {
        let true_time = (after as f64 / self.workers[worker].speed) as Time;
        self.plan(true_time.max(1), worker, what);
    }

    fn own_time(&self, worker: usize) -> Time {
        (self.now as f64 * self.workers[worker].speed) as Time
    }

    /// Runs until every node has a record.
    fn run(&mut self) {
        while self.records.len() < self.needs.len() {
            let Some(Reverse((at, _, worker, what))) = self.events.pop() else {
                panic!("nothing happens any more");
            };
            assert!(at < LONGEST, "a node is lost");
            self.now = at;
            self.happen(worker, what);
        }
    }

    fn happen(&mut self, worker: usize, what: What) {
        let at = &mut self.workers[worker];
        match what {
            _ if !at.alive => {}
            What::Killed => self.kill(worker),
            What::Suspended(time) => {
                at.suspended = true;
                self.plan(time, worker, What::Resumed);
            }
            What::Resumed => {
                at.suspended = false;
                for missed in std::mem::take(&mut at.missed) {
                    self.happen(worker, missed);
                }
            }
            what if at.suspended => at.missed.push(what),
            What::Beat => {
                at.beats += 1;
                self.plan_by_clock(BEAT, worker, What::Beat);
            }
            What::Look => {
                self.look(worker);
                self.advance(worker);
                self.plan_by_clock(LOOK, worker, What::Look);
            }
            What::Ends(node) => {
                self.end(worker, node);
                self.advance(worker);
            }
        }
    }

    /// Its claims stay: nobody on another host sees that it has died.
    fn kill(&mut self, worker: usize) {
        self.workers[worker].alive = false;
        for node in self.workers[worker].claims.clone().into_keys() {
            *self.running.entry(node).or_default() -= 1;
        }
    }

    /// Whether a claim counts as lost, by what this worker has seen of its holder.
    fn is_lost(&mut self, worker: usize, claim: Claim) -> bool {
        let own = self.own_time(worker);
        let beats = self.workers[claim.worker].beats;
        let seen = &mut self.workers[worker].seen;
        let known = seen.entry(claim.worker).or_insert((beats, own));
        if known.0 != beats {
            *known = (beats, own);
        }
        own - known.1 > LOST
    }

    /// Looks at the nodes that others hold.
    fn look(&mut self, worker: usize) {
        let held: Vec<NodeIndex> = self.workers[worker].decide.all_held().collect();
        for node in held {
            let index = node.index();
            if self.records.contains(&index) {
                self.workers[worker].decide.found(node);
                continue;
            }
            let is_free = match self.claims.get(&index).copied() {
                None => true,
                Some(claim) => self.is_lost(worker, claim),
            };
            if is_free {
                self.claims.remove(&index);
                self.workers[worker].decide.released(node);
            }
        }
    }

    fn advance(&mut self, worker: usize) {
        loop {
            while self.workers[worker].decide.next_ended().is_some() {}
            match self.workers[worker].decide.step() {
                Step::Key(node) => {
                    let keyed = match self.records.contains(&node.index()) {
                        true => Keyed::Found,
                        false => Keyed::ToRun(Demand::default()),
                    };
                    let decide = &mut self.workers[worker].decide;
                    decide.keyed(node, key(node.index()), keyed);
                }
                Step::Start { node, .. } => self.start(worker, node),
                Step::Wait | Step::Over => return,
            }
        }
    }

    fn start(&mut self, worker: usize, node: NodeIndex) {
        let index = node.index();
        if self.claims.contains_key(&index) {
            return self.workers[worker].decide.held(node);
        }
        self.workers[worker].decide.has_data_of(node);
        if self.records.contains(&index) {
            return self.workers[worker].decide.found(node);
        }
        for need in &self.needs[index] {
            let is_there = self.records.contains(&need.index());
            assert!(is_there, "node {index} starts before {}", need.index());
        }
        self.count += 1;
        let number = self.count;
        self.claims.insert(index, Claim { worker, number });
        self.workers[worker].claims.insert(index, number);
        self.executions[index] += 1;
        let beside = self.running.entry(index).or_default();
        *beside += 1;
        self.overlaps += usize::from(*beside > 1);
        self.plan(self.durations[index], worker, What::Ends(index));
    }

    fn end(&mut self, worker: usize, index: usize) {
        let node = NodeIndex::new(index);
        let Some(number) = self.workers[worker].claims.remove(&index) else {
            return;
        };
        *self.running.entry(index).or_default() -= 1;
        let claim = self.claims.get(&index).copied();
        let decide = &mut self.workers[worker].decide;
        if claim.is_none_or(|claim| claim.number != number) {
            // Suspended for too long: another worker has the node.
            return decide.held(node);
        }
        decide.executed(node);
        self.records.insert(index);
        decide.published(node);
        assert_eq!(decide.state(node), State::Done { ran: true });
        self.claims.remove(&index);
    }
}

#[test]
fn no_node_is_lost_whatever_dies_or_sleeps() {
    let clusters = std::env::var("RIBFLOW_TEST_CLUSTERS").ok();
    let clusters: u64 = clusters.map_or(400, |count| count.parse().unwrap());
    let mut totals = Totals::default();
    for seed in 0..clusters {
        let mut chance = Stream::new(seed, "cluster");
        let mut cluster = Cluster::new(&mut chance);
        let count = cluster.workers.len();
        // One worker lives; the others may be killed or suspended at any time.
        let (mut kills, mut suspensions) = (0, 0);
        for worker in 1..count {
            if chance.below(3) == 0 {
                let at = chance.below(1500) * SECOND;
                cluster.plan(at, worker, What::Killed);
                kills += 1;
            }
        }
        for worker in 0..count {
            for _ in 0..chance.below(3) {
                let (at, time) = (chance.below(1500) * SECOND, chance.below(300) * SECOND);
                cluster.plan(at, worker, What::Suspended(time));
                suspensions += 1;
            }
        }
        cluster.run();
        let executions: usize = cluster.executions.iter().sum();
        let again = executions - cluster.needs.len();
        // Each of two cores of a worker that is killed or suspended may lose what it runs.
        assert!(
            again <= 2 * (kills + suspensions),
            "seed {seed}: {again} duplicates"
        );
        totals.clusters += 1;
        totals.nodes += cluster.needs.len();
        totals.executions += executions;
        totals.overlaps += cluster.overlaps;
        totals.kills += kills;
        totals.suspensions += suspensions;
    }
    let Totals {
        clusters,
        nodes,
        executions,
        overlaps,
        kills,
        suspensions,
    } = totals;
    println!(
        "{clusters} clusters, {nodes} nodes, {executions} executions, {overlaps} beside another one; \
         {kills} kills, {suspensions} suspensions"
    );
    assert!(executions > nodes, "nothing was lost that had to run again");
}
