//! Coordinators that end, are interrupted or resumed, and several of them.

use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Crew, GRID};

#[test]
fn a_run_that_has_failed_awaits_the_nodes_that_run_elsewhere() {
    let fails = "test ${i} = 1 && { until grep -q first-2 $HOME/ran; do sleep 0.02; done; exit 1; }; \
                 until [ -e $HOME/go ]; do sleep 0.02; done; test ${i} != 3;";
    let crew = Crew::new(
        &GRID
            .replacen("sleep 0.1;", fails, 1)
            .replace(", 4, 5, 6]", "]"),
    );
    let mut run = crew.coordinator(&[]);
    let mut workers = ["w1", "w2", "w3"].map(|name| crew.worker(name, &[]));
    let log = || crew.space.read("run.log");
    crew.until("failure", || {
        log().contains("waiting for 2 nodes that workers run")
    });
    crew.space.write("home/go", "");
    assert_eq!(run.end(), Some(1), "{}", log());
    for worker in &mut workers {
        assert_eq!(worker.end(), Some(0));
    }
    assert!(log().contains("done     first[i=2]"), "{}", log());
    assert!(log().contains("failed   first[i=3]"), "{}", log());
}

#[test]
fn a_killed_coordinator_is_resumed_with_its_workers() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.3"));
    let run = crew.coordinator(&[]);
    let mut worker = crew.worker("w", &[]);
    crew.until("node", || !crew.ran().is_empty());
    run.signal(Signal::KILL);
    drop(run);
    let mut resumed = crew.waiting("resumed.log", &[]);
    assert_eq!(resumed.end(), Some(0), "{}", crew.space.read("resumed.log"));
    assert_eq!(worker.end(), Some(0));
    assert_eq!(
        crew.plans().len(),
        1,
        "the resumed run has the workers of the first"
    );
    assert!(
        crew.ran().values().all(|times| *times == 1),
        "{:?}",
        crew.ran()
    );
    assert!(crew.space.read("resumed.log").contains("on w"));
    let status = crew
        .space
        .run(&["status", "grid.yaml", "--store", "store"])
        .expect(0);
    assert!(status.stdout.contains("ended after"), "{status}");
    crew.is_complete();
}

#[test]
fn a_resumed_coordinator_shows_what_goes_on_and_nothing_that_ended_before() {
    let waits = "echo second-${i} >> $HOME/ran; until [ -e $HOME/go ]; do sleep 0.05; done;";
    let crew = Crew::new(&GRID.replace("echo second-${i} >> $HOME/ran;", waits));
    let run = crew.coordinator(&[]);
    let mut gone = crew.worker("gone", &["--only", "first[i=1]"]);
    assert_eq!(gone.end(), Some(0));
    let dead = crew.worker("dead", &[]);
    let runs_second = || crew.space.read("home/ran").contains("second");
    crew.until("node of the second stage", runs_second);
    // The result of the last one may still be on its way into the store.
    let done = || {
        crew.space
            .read("run.log")
            .matches("done     first[")
            .count()
            == 6
    };
    crew.until("end of the first stage", done);
    dead.signal(Signal::KILL);
    drop(dead);
    let mut worker = crew.worker("w", &[]);
    let begun = || crew.space.read("home/ran").matches("second").count() == 2;
    crew.until("second node of the second stage", begun);
    run.signal(Signal::KILL);
    drop(run);
    let mut resumed = crew.waiting("resumed.log", &[]);
    let shown = || crew.space.read("resumed.log");
    crew.until("start of the node that runs", || {
        shown().contains("  on w\n")
    });
    crew.space.write("home/go", "");
    assert_eq!(resumed.end(), Some(0), "{}", shown());
    assert_eq!(worker.end(), Some(0));
    let log = shown();
    let starts = |stage: &str| log.matches(&format!("start    {stage}[")).count();
    assert_eq!((starts("first"), starts("second")), (0, 6), "{log}");
    assert!(log.contains("worker w has joined"), "{log}");
    assert!(
        !log.contains("worker gone") && !log.contains("worker dead has joined"),
        "{log}"
    );
}

#[test]
fn without_its_coordinator_a_run_is_finished_by_its_workers() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.3"));
    let run = crew.coordinator(&[]);
    let mut workers = [crew.worker("w0", &[]), crew.worker("w1", &[])];
    crew.until("node", || !crew.ran().is_empty());
    run.signal(Signal::KILL);
    drop(run);
    for worker in &mut workers {
        assert_eq!(worker.end(), Some(0));
    }
    assert!(
        crew.ran().values().all(|times| *times == 1),
        "{:?}",
        crew.ran()
    );
    // From any login: what the workers have noted.
    let status = crew
        .space
        .run(&["status", "grid.yaml", "--store", "store"])
        .expect(0);
    assert!(status.stdout.contains("12    12"), "{status}");
    crew.space
        .run(&["logs", "grid.yaml", "second[i=3]", "--store", "store"])
        .ok();
    crew.is_complete();
}

