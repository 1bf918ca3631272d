//! The protocol of a store as a model, checked exhaustively: runs that look up, claim, execute and
//! publish one node, and collections of garbage, in every order of their steps, with crashes at every
//! step. docs/store.md says what each lock protects; a model without one of them must fail.

use stateright::{Checker, Model, Property};

/// Something that the real store does and a model leaves out, to show that the model can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Omitted {
    Nothing,
    /// `store.json` is not locked between finding a record and noting its use.
    SharedLock,
    /// A collection does not exclude publishers.
    PublishingLock,
    /// A collection takes what a living process has written for old.
    Sessions,
    /// A collection does not look at the time of a blob that it has moved aside.
    SecondLook,
    /// A writer that finds the blob there does not look again once it has renewed its time.
    WritersLook,
    /// A collection removes blobs before records.
    Order,
    /// A claim does not exclude other claims.
    Claim,
}

#[derive(Clone, Debug)]
struct Protocol {
    runs: usize,
    collections: u8,
    crashes: u8,
    /// Whether a claim may be lost while its holder goes on: a lease, or a server that forgets locks.
    leases: bool,
    omitted: Omitted,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Run {
    Begun,
    /// Holds `store.json` shared; before claiming, or after.
    Looking {
        claimed: bool,
    },
    /// Has found the record, and not noted that it uses it.
    Found {
        claimed: bool,
    },
    /// Has noted it: until it ends, the record must stay.
    Uses,
    /// Without a record and a claim.
    Waiting,
    /// Has the claim, and has noted that it makes the record.
    Executing,
    /// Has opened the blob that is there.
    Opened(u8),
    /// Has renewed the time of the file that it has opened.
    Renewed(u8),
    Written,
    /// Holds the lock of publishers.
    Publishing,
    Published,
    /// Its blob was missing when it wanted to publish.
    Failed,
    Ended,
    Dead,
}

/// Where a collection is, with what it has decided to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Collection {
    Idle,
    /// Holds `store.json` alone.
    Alone,
    /// Excludes publishers, too.
    Excluding,
    Decided {
        record: bool,
        blob: bool,
    },
    /// The first of both is removed.
    Halfway {
        record: bool,
        blob: bool,
    },
    /// Has moved the blob aside.
    Aside,
    /// Has looked at its time.
    Looked {
        back: bool,
    },
    /// The blob is gone; the record comes after it (a fault).
    BlobGone {
        record: bool,
    },
    Done,
    Dead,
}

/// The age of something: old, or younger than these runs, which lived when it was written or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Age {
    Old,
    /// A bit for each run.
    Young(u8),
}

/// A file with the content of the blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct File {
    number: u8,
    age: Age,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    runs: Vec<Run>,
    collection: Collection,
    collections: u8,
    crashes: u8,
    /// The file in the place of the blob.
    blob: Option<File>,
    /// The file that a collection has moved aside.
    aside: Option<File>,
    /// The number of the next file.
    next: u8,
    record: Option<Age>,
    claim: Option<usize>,
    publishing: Option<Holder>,
    executions: u8,
    removed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Run(usize),
    Collection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Run(usize),
    End(usize),
    Collect,
    CrashRun(usize),
    CrashCollection,
    /// Time passes: what no living run has written becomes old.
    Age,
    LoseClaim,
}

impl Age {
    fn renewed(self, living: u8) -> Self {
        match self {
            Self::Old => Self::Young(living),
            Self::Young(before) => Self::Young(before | living),
        }
    }
}

impl Run {
    fn lives(self) -> bool {
        !matches!(self, Self::Ended | Self::Dead)
    }

    /// Whether it holds `store.json` shared.
    fn shares(self) -> bool {
        matches!(self, Self::Looking { .. } | Self::Found { .. })
    }

    /// Whether its journal names the key.
    fn has_noted(self) -> bool {
        self.executes() || matches!(self, Self::Uses | Self::Published)
    }

    fn executes(self) -> bool {
        use Run::{Executing, Opened, Publishing, Renewed, Written};
        matches!(
            self,
            Executing | Opened(_) | Renewed(_) | Written | Publishing
        )
    }
}

impl Collection {
    fn is_alone(self) -> bool {
        !matches!(self, Self::Idle | Self::Done | Self::Dead)
    }
}

impl State {
    fn is_young(&self, age: Age, omitted: Omitted) -> bool {
        match age {
            Age::Old => false,
            Age::Young(by) => omitted != Omitted::Sessions && self.living() & by != 0,
        }
    }

    fn living(&self) -> u8 {
        let runs = self.runs.iter().enumerate();
        runs.filter(|(_, run)| run.lives())
            .fold(0, |bits, (index, _)| bits | 1 << index)
    }

    /// Renews the time of an open file, wherever it is now.
    fn renew(&mut self, number: u8) {
        let living = self.living();
        for file in [&mut self.blob, &mut self.aside].into_iter().flatten() {
            if file.number == number {
                file.age = file.age.renewed(living);
            }
        }
    }

    fn release(&mut self, run: usize) {
        if self.claim == Some(run) {
            self.claim = None;
        }
        if self.publishing == Some(Holder::Run(run)) {
            self.publishing = None;
        }
    }
}

