use super::*;

const JOB: &str = "rf-r-cpu-ab";

fn workers(count: u32) -> Workers {
    let mut workers = Workers::new("rf-r-".to_string(), Patience::default());
    workers.learn_queue(&[], 0.0);
    workers.add(JOB, "cpu", count, None);
    workers
}

fn job(index: u32, state: State) -> Job {
    Job {
        name: JOB.to_string(),
        index,
        id: "7".to_string(),
        state,
        reason: String::new(),
        nodes: String::new(),
    }
}

fn joined(index: u32, claimed: bool, presence: Presence) -> Joined {
    Joined {
        name: format!("cpu-ab-{index}"),
        claimed,
        presence,
    }
}

fn counts(workers: &Workers) -> (usize, usize) {
    let counts = workers.counts("cpu");
    (counts.running, counts.queued)
}

/// The verdict at the time `now`, and what follows from it besides.
fn verdicts(workers: &mut Workers, now: f64, wrote: bool) -> Vec<What> {
    let events = workers.judge(now, &|_| wrote);
    events.into_iter().map(|event| event.what).collect()
}

fn failed() -> State {
    State::Failed("failed".to_string())
}

#[test]
fn a_worker_is_queued_then_runs_then_leaves() {
    let mut workers = workers(2);
    assert_eq!(counts(&workers), (0, 2));
    assert!(workers.is_open());
    workers.learn_queue(&[job(0, State::Running), job(1, State::Queued)], 10.0);
    assert_eq!(counts(&workers), (1, 1));
    let both = [
        joined(0, true, Presence::Here),
        joined(1, false, Presence::Here),
    ];
    let events = workers.learn_joined(&both, 11.0);
    assert_eq!(events, [event("cpu", "cpu-ab-0", What::Claimed)]);
    assert!(workers.learn_joined(&both, 12.0).is_empty());
    // Both have joined: the store says all that the queue could say.
    assert_eq!(counts(&workers), (2, 0));
    assert!(!workers.is_open());
    workers.learn_joined(&[joined(1, false, Presence::Left)], 20.0);
    assert_eq!(counts(&workers), (1, 0));
    let served = What::Ended(Ending::Served, String::new());
    assert_eq!(verdicts(&mut workers, 20.0, true), [served]);
    assert_eq!(verdicts(&mut workers, 99.0, true), []);
    assert!(!workers.is_open());
}

#[test]
fn what_the_machine_does_is_not_the_workers() {
    for (state, claimed, expected) in [
        (
            State::Taken("was preempted"),
            false,
            Ending::Machine { claimed: false },
        ),
        (
            State::Taken("was preempted"),
            true,
            Ending::Machine { claimed: true },
        ),
        (failed(), false, Ending::Unclaimed),
        (State::Done, false, Ending::Unclaimed),
        (failed(), true, Ending::Served),
    ] {
        let mut workers = workers(1);
        workers.learn_joined(&[joined(0, claimed, Presence::Here)], 1.0);
        workers.learn_queue(&[job(0, state.clone())], 2.0);
        // No other is asked for until it is known whether this one died.
        assert_eq!(counts(&workers), (0, usize::from(!claimed)));
        // The store may be late.
        assert_eq!(verdicts(&mut workers, 3.0, true), []);
        let found = verdicts(&mut workers, 40.0, true);
        let What::Ended(ending, _) = &found[0] else {
            panic!("{found:?}")
        };
        assert_eq!(*ending, expected, "{state:?}");
        let broke = matches!(found.get(1), Some(What::Broke(how)) if how == "failed");
        assert_eq!(broke, claimed && state == failed(), "{found:?}");
    }
}

#[test]
fn a_worker_that_leaves_while_its_job_ends_has_served() {
    let mut workers = workers(1);
    workers.learn_queue(&[job(0, State::Done)], 2.0);
    assert_eq!(verdicts(&mut workers, 3.0, true), []);
    workers.learn_joined(&[joined(0, false, Presence::Left)], 4.0);
    let served = What::Ended(Ending::Served, String::new());
    assert_eq!(verdicts(&mut workers, 4.0, true), [served]);
}

/// The controller died before it had written the submission down.
#[test]
fn a_job_that_slurm_has_forgotten_is_asked_for_again() {
    let mut workers = workers(1);
    workers.learn_queue(&[], 10.0);
    assert_eq!(workers.missing(), [JOB]);
    // Its number was given to another job, whose name is another.
    let other = Job {
        name: "rf-r-cpu-cd".to_string(),
        ..job(0, State::Running)
    };
    workers.learn_queue(&[other], 20.0);
    workers.learn_accounts(&[], 20.0);
    let forgotten = "was forgotten by Slurm before it started".to_string();
    let machine = What::Ended(Ending::Machine { claimed: false }, forgotten);
    assert_eq!(counts(&workers), (1, 1));
    assert_eq!(verdicts(&mut workers, 60.0, false), [machine]);
    assert_eq!(counts(&workers), (1, 0));
}