/// Nobody but its journal knows of the failure: the coordinator was killed before.
#[test]
fn a_failure_after_the_end_of_the_coordinator_is_known_later() {
    let waits = "echo second-${i} >> $HOME/ran; until [ -e $HOME/go ]; do sleep 0.05; done; \
                 echo looking; test ${i} != 3;";
    let crew = Crew::new(&GRID.replace("echo second-${i} >> $HOME/ran;", waits));
    let run = crew.coordinator(&["--keep-going"]);
    let mut worker = crew.worker("w", &[]);
    let is_waiting = || crew.space.read("home/ran").contains("second");
    crew.until("node of the second stage", is_waiting);
    run.signal(Signal::KILL);
    drop(run);
    crew.space.write("home/go", "");
    assert_eq!(worker.end(), Some(0));
    let status = ["status", "grid.yaml", "--store", "store"];
    let shown = crew.space.run(&status).expect(0);
    assert!(shown.stdout.contains("failed   second[i=3]"), "{shown}");
    assert!(shown.stdout.contains("looking"), "{shown}");
    let again = ["run", "grid.yaml", "--store", "store", "--keep-going", "-v"];
    let mut again = crew.command(&again);
    let again = crew.space.finish(again.stdout(Stdio::piped())).expect(1);
    assert!(again.stderr.contains("its last attempt failed"), "{again}");
    assert!(again.stdout.contains("11 reused, 1 failed"), "{again}");
}

#[test]
fn two_coordinators_share_their_workers() {
    let crew = Crew::new(GRID);
    let mut one = crew.coordinator(&[]);
    let mut two = crew.waiting("two.log", &["--out", "two"]);
    let mut worker = crew.worker("w", &[]);
    assert_eq!(one.end(), Some(0));
    assert_eq!(two.end(), Some(0), "{}", crew.space.read("two.log"));
    assert_eq!(worker.end(), Some(0));
    assert!(
        crew.ran().values().all(|times| *times == 1),
        "{:?}",
        crew.ran()
    );
    crew.is_complete();
}

#[test]
fn an_interrupted_coordinator_lets_workers_finish_their_nodes_and_leave() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.5"));
    let mut run = crew.coordinator(&[]);
    // The worker is news for a coordinator that slept meanwhile.
    run.signal(Signal::STOP);
    let mut worker = crew.worker("w", &[]);
    crew.until("node", || !crew.ran().is_empty());
    run.signal(Signal::INT);
    run.signal(Signal::CONT);
    assert_eq!(run.end(), Some(130));
    assert_eq!(worker.end(), Some(0));
    let log = crew.space.read("run.log");
    assert!(
        log.contains("the workers finish the nodes that they run, and leave"),
        "{log}"
    );
    let ran = crew.ran();
    assert!(ran.len() < 12, "{ran:?}");
    // The same command goes on, with another worker.
    let mut run = crew.coordinator(&[]);
    let mut worker = crew.worker("x", &[]);
    crew.all_end(&mut run, [&mut worker]);
    assert!(
        crew.ran().values().all(|times| *times == 1),
        "{:?}",
        crew.ran()
    );
    crew.is_complete();
}

#[test]
fn the_helper_of_an_interrupted_run_goes_on() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.5"));
    let words = ["run", "grid.yaml", "--store", "store", "--threads", "1"];
    let mut run = crew.spawn(&mut crew.command(&words), "run.log");
    crew.until("plan", || !crew.plans().is_empty());
    let mut helper = crew.worker("helper", &["--idle", "1s"]);
    let helps = || crew.space.read("run.log").contains("  on helper");
    crew.until("node of the helper", helps);
    run.signal(Signal::INT);
    assert_eq!(run.end(), Some(130));
    let log = crew.space.read("run.log");
    assert!(
        log.contains("the workers that have joined go on with the run"),
        "{log}"
    );
    assert_eq!(helper.end(), Some(0));
    crew.is_complete();
}

#[test]
fn both_coordinators_of_a_run_end_when_one_is_interrupted() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.5"));
    let mut one = crew.coordinator(&[]);
    let mut two = crew.waiting("two.log", &["--out", "two"]);
    let mut worker = crew.worker("w", &[]);
    crew.until("node of the worker at both", || {
        !crew.ran().is_empty() && crew.space.read("two.log").contains("on w")
    });
    one.signal(Signal::INT);
    assert_eq!(one.end(), Some(130));
    assert_eq!(two.end(), Some(130), "{}", crew.space.read("two.log"));
    assert!(
        crew.space
            .read("two.log")
            .contains("another process has stopped the run")
    );
    assert_eq!(worker.end(), Some(0));
    assert!(
        crew.space
            .read("w.log")
            .contains("leaves: the run is stopped")
    );
}

/// A worker that comes early waits for the next run instead of joining one that is complete.
#[test]
fn a_complete_run_of_a_dead_coordinator_is_not_joined() {
    let crew = Crew::new(
        &GRID
            .replace("sleep 0.1", "sleep 0.4")
            .replace(", 4, 5, 6]", "]"),
    );
    let run = crew.coordinator(&[]);
    let mut worker = crew.worker("w", &[]);
    crew.until("node", || !crew.ran().is_empty());
    run.signal(Signal::KILL);
    assert_eq!(worker.end(), Some(0));
    assert_eq!(crew.ran().len(), 6);
    let mut early = crew.worker("early", &["--idle", "1s"]);
    assert_eq!(early.end(), Some(1), "{}", crew.space.read("early.log"));

    // Nor is one that a run without workers has completed.
    crew.space
        .write("grid.yaml", GRID.replace("sleep 0.1", "sleep 0.2"));
    let run = crew.coordinator(&[]);
    run.signal(Signal::KILL);
    drop(run);
    let mut early = crew.worker("willing", &["--idle", "1s", "--only", "first[i=1]"]);
    assert_eq!(early.end(), Some(0), "{}", crew.space.read("willing.log"));
    let alone = ["run", "grid.yaml", "--store", "store"];
    let alone = crew.command(&alone).stderr(Stdio::null()).status();
    assert!(alone.unwrap().success());
    let begun = Instant::now();
    let mut early = crew.worker("again", &["--idle", "90s", "--time", "1s"]);
    assert_eq!(early.end(), Some(1), "{}", crew.space.read("again.log"));
    assert!(begun.elapsed() < Duration::from_secs(60));
}
