//! Runs that several processes share: workers that join by hand, are killed, leave, lack data, belong to
//! another user or another build; coordinators that die, and are resumed or not. After each, every
//! result is there once and has the bytes of a run by one process.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ribflow::digest::check;
use ribflow::fsx::lease::LASTS_VARIABLE;
use ribflow::store::Store;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::derived;
use crate::servers::is_root;
use crate::space::{RUN, TestSpace};

/// Twelve nodes in two stages; each takes about a tenth of a second, and notes that it has run.
const GRID: &str = r#"
ribflow: 1
name: grid
axes:
  i: [1, 2, 3, 4, 5, 6]
stages:
  first:
    each: [i]
    use: command
    with: { run: "echo first-${i} >> $HOME/ran; sleep 0.1; echo ${i} > out/x", outputs: [x], pass: [MARK] }
  second:
    each: [i]
    use: command
    needs: { x: first }
    with: { run: "echo second-${i} >> $HOME/ran; sleep 0.1; cat x/x > out/y", outputs: [y], pass: [MARK] }
"#;

/// A run that leaves its nodes to workers.
const WAITING: [&str; 6] = [
    "run",
    "grid.yaml",
    "--store",
    "store",
    "--executor",
    "joined",
];

/// A run and its workers.
struct Crew {
    space: TestSpace,
}

/// A process of the crew, killed at the end of the test.
struct Member(Child);

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Member {
    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(id.unwrap(), signal).unwrap();
    }

    /// Waits for the end; its exit code.
    #[track_caller]
    fn end(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "it does not end"
            );
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Crew {
    fn new(workflow: &str) -> Self {
        let space = TestSpace::new();
        space.write("grid.yaml", workflow);
        fs::create_dir_all(space.path("home")).unwrap();
        space.write("home/ran", "");
        Self { space }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.space.command(words);
        command.env("MARK", "secret-of-the-test");
        command.stdout(Stdio::null());
        command
    }

    fn spawn(&self, command: &mut Command, log: &str) -> Member {
        let log = fs::File::create(self.space.path(log)).unwrap();
        Member(command.stderr(log).spawn().unwrap())
    }

    /// Starts a run that executes nothing itself.
    fn waiting(&self, log: &str, more: &[&str]) -> Member {
        self.spawn(&mut self.command(&[&WAITING, more].concat()), log)
    }

    /// The same, and waits for its plan.
    fn coordinator(&self, more: &[&str]) -> Member {
        let before = self.plans().len();
        let member = self.waiting("run.log", more);
        self.until("plan", || self.plans().len() > before);
        member
    }

    fn worker(&self, name: &str, more: &[&str]) -> Member {
        let mut command = self.worker_command(name, more);
        self.spawn(&mut command, &format!("{name}.log"))
    }

    fn worker_command(&self, name: &str, more: &[&str]) -> Command {
        let words = [
            "worker",
            "--store",
            "store",
            "--join",
            "--threads",
            "1",
            "--name",
            name,
        ];
        self.command(&[&words, more].concat())
    }

    /// The runs that have left a plan.
    fn plans(&self) -> Vec<String> {
        let runs = fs::read_dir(self.space.path("store/runs"));
        let runs = runs.into_iter().flatten().flatten();
        let mut plans: Vec<String> = runs
            .filter(|run| run.path().join("join.json").is_file())
            .map(|run| run.file_name().into_string().unwrap())
            .collect();
        plans.sort();
        plans
    }

    #[track_caller]
    fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let begun = Instant::now();
        while !reached() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no {what}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The nodes that have begun to run, with how often.
    fn ran(&self) -> BTreeMap<String, usize> {
        let mut ran = BTreeMap::new();
        for line in self.space.read("home/ran").lines() {
            *ran.entry(line.to_string()).or_default() += 1;
        }
        ran
    }

    /// The artifacts of all nodes in a store.
    fn results(&self, store: &str) -> Value {
        let status = self
            .space
            .run(&["status", "grid.yaml", "--store", store, "--json"]);
        let nodes = status.json()["nodes"].as_array().unwrap().clone();
        let keyed = nodes
            .iter()
            .map(|node| (&node["id"], &node["key"], &node["state"]));
        let mut found = serde_json::Map::new();
        for (id, key, state) in keyed {
            assert_eq!(state, "done", "{id}");
            found.insert(id.to_string(), key.clone());
        }
        Value::Object(found)
    }

    /// Checks that the store has the results of a run by one process, and is sound.
    #[track_caller]
    fn is_complete(&self) {
        let alone = ["run", "grid.yaml", "--store", "alone", "--out", "out-alone"];
        assert!(
            self.command(&alone)
                .stderr(Stdio::null())
                .status()
                .unwrap()
                .success()
        );
        // A key has the digests of all inputs in it, so the last keys say that all bytes are equal.
        assert_eq!(self.results("store"), self.results("alone"));
        self.space
            .run(&["cache", "verify", "--store", "store"])
            .ok();
        let again = ["run", "grid.yaml", "--store", "store", "--json"];
        let again = self
            .space
            .finish(self.space.command(&again).env("MARK", "x"));
        assert_eq!(again.expect(0).json_lines().last().unwrap()["ran"], 0);
    }
}

