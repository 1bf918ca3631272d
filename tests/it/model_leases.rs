//! The protocol of leases as a model, checked exhaustively: every order of the steps of several
//! processes that take, take over and release one lease, each of which may be found dead at any
//! step, whether it has died or is only suspended. `fsx::lease` says the rules; a model without one
//! of them must fail.

use stateright::{Checker, Model, Property};

/// A rule that a model leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Omitted {
    Nothing,
    /// A lease of a dead process is removed without the right to that.
    Right,
    /// Who has got the right does not read the lease again.
    SecondLook,
    /// A lease is removed by its name alone, not into the folder of the process.
    Fence,
    /// A record gets its name from outside the folder of the process.
    Staging,
    /// A lease counts as lost while the folder of its holder is still there.
    Burial,
}

/// Where a process is. `of` is the dead holder that it has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Process {
    Wants,
    /// Has found the lease of a dead process.
    Found {
        of: usize,
    },
    /// Has found that a dead process has the right to remove it.
    FoundRight {
        of: usize,
        by: usize,
    },
    /// Has the right to remove that right.
    MayRemoveRight {
        of: usize,
        by: usize,
    },
    /// The same, and has looked again.
    RemovesRight {
        of: usize,
        by: usize,
    },
    /// Is about to give that right back.
    GivesRightRight {
        of: usize,
        by: usize,
    },
    /// Has the right to remove the lease.
    MayRemove {
        of: usize,
    },
    /// The same, and has looked again.
    Removes {
        of: usize,
    },
    /// Is about to give the right back.
    GivesRight {
        of: usize,
    },
    Holds,
    Published,
    Released,
    /// Has noticed that it was found dead.
    Lost,
}

#[derive(Clone, Debug)]
struct Takeover {
    processes: usize,
    /// How often a process may be found dead.
    burials: u8,
    omitted: Omitted,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    processes: Vec<Process>,
    /// Whether the folder of each process is there.
    folders: Vec<bool>,
    /// Whether others have seen each process without a beat for long enough.
    suspected: Vec<bool>,
    burials: u8,
    lease: Option<usize>,
    /// By dead holder: who has the right to remove its lease.
    rights: Vec<Option<usize>>,
    /// By dead holder of such a right: who has the right to remove it.
    rights_to_rights: Vec<Option<usize>>,
    /// A process has published while another one had the lease.
    published_late: bool,
    taken_over: bool,
    right_taken_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Step(usize),
    /// Its beats have been unchanged for long enough: it has died, or is suspended.
    Suspect(usize),
    /// Its folder is removed.
    Bury(usize),
}

impl Takeover {
    fn is_dead(&self, state: &State, process: usize) -> bool {
        match self.omitted == Omitted::Burial {
            true => state.suspected[process],
            false => !state.folders[process],
        }
    }

    /// Whether a rename or a link that goes through the folder of `process` is done.
    fn may_change(&self, state: &State, process: usize) -> bool {
        state.folders[process] || self.omitted == Omitted::Fence
    }

    fn step(&self, state: &mut State, me: usize) -> Option<()> {
        let looks = self.omitted != Omitted::SecondLook;
        let acts = self.may_change(state, me);
        let next = match state.processes[me] {
            Process::Wants if !state.folders[me] => Process::Lost,
            Process::Wants => match state.lease {
                None => {
                    state.lease = Some(me);
                    Process::Holds
                }
                Some(of) if of != me && self.is_dead(state, of) => Process::Found { of },
                Some(_) => return None,
            },
            Process::Found { of } if self.omitted == Omitted::Right => Process::Removes { of },
            Process::Found { .. } if !state.folders[me] => Process::Lost,
            Process::Found { of } => match state.rights[of] {
                None => {
                    state.rights[of] = Some(me);
                    Process::MayRemove { of }
                }
                Some(by) if by != me && self.is_dead(state, by) => Process::FoundRight { of, by },
                // Another process is about to remove it.
                Some(_) => Process::Wants,
            },
            Process::FoundRight { .. } if !state.folders[me] => Process::Lost,
            Process::FoundRight { of, by } => match state.rights_to_rights[by] {
                None => {
                    state.rights_to_rights[by] = Some(me);
                    Process::MayRemoveRight { of, by }
                }
                Some(_) => Process::Wants,
            },
            Process::MayRemoveRight { of, by } if looks && state.rights[of] != Some(by) => {
                Process::GivesRightRight { of, by }
            }
            Process::MayRemoveRight { of, by } => Process::RemovesRight { of, by },
            Process::RemovesRight { .. } if !acts => Process::Lost,
            Process::RemovesRight { of, by } => {
                state.rights[of] = None;
                state.right_taken_over = true;
                Process::GivesRightRight { of, by }
            }
            Process::GivesRightRight { .. } if !acts => Process::Lost,
            Process::GivesRightRight { of, by } => {
                state.rights_to_rights[by] = None;
                Process::Found { of }
            }
            Process::MayRemove { of } if looks && state.lease != Some(of) => {
                Process::GivesRight { of }
            }
            Process::MayRemove { of } => Process::Removes { of },
            Process::Removes { .. } if !acts => Process::Lost,
            Process::Removes { of } => {
                // A rename takes what is there.
                state.lease = None;
                state.taken_over = true;
                match self.omitted == Omitted::Right {
                    true => Process::Wants,
                    false => Process::GivesRight { of },
                }
            }
            Process::GivesRight { .. } if !acts => Process::Lost,
            Process::GivesRight { of } => {
                state.rights[of] = None;
                Process::Wants
            }
            Process::Holds if !state.folders[me] && self.omitted != Omitted::Staging => {
                Process::Lost
            }
            Process::Holds => {
                state.published_late |= state.lease != Some(me);
                Process::Published
            }
            Process::Published if !acts => Process::Lost,
            Process::Published => {
                state.lease = None;
                Process::Released
            }
            Process::Released | Process::Lost => return None,
        };
        state.processes[me] = next;
        Some(())
    }
}

