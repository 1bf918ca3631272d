//! Whole runs by real processes, each of which meets a fault: coordinators, the workers that they start,
//! and workers that join.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use ribflow::digest::Digest;
use ribflow::rng::Stream;
use ribflow::store::Store;
use ribflow::workflow::{LoadOptions, load};

use super::program::command;
use super::walk::{check_after, clean_after};
use crate::space::TestSpace;

/// Seven nodes; two of them give the same bytes, and one gives several files.
const WORKFLOW: &str = "
ribflow: 1
name: processes
axes: { n: [1, 2, 3] }
stages:
  first: { each: [n], use: command, with: { run: 'echo ${n} > out/x', outputs: [x] } }
  second: { each: [n], use: command, needs: { x: first }, with: { run: 'echo $(( $(cat x/x) % 2 )) > out/y', outputs: [y] } }
  last: { use: command, needs: { y: 'second[*].y' }, with: { run: 'mkdir out/z; cat $(find y* -type f) | sort > out/z/all; echo 1 > out/z/one', outputs: [z] } }
";
/// A process that has not ended after this time hangs.
const LONGEST: Duration = Duration::from_secs(40);

#[derive(Default)]
struct Counts {
    runs: usize,
    failed: usize,
    processes: usize,
    fired: usize,
    ended: usize,
}

struct Scene {
    space: TestSpace,
}

impl Scene {
    fn new() -> Self {
        let space = TestSpace::new();
        space.write("w.yaml", WORKFLOW);
        fs::create_dir(space.path("home")).unwrap();
        space.write("notes", "");
        Self { space }
    }

    fn start(&self, seed: u64, arguments: &[&str], log: &str) -> Child {
        let mut command = command(&self.space, seed, arguments);
        let log = fs::File::create(self.space.path(log)).unwrap();
        command.stdout(Stdio::null()).stderr(log);
        command.spawn().unwrap()
    }

    /// A run that starts its own workers; whether it succeeds.
    fn run(&self, seed: u64) -> bool {
        let run = ["run", "w.yaml", "--store", "store", "--threads", "2", "-v"];
        let mut run = self.start(seed, &run, "run.log");
        self.end(&mut run, "run.log")
    }