#[test]
fn workers_share_a_run_and_every_node_runs_once() {
    let crew = Crew::new(GRID);
    let mut run = crew.coordinator(&[]);
    let mut workers: Vec<Member> = (0..4).map(|n| crew.worker(&format!("w{n}"), &[])).collect();
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    for worker in &mut workers {
        assert_eq!(worker.end(), Some(0));
    }
    let ran = crew.ran();
    assert_eq!(ran.len(), 12);
    assert!(ran.values().all(|times| *times == 1), "{ran:?}");
    let log = crew.space.read("run.log");
    assert!(log.contains("worker w0 has joined: 1 core, cpu"), "{log}");
    assert!(log.contains("  on w"), "{log}");
    let invited = format!(
        "waiting for workers: `ribflow worker --join {}",
        crew.plans()[0]
    );
    assert!(log.contains(&invited), "{log}");
    let plan = crew
        .space
        .read(&format!("store/runs/{}/join.json", crew.plans()[0]));
    assert!(
        !plan.contains("secret-of-the-test"),
        "a plan has no value of `pass`"
    );
    crew.is_complete();
}

#[test]
fn a_plain_run_takes_helpers_and_what_they_have_done_counts() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.4"));
    let words = ["run", "grid.yaml", "--store", "store", "--threads", "1"];
    let mut run = crew.spawn(&mut crew.command(&words), "run.log");
    crew.until("plan", || !crew.plans().is_empty());
    let mut helper = crew.worker("helper", &["--idle", "1s"]);
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(helper.end(), Some(0));
    assert!(
        crew.ran().values().all(|times| *times == 1),
        "{:?}",
        crew.ran()
    );
    assert!(crew.space.read("run.log").contains("on helper"));
    crew.is_complete();
}

#[test]
fn a_killed_worker_loses_the_node_that_it_ran_and_no_other() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.3"));
    let mut run = crew.coordinator(&[]);
    let doomed = crew.worker("doomed", &[]);
    crew.until("node of the first worker", || !crew.ran().is_empty());
    doomed.signal(Signal::KILL);
    let mut other = crew.worker("other", &[]);
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(other.end(), Some(0));
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
    assert_eq!(run.end(), Some(0), "{}", log());
    assert_eq!(other.end(), Some(0));
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
    assert_eq!(run.end(), Some(0), "{}", log());
    assert_eq!(worker.end(), Some(0));
}

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
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(other.end(), Some(0));
    assert!(
        crew.space
            .read("run.log")
            .contains("worker first left while it ran first[i=")
    );
    crew.is_complete();
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
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(worker.end(), Some(0));
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
fn a_worker_with_more_cores_than_its_machine_has_warns_of_it() {
    let crew = Crew::new(&GRID.replace(", 2, 3, 4, 5, 6]", "]"));
    let mut run = crew.coordinator(&[]);
    let mut worker = crew.worker("w", &["--cpus", "2000"]);
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(worker.end(), Some(0));
    for (log, name) in [("run.log", "w: "), ("w.log", "")] {
        let log = crew.space.read(log);
        let warning = format!("warning: {name}2,000 cores were asked for, and this machine has ");
        assert!(log.contains(&warning), "{log}");
    }
}

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
fn a_failure_in_a_worker_fails_the_run_with_its_log() {
    let failing = GRID.replace("cat x", "echo looking; test ${i} != 3; cat x");
    let crew = Crew::new(&failing);
    let mut run = crew.coordinator(&["--keep-going"]);
    let mut workers = [crew.worker("w0", &[]), crew.worker("w1", &[])];
    assert_eq!(run.end(), Some(1));
    for worker in &mut workers {
        assert_eq!(worker.end(), Some(0));
    }
    let log = crew.space.read("run.log");
    assert!(log.contains("failed   second[i=3]"), "{log}");
    let line = log.lines().find(|line| line.contains("log: ")).expect(&log);
    let path = line.split("log: ").nth(1).unwrap();
    assert!(crew.space.path(path).is_file(), "{path}");
    assert_eq!(
        crew.ran().get("second-3"),
        Some(&1),
        "it is not tried by each worker"
    );
    assert_eq!(crew.ran().len(), 12);
}