impl Protocol {
    fn step_of_run(&self, state: &mut State, index: usize) -> Option<()> {
        let locked = self.omitted != Omitted::SharedLock;
        let next = match state.runs[index] {
            Run::Begun if locked && state.collection.is_alone() => return None,
            Run::Begun => Run::Looking { claimed: false },
            Run::Looking { claimed } => match (state.record, claimed) {
                (Some(_), _) => Run::Found { claimed },
                (None, false) => Run::Waiting,
                (None, true) => {
                    state.executions += 1;
                    Run::Executing
                }
            },
            Run::Found { .. } => {
                state.release(index);
                Run::Uses
            }
            Run::Waiting => {
                let is_free = state.claim.is_none() || self.omitted == Omitted::Claim;
                match (is_free, state.record) {
                    // It looks again, under the lock.
                    (false, Some(_)) => Run::Begun,
                    (false, None) => return None,
                    (true, _) if locked && state.collection.is_alone() => return None,
                    (true, _) => {
                        state.claim = Some(index);
                        Run::Looking { claimed: true }
                    }
                }
            }
            Run::Executing => match state.blob {
                Some(file) => Run::Opened(file.number),
                None => {
                    let (number, age) = (state.next, Age::Young(state.living()));
                    state.blob = Some(File { number, age });
                    state.next += 1;
                    Run::Written
                }
            },
            Run::Opened(number) => {
                state.renew(number);
                Run::Renewed(number)
            }
            Run::Renewed(_) if self.omitted == Omitted::WritersLook => Run::Written,
            Run::Renewed(number) => match state.blob {
                Some(file) if file.number == number => Run::Written,
                // A collection has moved it aside: it is written anew.
                _ => Run::Executing,
            },
            Run::Written => {
                if state.publishing.is_some() {
                    return None;
                }
                state.publishing = Some(Holder::Run(index));
                Run::Publishing
            }
            Run::Publishing => {
                let there = state.blob.is_some();
                if there {
                    let age = state.record.unwrap_or(Age::Old);
                    state.record = Some(age.renewed(state.living()));
                }
                state.release(index);
                match there {
                    true => Run::Published,
                    false => Run::Failed,
                }
            }
            _ => return None,
        };
        state.runs[index] = next;
        Some(())
    }

    fn step_of_collection(&self, state: &mut State) -> Option<()> {
        let excludes = self.omitted != Omitted::PublishingLock;
        let looks = self.omitted != Omitted::SecondLook;
        state.collection = match state.collection {
            Collection::Idle if state.collections == 0 => return None,
            Collection::Idle => {
                let shared = state.runs.iter().any(|run| run.shares());
                if shared && self.omitted != Omitted::SharedLock {
                    return None;
                }
                state.collections -= 1;
                Collection::Alone
            }
            Collection::Alone if !excludes => Collection::Excluding,
            Collection::Alone if state.publishing.is_some() => return None,
            Collection::Alone => {
                state.publishing = Some(Holder::Collection);
                Collection::Excluding
            }
            Collection::Excluding => {
                let used = state.runs.iter().any(|run| run.has_noted());
                let goes = |age: Age| !state.is_young(age, self.omitted);
                let record = state.record.is_some_and(|age| !used && goes(age));
                let named = state.record.is_some() && !record;
                let blob = state.blob.is_some_and(|file| !named && goes(file.age));
                Collection::Decided { record, blob }
            }
            Collection::Decided { record, blob } if self.omitted == Omitted::Order => {
                if blob {
                    state.blob = None;
                }
                Collection::BlobGone { record }
            }
            Collection::Decided { record, blob } => {
                if record {
                    state.record = None;
                    state.removed = true;
                }
                Collection::Halfway { record, blob }
            }
            Collection::BlobGone { record } => {
                if record {
                    state.record = None;
                }
                Collection::Done
            }
            Collection::Halfway { blob: false, .. } => Collection::Done,
            Collection::Halfway { .. } => {
                state.aside = state.blob.take();
                Collection::Aside
            }
            Collection::Aside => {
                let age = state.aside.map(|file| file.age);
                let back = looks && age.is_some_and(|age| state.is_young(age, self.omitted));
                Collection::Looked { back }
            }
            Collection::Looked { back } => {
                let aside = state.aside.take();
                state.blob = aside.filter(|_| back).or(state.blob);
                Collection::Done
            }
            Collection::Done => {
                if state.publishing == Some(Holder::Collection) {
                    state.publishing = None;
                }
                Collection::Idle
            }
            Collection::Dead => return None,
        };
        Some(())
    }