#[test]
fn what_disappeared_is_judged_by_the_accounting_or_by_its_log() {
    let mut known = workers(1);
    known.learn_queue(&[], 10.0);
    assert_eq!(verdicts(&mut known, 60.0, true), []);
    known.learn_accounts(&[job(0, State::Taken("was cancelled"))], 60.0);
    let machine = Ending::Machine { claimed: false };
    let cancelled = What::Ended(machine, "was cancelled".to_string());
    assert_eq!(verdicts(&mut known, 60.0, true), [cancelled]);

    let mut unknown = workers(1);
    unknown.learn_queue(&[], 10.0);
    unknown.learn_accounts(&[], 10.0);
    let how = "ended, and Slurm does not know how".to_string();
    let dead = What::Ended(Ending::Unclaimed, how);
    assert_eq!(verdicts(&mut unknown, 60.0, true), [dead]);
}

#[test]
fn a_worker_with_a_heart_lives_whatever_slurm_has_forgotten() {
    let mut workers = workers(1);
    workers.learn_joined(&[joined(0, true, Presence::Here)], 1.0);
    workers.learn_queue(&[], 10.0);
    assert_eq!(counts(&workers), (1, 0));
    assert_eq!(verdicts(&mut workers, 100.0, true), []);
}

#[test]
fn a_heart_that_stops_while_slurm_sees_a_job_is_cancelled() {
    let mut workers = workers(1);
    workers.learn_queue(&[job(0, State::Running)], 1.0);
    workers.learn_joined(&[joined(0, true, Presence::Lost)], 100.0);
    assert_eq!(counts(&workers), (0, 0));
    assert!(workers.is_open());
    // The queue is asked first, and Slurm may be late.
    assert_eq!(verdicts(&mut workers, 200.0, true), []);
    workers.learn_queue(&[job(0, State::Completing)], 101.0);
    assert_eq!(verdicts(&mut workers, 200.0, true), []);
    workers.learn_queue(&[job(0, State::Running)], 102.0);
    assert_eq!(verdicts(&mut workers, 200.0, true), []);
    workers.learn_queue(&[job(0, State::Running)], 201.0);
    let found = verdicts(&mut workers, 202.0, true);
    let machine = Ending::Machine { claimed: true };
    assert!(matches!(&found[0], What::Ended(ending, _) if *ending == machine));
    assert!(matches!(&found[1], What::Ghost { task, .. } if task == "7"));
}

#[test]
fn a_submission_in_doubt_counts_until_it_is_known() {
    let mut workers = Workers::new("rf-r-".to_string(), Patience::default());
    workers.learn_queue(&[], 0.0);
    workers.add(JOB, "cpu", 2, Some(10.0));
    assert_eq!(counts(&workers), (0, 2));
    assert!(workers.learn_queue(&[], 30.0).is_empty());
    let events = workers.learn_queue(&[job(0, State::Queued), job(1, State::Queued)], 60.0);
    assert_eq!(events[0].what, What::Accepted);
    assert_eq!(counts(&workers), (0, 2));

    workers.add("rf-r-cpu-cd", "cpu", 2, Some(100.0));
    let jobs = [job(0, State::Running), job(1, State::Queued)];
    let events = workers.learn_queue(&jobs, 170.0);
    assert_eq!(events, [event("cpu", "cpu-cd-0", What::NotAccepted)]);
    assert_eq!(counts(&workers), (1, 1));
}

#[test]
fn jobs_of_an_earlier_coordinator_are_counted() {
    let mut workers = Workers::new("rf-r-".to_string(), Patience::default());
    let jobs = [
        job(0, failed()),
        job(1, State::Running),
        job(2, State::Queued),
    ];
    let events = workers.learn_queue(&jobs, 0.0);
    let adopted = |index: u32| event("cpu", &format!("cpu-ab-{index}"), What::Adopted);
    assert_eq!(events, [adopted(1), adopted(2)]);
    assert_eq!(counts(&workers), (1, 1));
    // What ended before is not this coordinator's to judge.
    assert_eq!(verdicts(&mut workers, 99.0, true), []);
    assert_eq!(workers.live(true), [JOB]);
}