    /// A run that leaves its nodes to others, of which there are always two while it lasts.
    fn run_joined(&self, seed: u64) -> bool {
        let run = ["run", "w.yaml", "--store", "store", "--executor", "joined"];
        let mut run = self.start(seed, &run, "run.log");
        let begun = Instant::now();
        let mut workers: Vec<(Child, String)> = Vec::new();
        let mut started = 0;
        while run.try_wait().unwrap().is_none() && begun.elapsed() < LONGEST {
            workers.retain_mut(|(worker, log)| match worker.try_wait().unwrap() {
                Some(_) => {
                    self.end(worker, log);
                    false
                }
                None => true,
            });
            // Those that come late meet no fault, so that the run ends.
            let seed = if started < 6 { seed } else { 0 };
            if workers.len() < 2 && started < 60 {
                let log = format!("worker-{started}.log");
                let join = ["worker", "--store", "store", "--join", "--idle", "1s"];
                let join = [&join[..], &["--threads", "1"]].concat();
                workers.push((self.start(seed, &join, &log), log));
                started += 1;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let succeeds = self.end(&mut run, "run.log");
        for (mut worker, log) in workers {
            self.end(&mut worker, &log);
        }
        succeeds
    }

    /// Waits for the end of a process, which may fail or be killed, and does not panic.
    fn end(&self, child: &mut Child, log: &str) -> bool {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > LONGEST {
                let _ = child.kill();
                let _ = child.wait();
                panic!("it does not end: {}\n{}", self.logs(), self.notes());
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let said = self.space.read(log);
        assert!(!said.contains("panicked"), "{said}\n{}", self.notes());
        // 1: a node failed; 2: refused; 130: a worker that lost its run.
        let is_known = matches!(status.code(), None | Some(0 | 1 | 2 | 130));
        assert!(is_known, "{status}: {said}\n{}", self.notes());
        status.success()
    }

    /// What the processes of the newest run have printed.
    fn logs(&self) -> String {
        let files = fs::read_dir(self.space.root()).unwrap().flatten();
        let names = files.filter_map(|file| file.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".log")).collect();
        names.sort();
        let log = |name: &String| format!("--- {name}\n{}", self.space.read(name));
        names.iter().map(log).collect()
    }

    fn notes(&self) -> String {
        self.space.read("notes")
    }

    /// The digests of all outputs that have a record.
    fn outcome(&self) -> BTreeMap<String, Digest> {
        let registry = ribflow::stages::registry();
        let file = self.space.path("w.yaml");
        let (graph, _) = load(&file, &LoadOptions::default(), registry.kinds())
            .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let store = Store::open(&self.space.path("store")).unwrap();
        let survey = ribflow::engine::survey(&graph, &store, "cpu").unwrap();
        let mut ports = BTreeMap::new();
        for surveyed in &survey.nodes {
            for stored in surveyed.record.iter() {
                for (name, port) in &stored.record.ports {
                    let id = &graph.dag[surveyed.node].id;
                    ports.insert(format!("{id}.{name}"), port.digest);
                }
            }
        }
        ports
    }

    fn is_sound(&self, root: &Path) {
        // A run may have failed before it made a store.
        if root.join("store/store.json").exists() {
            check_after(root, false, false);
        }
    }
}

/// Ends what a process that was killed has left behind.
fn settle(root: &Path) {
    let begun = Instant::now();
    let is_at_work = || {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
            .any(|line| {
                let store = root.join("store");
                String::from_utf8_lossy(&line).contains(&*store.to_string_lossy())
            })
    };
    while is_at_work() {
        assert!(begun.elapsed() < LONGEST, "workers outlive their run");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Each walk is one to three runs that meet faults, then one that meets none.
pub fn walk(walks: u64) -> usize {
    let start = Instant::now();
    let plain = Scene::new();
    assert!(plain.run(0), "{}", plain.space.read("run.log"));
    let expected = plain.outcome();
    assert_eq!(expected.len(), 14);
    let mut counts = Counts::default();
    for seed in 1..=walks {
        let scene = Scene::new();
        let root = scene.space.root();
        // A store is made without faults: what fails there leaves nothing to protect.
        drop(Store::open(&root.join("store")).unwrap());
        let adopt = ["cache", "adopt", "store"];
        scene.space.run(&adopt).ok();
        let mut chance = Stream::new(seed, "process faults");
        for _ in 0..=chance.below(3) {
            let number = seed * 1000 + chance.below(1000);
            let succeeded = match chance.below(2) {
                0 => scene.run(number),
                _ => scene.run_joined(number),
            };
            counts.runs += 1;
            counts.failed += usize::from(!succeeded);
            settle(&root);
            scene.is_sound(&root);
            let part = scene.outcome();
            assert!(
                part.iter().all(|(port, digest)| expected[port] == *digest),
                "seed {seed}"
            );
            if succeeded {
                assert_eq!(part, expected, "seed {seed}: {}", scene.notes());
            }
            if chance.below(2) == 0 {
                clean_after(&root);
                assert_eq!(scene.outcome(), part, "seed {seed}, cleaned");
            }
        }
        assert!(scene.run(0), "seed {seed}: {}", scene.space.read("run.log"));
        assert_eq!(scene.outcome(), expected, "seed {seed}");
        clean_after(&root);
        assert_eq!(scene.outcome(), expected, "seed {seed}, cleaned at the end");
        let notes = scene.notes();
        let lines = |word: &str| notes.lines().filter(|line| line.contains(word)).count();
        counts.processes += lines("begins");
        counts.fired += lines("meets");
        counts.ended += lines("Ends");
    }
    println!(
        "faults: processes: {walks} walks, {} runs, {} of them failed, {} processes, {} met their \
         fault, {:.1} s",
        counts.runs,
        counts.failed,
        counts.processes,
        counts.fired,
        start.elapsed().as_secs_f64()
    );
    assert!(counts.ended > 0 && counts.failed > 0);
    assert!(
        counts.fired * 4 > counts.processes,
        "{} of {}",
        counts.fired,
        counts.processes
    );
    counts.fired
}
