use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use proptest::prelude::*;

use super::*;

/// A random graph and the observations of a run.
#[derive(Clone, Debug)]
struct Scenario {
    /// By node: indices of earlier nodes.
    needs: Vec<BTreeSet<usize>>,
    nodes: Vec<NodeScript>,
    policy: Policy,
    cores: usize,
    /// Which of the nodes in flight is observed next.
    picks: Vec<usize>,
    interrupt_after: Option<usize>,
}

/// The observations of a node.
#[derive(Clone, Debug)]
struct NodeScript {
    /// Nodes of equal twin number and equal inputs have equal keys.
    twin: u8,
    recorded: bool,
    demand: Demand,
    failures: u32,
    /// Held by another process at first; `true`: that process then publishes a record.
    held: Option<bool>,
    /// The index of the input of which it loses a blob on its first run.
    loses: Option<usize>,
}

fn node_scripts() -> impl Strategy<Value = NodeScript> {
    let demand = (
        prop::option::weighted(0.2, 1usize..6),
        0u64..4,
        0u32..2,
        any::<bool>(),
        0u32..2,
    );
    let held = prop::option::weighted(0.15, any::<bool>());
    let loses = prop::option::weighted(0.1, 0usize..4);
    (
        0u8..6,
        prop::bool::weighted(0.3),
        demand,
        0u32..3,
        held,
        loses,
    )
        .prop_map(
            |(twin, recorded, (cpus, mem, gpus, tiny, retries), failures, held, loses)| {
                NodeScript {
                    twin,
                    recorded,
                    demand: Demand {
                        cpus,
                        mem,
                        gpus,
                        tiny,
                        retries,
                    },
                    failures: failures.saturating_sub(1),
                    held,
                    loses,
                }
            },
        )
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let graph = prop::collection::vec(
        (prop::collection::vec(any::<usize>(), 0..4), node_scripts()),
        1..24,
    );
    let policy = (any::<bool>(), prop::option::weighted(0.2, 0usize..8));
    let picks = prop::collection::vec(any::<usize>(), 1..40);
    let interrupt = prop::option::weighted(0.1, 0usize..40);
    (graph, policy, 1usize..5, picks, interrupt).prop_map(
        |(graph, (keep_going, limit), cores, picks, interrupt_after)| {
            let needs = graph.iter().enumerate().map(|(at, (needs, _))| {
                let earlier = needs.iter().filter(|_| at > 0);
                earlier.map(|need| need % at.max(1)).collect()
            });
            Scenario {
                needs: needs.collect(),
                nodes: graph.iter().map(|(_, fate)| fate.clone()).collect(),
                policy: Policy {
                    keep_going,
                    limit,
                    shuffle: None,
                },
                cores,
                picks,
                interrupt_after,
            }
        },
    )
}

/// Plays a scenario, checks invariants at each step, returns the log and the state machine.
struct Play<'a> {
    scenario: &'a Scenario,
    decide: Decide,
    keys: BTreeMap<usize, Digest>,
    running: Vec<usize>,
    publishing: Vec<usize>,
    failures: Vec<u32>,
    lost: BTreeSet<usize>,
    claimed_elsewhere: BTreeSet<usize>,
    published: BTreeSet<Digest>,
    log: Vec<String>,
}

