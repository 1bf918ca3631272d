//! Runs that several processes share: workers that join by hand, are killed, leave, lack data, belong to
//! another user or another build; coordinators that die, and are resumed or not. After each, every
//! result is there once and has the bytes of a run by one process.

mod coordinators;
mod deaths;
mod fit;
mod plans;
mod seen;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::space::TestSpace;

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

    /// Waits until the run and its workers have ended, all of them well.
    #[track_caller]
    fn all_end<'a>(&self, run: &mut Member, workers: impl IntoIterator<Item = &'a mut Member>) {
        assert_eq!(run.end(), Some(0), "{}", self.space.read("run.log"));
        for worker in workers {
            assert_eq!(worker.end(), Some(0));
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
    crew.all_end(&mut run, &mut workers);
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
    crew.all_end(&mut run, [&mut helper]);
    assert!(
        crew.ran().values().all(|times| *times == 1),
        "{:?}",
        crew.ran()
    );
    assert!(crew.space.read("run.log").contains("on helper"));
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
    crew.all_end(&mut run, &mut workers);
    assert!(
        crew.ran().values().all(|times| *times == 1),
        "{:?}",
        crew.ran()
    );
    crew.is_complete();
}
