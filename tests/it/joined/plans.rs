//! Which runs can be joined, and by whom.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::chown;
use std::process::Command;

use ribflow::digest::check;
use ribflow::store::Store;
use rustix::process::Signal;

use super::{Crew, GRID, WAITING};
use crate::servers::is_root;
use crate::space::RUN;

/// A file where the folders of runs should be stands for a full disk.
#[test]
fn a_run_that_can_leave_no_plan_for_workers_ends() {
    let crew = Crew::new(GRID);
    drop(Store::open(&crew.space.path("store")).unwrap());
    let runs = crew.space.path("store/runs");
    let _ = fs::remove_dir(&runs);
    fs::write(&runs, "").unwrap();
    let mut run = crew.waiting("run.log", &[]);
    assert_eq!(run.end(), Some(1));
    let log = crew.space.read("run.log");
    assert!(log.contains("must run, and the store"), "{log}");
    assert_eq!(crew.ran().len(), 0);
}

#[test]
fn a_worker_refuses_runs_of_others_and_of_other_builds() {
    let crew = Crew::new(GRID);
    let run = crew.coordinator(&[]);
    let id = crew.plans().remove(0);
    let plan = crew.space.path(&format!("store/runs/{id}/join.json"));
    if is_root() {
        chown(&plan, Some(64_003), None).unwrap();
        let words = ["worker", "--store", "store", "--join", "--idle", "1s"];
        let refused = crew.space.run(&words).expect(2);
        assert!(
            refused.stderr.contains("is a run of the user 64003"),
            "{refused}"
        );
        assert!(refused.stderr.contains("--trust-user 64003"), "{refused}");
        assert_eq!(crew.ran(), BTreeMap::new());
    } else {
        eprintln!("skipped: only root can make a plan another user's");
    }
    let mut trusting = crew.worker("w", &["--trust-user", "64003", "--idle", "1s"]);
    assert_eq!(trusting.end(), Some(0), "{}", crew.space.read("w.log"));
    assert_eq!(crew.ran().len(), 12);
    let nowhere = ["worker", "--store", "store", "--join", "../../elsewhere"];
    let nowhere = crew.space.run(&nowhere).expect(1);
    assert!(
        nowhere.stderr.contains("is not the id of a run"),
        "{nowhere}"
    );
    let taken = crew
        .space
        .run(&[
            "worker",
            "--store",
            "store",
            "--join",
            &id,
            "--name",
            "w",
            "--trust-user",
            "64003",
        ])
        .expect(1);
    assert!(taken.stderr.contains("has joined run"), "{taken}");
    // Another build of the same version: any other content of the program.
    let program = crew.space.program();
    let mut bytes = fs::read(&program).unwrap();
    bytes.push(0);
    fs::write(&program, bytes).unwrap();
    let mut other = Command::new(&program);
    other
        .args([
            "worker",
            "--store",
            "store",
            "--join",
            &id,
            "--trust-user",
            "64003",
        ])
        .current_dir(crew.space.root());
    let refused = crew
        .space
        .finish(other.env_clear().env("HOME", crew.space.path("home")))
        .expect(2);
    assert!(
        refused.stderr.contains("another build of ribflow"),
        "{refused}"
    );
    drop(run);
}

#[test]
fn a_worker_of_another_host_needs_locks_that_reach_it() {
    let crew = Crew::new(GRID);
    let _run = crew.coordinator(&[]);
    let path = crew
        .space
        .path(&format!("store/runs/{}/join.json", crew.plans()[0]));
    let (mut plan, _) = check::read_document(&fs::read(&path).unwrap()).unwrap();
    plan["host"] = "another-host".into();
    fs::write(&path, check::document(&plan).unwrap()).unwrap();
    let refused = crew
        .space
        .run(&["worker", "--store", "store", "--join"])
        .expect(2);
    assert!(refused.stderr.contains("hold on one host"), "{refused}");
    assert!(
        refused
            .stderr
            .contains("ribflow cache claims lease --store store"),
        "{refused}"
    );
    plan["host"] = 3.into();
    fs::write(&path, check::document(&plan).unwrap()).unwrap();
    let refused = crew
        .space
        .run(&["worker", "--store", "store", "--join"])
        .expect(1);
    assert!(refused.stderr.contains("is not a plan"), "{refused}");
}