    /// `None` if nothing becomes old.
    fn age(state: &mut State) -> Option<()> {
        let living = state.living();
        let blob = state.blob.as_mut().map(|file| &mut file.age);
        let mut passed = None;
        for age in [blob, state.record.as_mut()].into_iter().flatten() {
            if matches!(age, Age::Young(by) if *by & living == 0) {
                *age = Age::Old;
                passed = Some(());
            }
        }
        passed
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let old = Some(Age::Old);
        let blob = old.map(|age| File { number: 0, age });
        let state = |blob, record| State {
            runs: vec![Run::Begun; self.runs],
            collection: Collection::Idle,
            collections: self.collections,
            crashes: self.crashes,
            blob,
            aside: None,
            next: 1,
            record,
            claim: None,
            publishing: None,
            executions: 0,
            removed: false,
        };
        // Nothing; a blob that no record names; a record that no run has needed for long.
        vec![state(None, None), state(blob, None), state(blob, old)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (index, run) in state.runs.iter().enumerate() {
            actions.push(Action::Run(index));
            if matches!(run, Run::Uses | Run::Published) {
                actions.push(Action::End(index));
            }
            if state.crashes > 0 && run.lives() {
                actions.push(Action::CrashRun(index));
            }
        }
        actions.push(Action::Collect);
        if state.crashes > 0 && state.collection.is_alone() {
            actions.push(Action::CrashCollection);
        }
        actions.push(Action::Age);
        if self.leases && state.claim.is_some() {
            actions.push(Action::LoseClaim);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Run(index) => self.step_of_run(&mut state, index)?,
            Action::End(index) => state.runs[index] = Run::Ended,
            Action::Collect => self.step_of_collection(&mut state)?,
            Action::CrashRun(index) => {
                state.crashes -= 1;
                state.release(index);
                state.runs[index] = Run::Dead;
            }
            Action::CrashCollection => {
                state.crashes -= 1;
                // What it had moved aside is swept with its temporary files.
                state.aside = None;
                state.collection = Collection::Dead;
                if state.publishing == Some(Holder::Collection) {
                    state.publishing = None;
                }
            }
            Action::Age => Self::age(&mut state)?,
            Action::LoseClaim => state.claim = None,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a record has its blob", |_, state: &State| {
                state.record.is_none() || state.blob.is_some()
            }),
            Property::always("a record in use stays", |_, state: &State| {
                let uses = state.runs.contains(&Run::Uses);
                !uses || state.record.is_some()
            }),
            // A collection that dies may take a blob along that it was about to put back: the node
            // runs again, since a record appears only once its blobs were found.
            Property::always(
                "nothing that was made is lost before it is published",
                |_, state: &State| {
                    state.collection == Collection::Dead || !state.runs.contains(&Run::Failed)
                },
            ),
            Property::always(
                "a node runs once at a time",
                |model: &Self, state: &State| {
                    let executing = state.runs.iter().filter(|run| run.executes()).count();
                    model.leases || executing < 2
                },
            ),
            Property::sometimes("a collection removes the record", |_, state: &State| {
                state.removed
            }),
            Property::sometimes(
                "a run uses what another one has made",
                |_, state: &State| {
                    state.executions == 1
                        && state.runs.contains(&Run::Published)
                        && state.runs.contains(&Run::Uses)
                },
            ),
        ]
    }
}

const SAFETY: [&str; 4] = [
    "a record has its blob",
    "a record in use stays",
    "nothing that was made is lost before it is published",
    "a node runs once at a time",
];

fn two_runs() -> Protocol {
    Protocol {
        runs: 2,
        collections: 3,
        crashes: 3,
        leases: false,
        omitted: Omitted::Nothing,
    }
}

fn holds(name: &str, protocol: Protocol, least: usize) {
    let checker = protocol.checker().threads(2).spawn_bfs().join();
    let states = checker.unique_state_count();
    println!("model: {name}: {states} states");
    checker.assert_properties();
    assert!(states >= least, "{states} states");
}

#[test]
fn two_and_three_runs_beside_collections_keep_every_promise() {
    holds("two runs", two_runs(), 10_000);
    let three = Protocol {
        runs: 3,
        ..two_runs()
    };
    holds("three runs", three, 100_000);
}

/// Claims as leases: one may be lost while its holder goes on. Two executions then do no harm.
#[test]
fn a_claim_that_is_lost_does_no_harm() {
    let leases = Protocol {
        leases: true,
        ..two_runs()
    };
    holds("two runs with leases", leases.clone(), 25_000);
    let three = Protocol { runs: 3, ..leases };
    holds("three runs with leases", three, 500_000);
}

/// The model fails without any one of these, so it can fail.
#[test]
fn a_model_without_a_lock_or_a_look_fails() {
    for (omitted, broken) in [
        (Omitted::SharedLock, SAFETY[1]),
        (Omitted::PublishingLock, SAFETY[0]),
        (Omitted::Sessions, SAFETY[2]),
        (Omitted::SecondLook, SAFETY[2]),
        (Omitted::WritersLook, SAFETY[2]),
        (Omitted::Order, SAFETY[0]),
        (Omitted::Claim, SAFETY[3]),
    ] {
        let protocol = Protocol {
            omitted,
            ..two_runs()
        };
        let checker = protocol.checker().threads(2).spawn_bfs().join();
        let found = checker.discoveries();
        let path = found.get(broken);
        let path = path.unwrap_or_else(|| panic!("{omitted:?} breaks nothing: {:?}", found.keys()));
        println!(
            "model: without {omitted:?}: {broken}: fails after {} steps",
            path.clone().into_actions().len()
        );
    }
}