#[test]
fn a_worker_leaves_what_it_can_not_run() {
    let workflow = r#"
ribflow: 1
name: grid
stages:
  large: { use: command, with: { run: "echo large >> $HOME/ran; echo 1 > out/x", outputs: [x], pass: [MARK] }, resources: { cpus: 3, mem: 2GiB } }
  alone: { use: command, with: { run: "echo alone >> $HOME/ran; echo 2 > out/x", outputs: [x], pass: [MARK] }, resources: { dedicated: true } }
  long: { use: command, with: { run: "echo long >> $HOME/ran; echo 3 > out/x", outputs: [x], pass: [MARK] }, resources: { time: 1h } }
  data: { use: command, with: { run: "echo data >> $HOME/ran; cat part.txt > out/x", files: [part.txt], outputs: [x], pass: [MARK] } }
"#;
    let crew = Crew::new(workflow);
    crew.space.write("part.txt", "content");
    let mut run = crew.coordinator(&[]);
    // Here, the data is gone once the plan is there.
    fs::rename(crew.space.path("part.txt"), crew.space.path("away.txt")).unwrap();
    let mut small = crew.worker("small", &["--mem", "1GiB", "--time", "30m", "--idle", "1s"]);
    assert_eq!(small.end(), Some(0));
    assert_eq!(crew.ran(), BTreeMap::new());
    let log = crew.space.read("small.log");
    let lacks = log
        .lines()
        .filter(|line| line.contains("leaves `data` to other workers"));
    assert_eq!(lacks.count(), 1, "{log}");
    fs::rename(crew.space.path("away.txt"), crew.space.path("part.txt")).unwrap();
    let mut only = crew.worker("only", &["--only", "alone"]);
    assert_eq!(only.end(), Some(0));
    assert_eq!(crew.ran().into_keys().collect::<Vec<_>>(), ["alone"]);
    let mut able = crew.worker("able", &["--cpus", "3", "--mem", "2GiB", "--idle", "1s"]);
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(able.end(), Some(0));
    assert_eq!(crew.ran().len(), 4);
    crew.is_complete();
}