#[test]
fn a_worker_joins_no_run_that_has_ended_and_waits_for_one() {
    let crew = Crew::new(GRID);
    let mut run = crew.coordinator(&[]);
    let mut worker = crew.worker("first", &[]);
    assert_eq!((run.end(), worker.end()), (Some(0), Some(0)));
    // The run has ended: there is nothing to join.
    let mut late = crew.worker("late", &["--idle", "1s"]);
    assert_eq!(late.end(), Some(1));
    let log = crew.space.read("late.log");
    assert!(
        log.contains("no run in this store waits for workers"),
        "{log}"
    );
    // One that is there before its run takes it.
    let mut early = crew.worker("early", &["--idle", "60s"]);
    crew.until("notice", || {
        crew.space.read("early.log").contains("waits for a run")
    });
    let again = crew.space.read("grid.yaml").replace("-${i}", "+${i}");
    crew.space.write("grid.yaml", again);
    let mut run = crew.waiting("again.log", &[]);
    assert_eq!((run.end(), early.end()), (Some(0), Some(0)));
    // A store that is not there is not made.
    let words = ["worker", "--join", "--store", "stroe"];
    let refused = crew.space.run(&words).expect(2);
    assert!(refused.stderr.contains("there is no store at"), "{refused}");
    assert!(!crew.space.path("stroe").exists());
}

#[test]
fn a_run_that_its_workers_have_left_says_how_to_start_one() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 30"));
    let mut run = crew.coordinator(&[]);
    let invitations = || {
        crew.space
            .read("run.log")
            .matches("waiting for workers: ")
            .count()
    };
    crew.until("invitation", || invitations() == 1);
    let mut worker = crew.worker("w", &[]);
    crew.until("start", || !crew.space.read("home/ran").is_empty());
    worker.signal(Signal::TERM);
    worker.end();
    crew.until("second invitation", || invitations() == 2);
    run.signal(Signal::INT);
    assert_eq!(run.end(), Some(130));
}

#[test]
fn a_run_that_can_not_start_leaves_no_plan() {
    let crew = Crew::new(&GRID.replace("run:", "shell: sh, run:"));
    let words = [&RUN[..], &["--executor", "slurm"]].concat();
    let mut command = crew.command(&words);
    // There is no Slurm here.
    command.env("PATH", crew.space.path("home"));
    let mut run = crew.spawn(&mut command, "run.log");
    assert_eq!(run.end(), Some(1), "{}", crew.space.read("run.log"));
    assert!(crew.plans().is_empty());
}

#[test]
fn a_node_or_a_user_that_is_not_there_is_refused() {
    let crew = Crew::new(GRID);
    let mut run = crew.coordinator(&[]);
    crew.until("the plan", || !crew.plans().is_empty());
    let join = ["worker", "--store", "store", "--join"];
    let refused = |more: &[&str]| crew.space.run(&[&join, more].concat()).expect(2).stderr;
    let only = refused(&["--only", "first[i=7]"]);
    assert!(only.contains("the run has no node `first[i=7]`"), "{only}");
    let mut worker = crew.worker("w", &[]);
    crew.all_end(&mut run, [&mut worker]);
    if is_root() {
        let plan = crew.plans().remove(0);
        let folder = crew.space.path(&format!("store/runs/{plan}"));
        chown(folder.join("join.json"), Some(64003), None).unwrap();
        let user = refused(&[&plan, "--trust-user", "nobody-of-this-name"]);
        assert!(user.contains("is not a user of this machine"), "{user}");
    }
}

#[test]
fn a_run_with_options_that_workers_would_not_follow_leaves_no_plan() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.8"));
    let words = [&RUN[..], &["--threads", "1", "--limit", "2"]].concat();
    let mut run = crew.spawn(&mut crew.command(&words), "run.log");
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(crew.ran().len(), 2);
    assert_eq!(crew.plans(), Vec::<String>::new());
    let refused = crew
        .space
        .run(&[&WAITING[..], &["--limit", "2"]].concat())
        .expect(2);
    assert!(
        refused
            .stderr
            .contains("`--limit` is for runs whose nodes execute here"),
        "{refused}"
    );
}