impl<'a> Play<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let count = scenario.nodes.len();
        let needs = scenario.needs.iter();
        let needs: Vec<Vec<NodeIndex>> = needs
            .map(|needs| needs.iter().copied().map(NodeIndex::new).collect())
            .collect();
        let dependencies = Dependencies {
            order: (0..count).map(NodeIndex::new).collect(),
            data: needs.clone(),
            needs,
            ..Dependencies::default()
        };
        let capacity = Capacity {
            cores: scenario.cores,
            mem: 5,
            gpus: 1,
        };
        Self {
            decide: Decide::new(&dependencies, scenario.policy, capacity),
            scenario,
            keys: BTreeMap::new(),
            running: Vec::new(),
            publishing: Vec::new(),
            failures: vec![0; count],
            lost: BTreeSet::new(),
            claimed_elsewhere: (0..count)
                .filter(|&node| scenario.nodes[node].held.is_some())
                .collect(),
            published: BTreeSet::new(),
            log: Vec::new(),
        }
    }

    fn play(mut self) -> Self {
        for turn in 0.. {
            assert!(
                turn < 4000,
                "the run does not end:\n{}",
                self.log.join("\n")
            );
            if self.scenario.interrupt_after == Some(turn) {
                self.decide.interrupt();
            }
            let step = self.decide.step();
            self.log.push(format!("{step:?}"));
            match step {
                Step::Over => return self,
                Step::Key(node) => self.key(node.index()),
                Step::Start { node, threads } => {
                    self.decide.has_data_of(node);
                    self.start(node.index(), threads);
                }
                Step::Wait => self.observe(turn),
            }
        }
        self
    }

    fn key(&mut self, node: usize) {
        let inputs: Vec<&Digest> = self.scenario.needs[node]
            .iter()
            .map(|need| &self.keys[need])
            .collect();
        let fate = &self.scenario.nodes[node];
        let key = Digest::of(format!("{} {inputs:?}", fate.twin).as_bytes());
        self.keys.insert(node, key);
        let index = NodeIndex::new(node);
        let found =
            (fate.recorded || self.published.contains(&key)) && !self.decide.must_run(index);
        let keyed = match found {
            true => Keyed::Found,
            false => Keyed::ToRun(fate.demand),
        };
        self.decide.keyed(index, key, keyed);
    }

    fn start(&mut self, node: usize, threads: usize) {
        for &need in &self.scenario.needs[node] {
            let state = self.decide.state(NodeIndex::new(need));
            assert!(matches!(state, State::Done { .. }), "{node} before {need}");
        }
        assert!(threads >= 1 && threads <= self.scenario.cores);
        let fate = &self.scenario.nodes[node];
        if self.claimed_elsewhere.remove(&node) {
            self.decide.held(NodeIndex::new(node));
            return;
        }
        self.running.push(node);
        let heavy = |node: &&usize| !self.scenario.nodes[**node].demand.tiny;
        let heavies: Vec<&usize> = self.running.iter().filter(heavy).collect();
        if heavies.len() > 1 && !fate.demand.tiny {
            let demands = heavies
                .iter()
                .map(|node| self.scenario.nodes[**node].demand);
            assert!(demands.clone().map(|demand| demand.mem).sum::<u64>() <= 5);
            assert!(demands.map(|demand| demand.gpus).sum::<u32>() <= 1);
            assert!(heavies.len() <= self.scenario.cores);
        }
    }

    /// Lets one of the pending observations happen.
    fn observe(&mut self, turn: usize) {
        let held: Vec<NodeIndex> = self.decide.all_held().collect();
        let pick = self.scenario.picks[turn % self.scenario.picks.len()];
        let choices = self.running.len() + self.publishing.len() + held.len();
        assert!(choices > 0, "waiting for nothing");
        let choice = pick % choices;
        if choice < self.running.len() {
            let node = self.running.remove(choice);
            self.end(node);
        } else if choice < self.running.len() + self.publishing.len() {
            let node = self.publishing.remove(choice - self.running.len());
            self.published.insert(self.keys[&node]);
            self.decide.published(NodeIndex::new(node));
        } else {
            let node = held[choice - self.running.len() - self.publishing.len()];
            match self.scenario.nodes[node.index()].held {
                Some(true) => self.decide.found(node),
                _ => self.decide.released(node),
            }
        }
    }

    fn end(&mut self, node: usize) {
        let fate = &self.scenario.nodes[node];
        let index = NodeIndex::new(node);
        let needs: Vec<usize> = self.scenario.needs[node].iter().copied().collect();
        if let Some(loses) = fate
            .loses
            .filter(|_| !needs.is_empty() && self.lost.insert(node))
        {
            let producer = NodeIndex::new(needs[loses % needs.len()]);
            if !self.decide.lost(index, &[producer]) {
                self.decide.failed(index);
            }
        } else if self.failures[node] < fate.failures {
            self.failures[node] += 1;
            self.decide.failed(index);
        } else if matches!(self.decide.halt, Some(Skip::Interrupted)) {
            self.decide.cancelled(index);
        } else {
            self.decide.executed(index);
            self.publishing.push(node);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_node_ends_once_and_in_order(scenario in scenarios()) {
        let play = Play::new(&scenario).play();
        let count = scenario.nodes.len();
        let counts = play.decide.counts();
        prop_assert_eq!(counts.ran + counts.reused + counts.failed + counts.skipped, count);
        if let Some(limit) = scenario.policy.limit {
            prop_assert!(counts.ran + counts.failed <= limit + twins(&play));
        }
        for node in (0..count).map(NodeIndex::new) {
            match play.decide.state(node) {
                State::Skipped(Skip::Ancestor(cause)) => {
                    prop_assert_eq!(play.decide.state(cause), State::Failed);
                }
                State::Skipped(Skip::Failure) => prop_assert!(!scenario.policy.keep_going),
                State::Skipped(Skip::Limit) => prop_assert!(scenario.policy.limit.is_some()),
                State::Skipped(Skip::Interrupted) => {
                    prop_assert!(scenario.interrupt_after.is_some());
                }
                state => prop_assert!(state.ended(), "{:?}", state),
            }
        }
        prop_assert_eq!(play.decide.usage, Usage::default());
    }

    #[test]
    fn equal_observations_give_equal_decisions(scenario in scenarios()) {
        let (one, two) = (Play::new(&scenario).play(), Play::new(&scenario).play());
        prop_assert_eq!(one.log, two.log);
    }

    #[test]
    fn without_trouble_everything_is_done(mut scenario in scenarios()) {
        scenario.policy.limit = None;
        scenario.interrupt_after = None;
        scenario.nodes.iter_mut().for_each(|fate| fate.failures = 0);
        scenario.nodes.iter_mut().for_each(|fate| fate.loses = None);
        let counts = Play::new(&scenario).play().decide.counts();
        prop_assert_eq!(counts.ran + counts.reused, scenario.nodes.len());
    }
}

/// The number of failed nodes that failed only because an equal one did.
fn twins(play: &Play) -> usize {
    let all = (0..play.scenario.nodes.len()).map(NodeIndex::new);
    all.filter(|&node| play.decide.state(node) == State::Failed)
        .filter(|&node| play.decide.stands_for(node) != node)
        .count()
}

fn chain_and_leaves() -> Decide {
    // 0 → 1 → 2, and 3, 4 on their own.
    let needs = [vec![], vec![0], vec![1], vec![], vec![]];
    let dependencies = Dependencies {
        order: [3, 4, 0, 1, 2].map(NodeIndex::new).to_vec(),
        needs: needs
            .iter()
            .map(|needs| needs.iter().copied().map(NodeIndex::new).collect())
            .collect(),
        ..Dependencies::default()
    };
    let capacity = Capacity {
        cores: 4,
        mem: 0,
        gpus: 0,
    };
    Decide::new(&dependencies, Policy::default(), capacity)
}

fn key_all(decide: &mut Decide, demand: Demand) {
    while let Some(&(.., node)) = decide.open.first() {
        let key = Digest::of(&[node.index() as u8]);
        decide.keyed(node, key, Keyed::ToRun(demand));
    }
}

#[test]
fn the_longest_chain_starts_first_and_the_cores_are_shared() {
    let mut decide = chain_and_leaves();
    key_all(&mut decide, Demand::default());
    let starts: Vec<Step> = (0..4).map(|_| decide.step()).collect();
    let start = |node, threads| Step::Start {
        node: NodeIndex::new(node),
        threads,
    };
    assert_eq!(starts, [start(0, 1), start(3, 1), start(4, 2), Step::Wait]);
}

#[test]
fn a_lone_node_gets_every_core_and_a_declared_one_what_it_asks_for() {
    let mut decide = chain_and_leaves();
    key_all(
        &mut decide,
        Demand {
            cpus: Some(3),
            ..Demand::default()
        },
    );
    let first = NodeIndex::new(0);
    let start = |threads| Step::Start {
        node: first,
        threads,
    };
    assert_eq!(decide.step(), start(3));
    assert_eq!(decide.step(), Step::Wait);
    let dependencies = Dependencies {
        order: vec![first],
        needs: vec![vec![]],
        ..Dependencies::default()
    };
    let capacity = Capacity {
        cores: 4,
        mem: 0,
        gpus: 0,
    };
    let mut lone = Decide::new(&dependencies, Policy::default(), capacity);
    key_all(&mut lone, Demand::default());
    assert_eq!(lone.step(), start(4));
}

#[test]
fn the_chain_that_takes_longest_begins_first() {
    // 0 is a chain of two short nodes, 2 a long one: by edges 0 begins, by seconds 2.
    let dependencies = Dependencies {
        order: [0, 1, 2].map(NodeIndex::new).to_vec(),
        needs: vec![vec![], vec![NodeIndex::new(0)], vec![]],
        ..Dependencies::default()
    };
    let first = |dependencies: &Dependencies| {
        let capacity = Capacity {
            cores: 1,
            mem: 0,
            gpus: 0,
        };
        let mut decide = Decide::new(dependencies, Policy::default(), capacity);
        match decide.step() {
            Step::Key(node) => node.index(),
            step => panic!("{step:?}"),
        }
    };
    assert_eq!(first(&dependencies), 0);
    let timed = Dependencies {
        seconds: vec![1.0, 1.0, 2.5],
        ..dependencies
    };
    assert_eq!(first(&timed), 2);
}

#[test]
fn a_machine_stays_with_the_data_that_it_has() {
    // 0 and 1 make data, 2 to 7 read one of both in turn.
    let maker = |reader: usize| NodeIndex::new(reader % 2);
    let data: Vec<Vec<NodeIndex>> = (0..8)
        .map(|node| if node < 2 { vec![] } else { vec![maker(node)] })
        .collect();
    let dependencies = Dependencies {
        order: (0..8).map(NodeIndex::new).collect(),
        needs: data.clone(),
        data,
        ..Dependencies::default()
    };
    let capacity = Capacity {
        cores: 1,
        mem: 0,
        gpus: 0,
    };
    let mut decide = Decide::new(&dependencies, Policy::default(), capacity);
    let mut started = Vec::new();
    loop {
        match decide.step() {
            Step::Key(node) => {
                let key = Digest::of(&[node.index() as u8]);
                decide.keyed(node, key, Keyed::ToRun(Demand::default()));
            }
            Step::Start { node, .. } => {
                started.push(node.index());
                decide.has_data_of(node);
                decide.executed(node);
                decide.published(node);
            }
            Step::Wait => panic!("nothing runs"),
            Step::Over => break,
        }
    }
    assert_eq!(started, [0, 1, 2, 4, 6, 3, 5, 7]);
}
