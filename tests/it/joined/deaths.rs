//! Workers that die, are stopped or suspended, and what becomes of the nodes that they ran.

use std::fs;
use std::process::Command;

use ribflow::fsx::lease::LASTS_VARIABLE;
use rustix::process::Signal;

use super::{Crew, GRID, Member, WAITING};

#[test]
fn a_killed_worker_loses_the_node_that_it_ran_and_no_other() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.3"));
    let mut run = crew.coordinator(&[]);
    let doomed = crew.worker("doomed", &[]);
    crew.until("node of the first worker", || !crew.ran().is_empty());
    doomed.signal(Signal::KILL);
    let mut other = crew.worker("other", &[]);
    crew.all_end(&mut run, [&mut other]);
    let ran = crew.ran();
    assert_eq!(ran.len(), 12);
    assert!(
        ran.values().filter(|times| **times > 1).count() <= 2,
        "{ran:?}"
    );
    crew.is_complete();
}

#[test]
fn a_death_is_reported_although_another_worker_has_the_node_already() {
    let waits = "until [ -e $HOME/go ]; do sleep 0.05; done";
    let crew = Crew::new(&GRID.replace("sleep 0.1", waits));
    let mut run = crew.coordinator(&[]);
    let doomed = crew.worker("doomed", &[]);
    let log = || crew.space.read("run.log");
    crew.until("start that the coordinator shows", || {
        log().contains("  on doomed") && !crew.ran().is_empty()
    });
    run.signal(Signal::STOP);
    doomed.signal(Signal::KILL);
    drop(doomed);
    let status = ["status", "grid.yaml", "--store", "store", "--json"];
    let status = crew.space.run(&status).json();
    let nodes = status["nodes"].as_array().unwrap();
    assert!(
        nodes.iter().all(|node| node["state"] != "running"),
        "{status}"
    );
    let mut other = crew.worker("other", &["--cpus", "6"]);
    let is_repeated = || crew.ran().values().any(|times| *times > 1);
    crew.until("node that runs again", is_repeated);
    crew.space.write("home/go", "");
    run.signal(Signal::CONT);
    crew.all_end(&mut run, [&mut other]);
    assert!(
        log().contains("worker doomed died while it ran first[i="),
        "{}",
        log()
    );
}

#[test]
fn the_death_of_a_worker_that_waits_is_reported_and_others_are_invited() {
    let crew = Crew::new(GRID);
    let mut run = crew.coordinator(&[]);
    let doomed = crew.worker("doomed", &["--only", "second[i=3]"]);
    let log = || crew.space.read("run.log");
    crew.until("joined worker", || {
        log().contains("worker doomed has joined")
    });
    doomed.signal(Signal::KILL);
    drop(doomed);
    let invitations = || log().matches("waiting for workers").count();
    crew.until("second invitation", || invitations() == 2);
    assert!(
        log().contains("worker doomed died while it waited for a node"),
        "{}",
        log()
    );
    let mut worker = crew.worker("w", &[]);
    crew.all_end(&mut run, [&mut worker]);
}

#[test]
fn a_run_whose_folder_is_removed_ends_with_an_error() {
    let crew = Crew::new(GRID);
    let mut run = crew.coordinator(&[]);
    fs::remove_dir_all(crew.space.path("store/runs")).unwrap();
    assert_ne!(run.end(), Some(0));
    let log = crew.space.read("run.log");
    assert!(log.contains("removed while the run goes on"), "{log}");
}

#[test]
fn a_terminated_worker_stops_its_node_which_runs_elsewhere() {
    let crew = Crew::new(
        &GRID
            .replace("sleep 0.1", "sleep 2")
            .replace(", 3, 4, 5, 6]", "]"),
    );
    let mut run = crew.coordinator(&[]);
    let mut first = crew.worker("first", &[]);
    crew.until("node of the first worker", || !crew.ran().is_empty());
    first.signal(Signal::TERM);
    assert_eq!(first.end(), Some(130));
    let mut other = crew.worker("other", &[]);
    crew.all_end(&mut run, [&mut other]);
    assert!(
        crew.space
            .read("run.log")
            .contains("worker first left while it ran first[i=")
    );
    crew.is_complete();
}

#[test]
fn a_worker_that_was_suspended_for_longer_than_its_locks_is_there_again() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.5"));
    let lasts = |mut command: Command| {
        command
            .env("RIBFLOW_CLAIMS", "lease")
            .env(LASTS_VARIABLE, "2");
        command
    };
    let mut run = crew.spawn(&mut lasts(crew.command(&WAITING)), "run.log");
    crew.until("plan", || !crew.plans().is_empty());
    let mut worker = crew.spawn(&mut lasts(crew.worker_command("w", &[])), "w.log");
    crew.until("start", || !crew.space.read("home/ran").is_empty());
    worker.signal(Signal::STOP);
    crew.until("notice", || {
        crew.space.read("run.log").contains("worker w died")
    });
    worker.signal(Signal::CONT);
    let state = || {
        let status = ["status", "grid.yaml", "--store", "store", "--json"];
        let status = crew.space.run(&status).json();
        status["workers"][0]["state"].clone()
    };
    crew.until("return", || state() == "here");
    assert_eq!((run.end(), worker.end()), (Some(0), Some(0)));
    assert_eq!(state(), "gone");
    crew.is_complete();
}

#[test]
fn of_many_dead_workers_the_nodes_are_free_at_once() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 1"));
    let mut run = crew.coordinator(&[]);
    let mut doomed: Vec<Member> = (0..6).map(|n| crew.worker(&format!("d{n}"), &[])).collect();
    crew.until("node of each worker", || crew.ran().len() == 6);
    doomed.iter().for_each(|worker| worker.signal(Signal::KILL));
    doomed.iter_mut().for_each(|worker| drop(worker.0.wait()));
    // It has nothing to run until it knows that the others are dead.
    let mut able = crew.worker("able", &["--cpus", "6", "--idle", "20s"]);
    crew.all_end(&mut run, [&mut able]);
    crew.is_complete();
}