#[test]
fn a_worker_ends_before_its_time() {
    let crew = Crew::new(
        &GRID
            .replace("sleep 0.1", "sleep 100")
            .replace(", 2, 3, 4, 5, 6]", "]"),
    );
    let _run = crew.coordinator(&[]);
    // A minute before the end no node starts, twenty seconds before it none runs.
    let mut late = crew.worker("late", &["--time", "59s", "--idle", "1s"]);
    assert_eq!(late.end(), Some(0));
    assert_eq!(crew.ran(), BTreeMap::new());
    let begun = Instant::now();
    let mut worker = crew.worker("w", &["--time", "62s"]);
    crew.until("node", || !crew.ran().is_empty());
    worker.signal(Signal::USR1);
    thread::sleep(Duration::from_millis(500));
    assert_eq!(worker.0.try_wait().unwrap(), None, "its node goes on");
    worker.signal(Signal::TERM);
    assert_eq!(worker.end(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(40));
}

#[test]
fn variables_have_the_values_of_the_run() {
    let workflow = r#"
ribflow: 1
name: grid
params: { word: "${env.WORD}" }
stages:
  a: { use: command, with: { run: "echo a >> $HOME/ran; echo ${params.word} $TONE > out/x", outputs: [x], env: [TONE], pass: [MARK] } }
"#;
    let crew = Crew::new(workflow);
    let mut run = crew.command(&WAITING);
    run.env("WORD", "one").env("TONE", "high");
    let mut run = crew.spawn(&mut run, "run.log");
    crew.until("plan", || !crew.plans().is_empty());
    let words = ["worker", "--store", "store", "--join", "--name", "w"];
    let mut worker = crew.command(&words);
    worker.env("WORD", "two").env_remove("TONE");
    let mut worker = crew.spawn(&mut worker, "w.log");
    assert_eq!(
        run.end(),
        Some(0),
        "{}{}",
        crew.space.read("run.log"),
        crew.space.read("w.log")
    );
    assert_eq!(worker.end(), Some(0));
    let mut get = crew
        .space
        .command(&["get", "grid.yaml", "a", "-o", "got", "--store", "store"]);
    get.env("WORD", "one").env("TONE", "high");
    crew.space.finish(&mut get).ok();
    assert_eq!(crew.space.read("got/x"), "one high\n");
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
fn scratch_folders_may_be_on_another_disk_than_the_store() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "pwd >> $HOME/places"));
    let mut run = crew.coordinator(&[]);
    let disk = match fs::exists("/dev/shm") {
        Ok(true) => tempfile::tempdir_in("/dev/shm").unwrap(),
        _ => tempfile::tempdir().unwrap(),
    };
    let folder = disk.path().to_str().unwrap();
    let mut worker = crew.worker("w", &["--scratch", folder]);
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(worker.end(), Some(0));
    let places = crew.space.read("home/places");
    assert!(
        places.lines().all(|place| place.starts_with(folder)),
        "{places}"
    );
    let own = fs::read_dir(disk.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    assert_eq!(
        fs::metadata(&own).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(
        fs::read_dir(own.join("tmp")).unwrap().count(),
        0,
        "nothing is left behind"
    );
    crew.is_complete();
}

#[test]
fn derived_work_of_a_worker_is_on_its_own_disk() {
    let crew = Crew::new(derived::WORKFLOW);
    derived::photos(&crew.space);
    let mut run = crew.coordinator(&[]);
    let disk = tempfile::tempdir().unwrap();
    let folder = disk.path().to_str().unwrap();
    let mut worker = crew.worker("w", &["--scratch", folder]);
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(worker.end(), Some(0));
    let own = fs::read_dir(disk.path()).unwrap().next().unwrap().unwrap();
    let pieces = |root: PathBuf| fs::read_dir(root.join("derived")).map_or(0, Iterator::count);
    assert!(pieces(own.path()) > 0);
    assert_eq!(pieces(crew.space.path("store")), 0);
}

/// A worker with a mistyped option would wait for nothing.
/// Five trees of files, each of which four nodes read.
const READERS: &str = r#"
ribflow: 1
name: grid
axes:
  d: [1, 2, 3, 4, 5]
  i: [1, 2, 3, 4]
stages:
  data:
    each: [d]
    use: command
    with: { run: "echo ${d} > out/x", outputs: [x] }
  read:
    each: [d, i]
    use: command
    needs: { x: data }
    with: { run: "cat x/x >> $HOME/ran; echo ${i} > out/y", outputs: [y] }
"#;

#[test]
fn a_worker_stays_with_the_data_that_it_has() {
    let crew = Crew::new(READERS);
    let mut run = crew.coordinator(&[]);
    let mut worker = crew.worker("w", &[]);
    assert_eq!((run.end(), worker.end()), (Some(0), Some(0)));
    let ran = crew.space.read("home/ran");
    let mut read: Vec<&str> = ran.lines().collect();
    assert_eq!(read.len(), 20);
    read.dedup();
    assert_eq!(read.len(), 5, "{ran}");
}

/// Forty nodes that take no time, and one that reads them all.
const SHORT: &str = r#"
ribflow: 1
name: grid
axes: { i: [NUMBERS] }
stages:
  part:
    each: [i]
    use: command
    with: { run: "echo ${i} > out/x", outputs: [x] }
  copy:
    each: [i]
    use: command
    needs: { x: part }
    with: { run: "cat x/x > out/x", outputs: [x] }
"#;

#[test]
fn what_workers_have_run_counts_as_run_and_not_as_reused() {
    let numbers: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let crew = Crew::new(&SHORT.replace("NUMBERS", &numbers.join(", ")));
    let out = fs::File::create(crew.space.path("events")).unwrap();
    let mut command = crew.command(&[&WAITING, &["--json"][..]].concat());
    let mut run = crew.spawn(command.stdout(out), "run.log");
    crew.until("plan", || !crew.plans().is_empty());
    let mut workers: Vec<Member> = (1..=3)
        .map(|index| crew.worker(&format!("w{index}"), &[]))
        .collect();
    assert_eq!(run.end(), Some(0));
    for worker in &mut workers {
        assert_eq!(worker.end(), Some(0));
    }
    let events = crew.space.read("events");
    let summary: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&summary["ran"], &summary["reused"]),
        (&Value::from(80), &Value::from(0))
    );
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
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(worker.end(), Some(0));
    if is_root() {
        let plan = crew.plans().remove(0);
        let folder = crew.space.path(&format!("store/runs/{plan}"));
        chown(folder.join("join.json"), Some(64003), None).unwrap();
        let user = refused(&[&plan, "--trust-user", "nobody-of-this-name"]);
        assert!(user.contains("is not a user of this machine"), "{user}");
    }
}