impl Model for Takeover {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            processes: vec![Process::Wants; self.processes],
            folders: vec![true; self.processes],
            suspected: vec![false; self.processes],
            burials: self.burials,
            lease: None,
            rights: vec![None; self.processes],
            rights_to_rights: vec![None; self.processes],
            published_late: false,
            taken_over: false,
            right_taken_over: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for process in 0..self.processes {
            actions.push(Action::Step(process));
            if state.burials > 0 && !state.suspected[process] {
                actions.push(Action::Suspect(process));
            }
            if state.suspected[process] && state.folders[process] {
                actions.push(Action::Bury(process));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Step(process) => self.step(&mut state, process)?,
            Action::Suspect(process) => {
                state.burials -= 1;
                state.suspected[process] = true;
            }
            Action::Bury(process) => state.folders[process] = false,
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE, |_, state: &State| {
                let holds = |(process, at): (usize, &Process)| {
                    !matches!(at, Process::Holds | Process::Published)
                        || !state.folders[process]
                        || state.lease == Some(process)
                };
                state.processes.iter().enumerate().all(holds)
            }),
            Property::always(LATE, |_, state: &State| !state.published_late),
            // Where no process has a step, each that lives has had the lease.
            Property::always("nobody waits for ever", |model: &Self, state: &State| {
                let steps = (0..model.processes)
                    .any(|process| model.step(&mut state.clone(), process).is_some());
                let live = state.suspected.iter().any(|suspected| *suspected);
                let waits = |(process, at): (usize, &Process)| {
                    *at == Process::Wants && !state.suspected[process]
                };
                steps
                    || state
                        .folders
                        .iter()
                        .zip(&state.suspected)
                        .any(|(there, is)| *there && *is)
                    || !live
                    || !state.processes.iter().enumerate().any(waits)
            }),
            Property::sometimes("a lease is taken over", |_, state: &State| state.taken_over),
            Property::sometimes("a right is taken over", |_, state: &State| {
                state.right_taken_over
            }),
            Property::sometimes("a holder that lives releases", |_, state: &State| {
                state.processes.contains(&Process::Released)
            }),
        ]
    }
}

const ONE: &str = "the lease of a live holder is its own";
const LATE: &str = "no process publishes once another one may have the lease";

fn takeover(processes: usize) -> Takeover {
    Takeover {
        processes,
        burials: 2,
        omitted: Omitted::Nothing,
    }
}

#[test]
fn of_processes_that_are_found_dead_at_any_step_one_holds_a_lease() {
    for (processes, least) in [(3, 2_000), (4, 40_000)] {
        let checker = takeover(processes).checker().threads(2).spawn_bfs().join();
        let states = checker.unique_state_count();
        println!("model: {processes} processes with one lease: {states} states");
        checker.assert_properties();
        assert!(states >= least, "{states} states");
    }
}

#[test]
fn a_lease_without_one_of_its_rules_fails() {
    for (omitted, broken) in [
        (Omitted::Right, ONE),
        (Omitted::SecondLook, ONE),
        (Omitted::Fence, ONE),
        (Omitted::Staging, LATE),
        (Omitted::Burial, ONE),
    ] {
        let model = Takeover {
            omitted,
            ..takeover(3)
        };
        let checker = model.checker().threads(2).spawn_bfs().join();
        let found = checker.discoveries();
        let path = found.get(broken);
        let path = path.unwrap_or_else(|| panic!("{omitted:?} breaks nothing: {:?}", found.keys()));
        println!(
            "model: leases without {omitted:?}: {broken}: fails after {} steps",
            path.clone().into_actions().len()
        );
    }
}