#[test]
fn status_names_the_workers_and_watches_until_the_run_ends() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "sleep 0.5"));
    let mut run = crew.coordinator(&[]);
    let mut worker = crew.worker("w", &["--idle", "1s"]);
    crew.until("node", || !crew.ran().is_empty());
    let watch = ["status", "grid.yaml", "--store", "store", "--watch"];
    let watched = crew.space.run(&watch).expect(0);
    assert_eq!(run.end(), Some(0));
    assert_eq!(worker.end(), Some(0));
    assert!(watched.stdout.contains("]  on w at "), "{watched}");
    let ends = watched.stdout.rsplit("Run ").next().unwrap();
    assert!(ends.contains("ended after"), "{watched}");
}

#[test]
fn status_and_the_report_say_where_each_node_ran_and_waited() {
    // The second node of each chain waits for the first, which takes half a second.
    let crew = Crew::new(
        &GRID
            .replace("sleep 0.1", "sleep 0.5")
            .replace(", 3, 4, 5, 6]", "]"),
    );
    let mut run = crew.coordinator(&[]);
    let mut workers = [crew.worker("w0", &[]), crew.worker("w1", &[])];
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    workers
        .iter_mut()
        .for_each(|worker| assert_eq!(worker.end(), Some(0)));
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();

    let status = ["status", "grid.yaml", "--store", "store"];
    let shown = crew.space.run(&status).expect(0).stdout;
    let line = shown
        .lines()
        .find(|line| line.starts_with("w0 "))
        .expect(&shown);
    assert!(line.contains(&host), "{shown}");
    let status = crew.space.run(&[&status[..], &["--json"]].concat()).json();
    let workers = status["workers"].as_array().unwrap();
    let names: Vec<&Value> = workers.iter().map(|worker| &worker["name"]).collect();
    assert_eq!(names, ["w0", "w1"]);
    let ran: u64 = workers
        .iter()
        .map(|worker| worker["ran"].as_u64().unwrap())
        .sum();
    assert_eq!(ran, 4);
    for worker in workers {
        assert_eq!(
            (&worker["host"], &worker["state"]),
            (&Value::from(host.as_str()), &Value::from("gone"))
        );
        let busy = worker["busy_seconds"].as_f64().unwrap();
        assert!(busy >= 0.5 * worker["ran"].as_f64().unwrap(), "{worker}");
    }
    for node in status["nodes"].as_array().unwrap() {
        assert!(names.contains(&&node["worker"]), "{node}");
        assert_eq!(node["host"], host.as_str());
        assert!(node["seconds"].as_f64().unwrap() >= 0.5, "{node}");
        assert!(node["waited_seconds"].as_f64().unwrap() >= 0.0, "{node}");
    }

    let provenance: Value =
        serde_json::from_str(&crew.space.read("out/grid/provenance.json")).unwrap();
    assert_eq!(provenance["workers"].as_array().unwrap().len(), 2);
    for node in provenance["nodes"].as_array().unwrap() {
        assert!(names.contains(&&node["worker"]), "{node}");
        assert!(node["waited_seconds"].is_number(), "{node}");
    }
    let page = crew.space.read("out/grid/report.html");
    assert!(
        page.contains(&format!("<td>{host}</td>")),
        "no machine on the page"
    );

    // A later run with nothing to do reports the machines of the run that has run the nodes.
    let again = ["run", "grid.yaml", "--store", "store", "--out", "out-again"];
    crew.command(&again).status().unwrap();
    let again: Value =
        serde_json::from_str(&crew.space.read("out-again/grid/provenance.json")).unwrap();
    assert_eq!(again["workers"], provenance["workers"]);

    // Nothing of it is in results, and nothing of it is in the report of a run without workers.
    let results = crew.space.read("out/grid/results.json");
    crew.is_complete();
    assert_eq!(crew.space.read("out-alone/grid/results.json"), results);
    let alone = crew.space.read("out-alone/grid/provenance.json");
    assert!(
        !alone.contains("waited") && !alone.contains("workers"),
        "{alone}"
    );
    let alone = crew.space.read("out-alone/grid/report.html");
    assert!(!alone.contains("waited"), "{alone}");
}