/// The lock on the whole store: markers of those that share it, and the lease of the one that wants
/// it alone.
#[derive(Clone, Debug)]
struct Standing {
    sharing: usize,
    burials: u8,
    /// Whether who shares it looks before it makes its marker.
    looks_first: bool,
    /// Whether who wants it alone looks before it takes the lease.
    lists_first: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Share {
    Begun,
    /// The first of its two steps is done.
    Halfway,
    Inside,
    Ended,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct StandingState {
    /// The last one wants it alone.
    at: Vec<Share>,
    folders: Vec<bool>,
    /// The markers, and the lease of the last one.
    files: Vec<bool>,
    burials: u8,
    waited: bool,
}

impl Standing {
    fn step(&self, state: &mut StandingState, me: usize) -> Option<()> {
        let alone = self.sharing;
        let exists =
            |state: &StandingState, other: usize| state.files[other] && state.folders[other];
        let is_free = match me == alone {
            true => !(0..alone).any(|other| exists(state, other)),
            false => !exists(state, alone),
        };
        let looks_first = match me == alone {
            true => self.lists_first,
            false => self.looks_first,
        };
        // A marker is made from the folder of its process.
        let makes = |state: &mut StandingState| {
            state.files[me] = state.folders[me];
            state.folders[me].then_some(())
        };
        state.at[me] = match (state.at[me], looks_first) {
            (Share::Begun, false) => {
                makes(state)?;
                Share::Halfway
            }
            (Share::Halfway, false) if is_free => Share::Inside,
            // It waits for those that share it, with its lease; they step back.
            (Share::Halfway, false) if me == alone => {
                state.waited = true;
                return None;
            }
            (Share::Halfway, false) => {
                state.files[me] = false;
                Share::Begun
            }
            (Share::Begun, true) if is_free => Share::Halfway,
            (Share::Begun, true) => return None,
            (Share::Halfway, true) => {
                makes(state)?;
                Share::Inside
            }
            (Share::Inside, _) => {
                state.files[me] = false;
                Share::Ended
            }
            (Share::Ended, _) => return None,
        };
        Some(())
    }
}

impl Model for Standing {
    type State = StandingState;
    type Action = Action;

    fn init_states(&self) -> Vec<StandingState> {
        let all = self.sharing + 1;
        vec![StandingState {
            at: vec![Share::Begun; all],
            folders: vec![true; all],
            files: vec![false; all],
            burials: self.burials,
            waited: false,
        }]
    }

    fn actions(&self, state: &StandingState, actions: &mut Vec<Action>) {
        for process in 0..=self.sharing {
            actions.push(Action::Step(process));
            if state.burials > 0 && state.folders[process] {
                actions.push(Action::Bury(process));
            }
        }
    }

    fn next_state(&self, last: &StandingState, action: Action) -> Option<StandingState> {
        let mut state = last.clone();
        match action {
            Action::Step(process) => self.step(&mut state, process)?,
            Action::Bury(process) => {
                state.burials -= 1;
                state.folders[process] = false;
            }
            Action::Suspect(_) => return None,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ALONE, |model: &Self, state: &StandingState| {
                let inside =
                    |process: usize| state.at[process] == Share::Inside && state.folders[process];
                !inside(model.sharing) || !(0..model.sharing).any(inside)
            }),
            Property::sometimes("it is held alone", |model: &Self, state: &StandingState| {
                state.at[model.sharing] == Share::Inside
            }),
            Property::sometimes("two share it", |_, state: &StandingState| {
                let inside = state.at.iter().filter(|at| **at == Share::Inside);
                inside.count() > 1
            }),
        ]
    }
}

const ALONE: &str = "who holds it alone is alone";

#[test]
fn no_order_of_steps_lets_in_both_who_shares_and_who_wants_to_be_alone() {
    let standing = |looks_first, lists_first| Standing {
        sharing: 3,
        burials: 2,
        looks_first,
        lists_first,
    };
    let checker = standing(false, false).checker().spawn_bfs().join();
    println!(
        "model: a lock on the store: {} states",
        checker.unique_state_count()
    );
    checker.assert_properties();
    assert!(checker.unique_state_count() >= 500);
    for (looks_first, lists_first) in [(true, false), (false, true)] {
        let checker = standing(looks_first, lists_first)
            .checker()
            .spawn_bfs()
            .join();
        assert!(
            checker.discoveries().contains_key(ALONE),
            "{looks_first} {lists_first}"
        );
    }
}