/// A second coordinator has a journal of its own, and the workers are those of the first.
#[test]
fn waiting_counts_from_the_last_input_and_from_the_start_of_the_run() {
    let crew = Crew::new(
        &GRID
            .replace("sleep 0.1", "sleep 0.6")
            .replace(", 2, 3, 4, 5, 6]", "]"),
    );
    let run = crew.coordinator(&[]);
    let begun = Instant::now();
    thread::sleep(Duration::from_millis(700));
    let before = begun.elapsed().as_secs_f64();
    let mut worker = crew.worker("w", &[]);
    crew.until("node", || !crew.ran().is_empty());
    run.signal(Signal::KILL);
    drop(run);
    let mut resumed = crew.waiting("resumed.log", &[]);
    assert_eq!(resumed.end(), Some(0), "{}", crew.space.read("resumed.log"));
    assert_eq!(worker.end(), Some(0));
    let total = begun.elapsed().as_secs_f64();
    let status = ["status", "grid.yaml", "--store", "store", "--json"];
    let status = crew.space.run(&status).json();
    let waited = |stage: &str| {
        let nodes = status["nodes"].as_array().unwrap();
        let node = nodes.iter().find(|node| node["stage"] == stage).unwrap();
        node["waited_seconds"].as_f64().unwrap()
    };
    assert!(waited("first") >= before, "{status}");
    // It did not wait while its input was made.
    assert!(waited("second") <= total - before - 1.2, "{status}");
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
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(able.end(), Some(0));
    crew.is_complete();
}

#[test]
fn a_new_store_may_have_leases_from_the_start() {
    let crew = Crew::new(GRID);
    let made = crew
        .space
        .run(&["cache", "claims", "lease", "--store", "store"])
        .expect(0);
    assert!(made.stdout.contains("of the form `lease`"), "{made}");
    let mut run = crew.coordinator(&[]);
    let mut workers: Vec<Member> = (0..3).map(|n| crew.worker(&format!("w{n}"), &[])).collect();
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    for worker in &mut workers {
        assert_eq!(worker.end(), Some(0));
    }
    assert!(
        crew.ran().values().all(|times| *times == 1),
        "{:?}",
        crew.ran()
    );
    crew.is_complete();
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

#[test]
fn a_worker_without_a_passed_variable_leaves_its_nodes_to_others() {
    let crew = Crew::new(&GRID.replacen(
        "needs: { x: first }",
        "needs: { x: first }\n    resources: { mem: 1GiB, time: 30m }",
        1,
    ));
    let mut run = crew.coordinator(&[]);
    let mut poor = crew.worker_command("poor", &["--idle", "2s"]);
    let mut poor = crew.spawn(poor.env_remove("MARK"), "poor.log");
    assert_eq!(poor.end(), Some(0));
    let log = crew.space.read("poor.log");
    assert!(
        log.contains("the environment variable `MARK` is not set"),
        "{log}"
    );
    assert_eq!(log.matches("to other workers").count(), 1, "{log}");
    assert_eq!(crew.ran(), BTreeMap::new());
    let mut short = crew.worker("short", &["--time", "20m", "--idle", "2s"]);
    assert_eq!(short.end(), Some(0));
    let log = crew.space.read("short.log");
    let unfit = "6 nodes did not fit: second[i=1] and 5 more (mem 1.0 GiB, time 30 min 00 s)";
    assert!(log.contains(unfit), "{log}");
    let mut worker = crew.worker("w", &[]);
    assert_eq!(run.end(), Some(0), "{}", crew.space.read("run.log"));
    assert_eq!(worker.end(), Some(0));
    crew.is_complete();
}
