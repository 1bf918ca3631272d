//! Two labs for a long time: edits, runs, kills, garbage collection, push and pull over a server, beside
//! a run whose workers come and are killed. What lives on takes no more memory, files and threads, and
//! no folder grows.
//!
//! `RIBFLOW_TEST_SOAK=3600` runs for an hour instead of 20 seconds.

mod gauge;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use ribflow::digest::Digest;
use ribflow::engine::journal;
use ribflow::fsx::lease::LASTS_VARIABLE;
use ribflow::rng::Stream;
use ribflow::store::gc::GcOptions;
use ribflow::store::{Blobs, Store};
use serde_json::Value;

use crate::space::TestSpace;
use gauge::Gauges;

const TOKEN: &str = "correct-horse-battery-staple";
/// An edit sets one of the values of a window that moves by one each second, round a circle: the results
/// of a value are made and fetched again while it is in the window, and collected before it is there again.
/// A collection keeps what was made since the oldest process began that may still write, and a killed
/// process counts as one for a minute.
const VALUES: u64 = 120;
const WINDOW: u64 = 6;
const LABS: [&str; 2] = ["a", "b"];
/// A run that has not been active for this long is forgotten.
const KEPT: Duration = Duration::from_secs(8);
/// From this many seconds on, the labs' stores must not grow.
const STEADY: u64 = 400;
/// Nodes of the long run that start in a second, at most.
const RATE: u64 = 12;

/// Eight small nodes and one that reads them.
const WORKFLOW: &str = "\
# edit EDIT
ribflow: 1
name: soak
params: { value: VALUE }
axes: { n: [1, 2, 3, 4, 5, 6, 7, 8] }
stages:
  part:
    each: [n]
    use: command
    with: { run: \"sleep 0.02; echo ${n} of ${params.value} > out/x\", outputs: [x] }
  whole:
    use: command
    needs: { x: 'part[*].x' }
    with: { run: \"echo whole ${params.value} > out/y\", outputs: [y] }
";

/// As many nodes as can start in the time.
const GRID: &str = "\
ribflow: 1
name: grid
axes: { n: [NUMBERS] }
stages:
  node:
    each: [n]
    use: command
    with: { run: \"sleep 0.2; echo ${n} > out/x\", outputs: [x] }
";

#[derive(Default)]
struct Counts {
    edits: AtomicUsize,
    runs: AtomicUsize,
    killed: AtomicUsize,
    pushes: AtomicUsize,
    pulls: AtomicUsize,
    cleanings: AtomicUsize,
    collected: AtomicUsize,
    verified: AtomicUsize,
    workers: AtomicUsize,
}

fn add(counter: &AtomicUsize, more: usize) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// Two labs, each with a home and a store; a server over a third store; a run on a fourth.
struct Soak {
    space: TestSpace,
    /// A copy: a build may replace the program meanwhile.
    program: PathBuf,
    counts: Counts,
    begun: Instant,
    /// Ended with the test, also where it fails.
    living: Mutex<Vec<Child>>,
}

impl Drop for Soak {
    fn drop(&mut self) {
        let living = self.living.get_mut();
        for child in living.unwrap_or_else(|held| held.into_inner()) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn seconds() -> u64 {
    let given = std::env::var("RIBFLOW_TEST_SOAK").ok();
    given.map_or(20, |text| text.parse().expect("a number of seconds"))
}

impl Soak {
    fn new() -> Self {
        let space = TestSpace::new();
        space.write("tokens", format!("{TOKEN}\n"));
        for place in ["a", "b", "grid", "temporary"] {
            fs::create_dir(space.path(place)).unwrap();
        }
        let program = space.program();
        Self {
            space,
            program,
            counts: Counts::default(),
            begun: Instant::now(),
            living: Mutex::default(),
        }
    }

    fn lasts(&self) -> bool {
        self.begun.elapsed() < Duration::from_secs(seconds())
    }

    /// The program in the folder of a lab, with its home and its store.
    fn command(&self, lab: &str, arguments: &[&str]) -> Command {
        let mut command = self.space.command_of(&self.program, arguments);
        command
            .current_dir(self.space.path(lab))
            .env("HOME", self.space.path(lab).join("home"))
            .env("TMPDIR", self.space.path("temporary"))
            .env("LAB_TOKEN", TOKEN)
            .env(LASTS_VARIABLE, "3")
            .args(["--store", "cache", "--threads", "1"])
            .stdout(Stdio::null());
        command
    }

    /// Runs it to its end; returns what it has printed.
    #[track_caller]
    fn finish(&self, lab: &str, arguments: &[&str], codes: &[i32]) -> String {
        let mut command = self.command(lab, arguments);
        let output = command.stdout(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code();
        assert!(
            code.is_some_and(|code| codes.contains(&code)),
            "{lab}: {arguments:?}: {code:?}: {said}"
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a process that lives as long as the test.
    fn keep(&self, mut command: Command, log: &str) -> u32 {
        let log = File::create(self.space.path(log)).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        let id = child.id();
        self.living.lock().unwrap().push(child);
        id
    }

    /// A server over the store of both labs; returns its process and address.
    fn serve(&self) -> (u32, String) {
        let mut command = self
            .space
            .command_of(&self.program, &["serve", "--json", "--store", "hub"]);
        command
            .args(["--address", "127.0.0.1:0", "--tokens", "tokens"])
            .env("TMPDIR", self.space.path("temporary"))
            .stdout(Stdio::piped());
        let id = self.keep(command, "serve.log");
        let mut living = self.living.lock().unwrap();
        let stdout = living.last_mut().unwrap().stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        (id, ready["url"].as_str().unwrap().to_string())
    }

    /// Each lab has a key, trusts the other one, and writes to the server.
    fn introduce(&self, url: &str) {
        for lab in LABS {
            self.finish(lab, &["key", "generate", "--name", lab], &[0]);
            let add = ["remote", "add", "hub", url, "--write"];
            let add = [&add[..], &["--token-env", "LAB_TOKEN"]].concat();
            self.finish(lab, &add, &[0]);
        }
        for (lab, other) in [("a", "b"), ("b", "a")] {
            let key = self.finish(other, &["key", "show"], &[0]);
            self.finish(lab, &["trust", "add", key.trim()], &[0]);
        }
    }

    /// Results that nothing uses again. They are older than any process that is killed, so collections
    /// remove them after [`KEPT`], however fast the machine is.
    fn leave_results(&self) {
        for lab in LABS {
            self.edit(lab, 0, VALUES);
            self.finish(lab, &["run", "soak.yaml"], &[0]);
        }
    }

    fn edit_in_window(&self, lab: &str, chance: &mut Stream) {
        let second = self.begun.elapsed().as_secs();
        self.edit(
            lab,
            chance.below(1000),
            (second + chance.below(WINDOW)) % VALUES,
        );
    }

    fn edit(&self, lab: &str, edit: u64, value: u64) {
        let text = WORKFLOW.replace("EDIT", &edit.to_string());
        let text = text.replace("VALUE", &value.to_string());
        self.space.write(&format!("{lab}/soak.yaml"), text);
        add(&self.counts.edits, 1);
    }

    /// Edits, runs and exchanges until the end; every other run, push and pull is killed.
    fn work(&self, lab: &str) {
        let mut chance = Stream::new(1, &format!("soak {lab}"));
        while self.lasts() {
            self.edit_in_window(lab, &mut chance);
            let run: &[&str] = match chance.below(3) {
                0 => &["run", "soak.yaml", "--remote", "hub"],
                _ => &["run", "soak.yaml"],
            };
            self.killed(lab, run, 700, &mut chance);
            self.finish(lab, run, &[0]);
            add(&self.counts.runs, 1);
            let push = ["push", "soak.yaml", "--remote", "hub"];
            self.killed(lab, &push, 200, &mut chance);
            // Meanwhile a cleaning may have taken what was to be pushed.
            self.finish(lab, &push, &[0, 1]);
            add(&self.counts.pushes, 1);
            // What the other lab has made.
            self.edit_in_window(lab, &mut chance);
            let pull = ["pull", "soak.yaml", "--remote", "hub"];
            self.killed(lab, &pull, 200, &mut chance);
            self.finish(lab, &pull, &[0, 1]);
            add(&self.counts.pulls, 1);
        }
    }

    /// Starts it, one time of two, and kills it within so many milliseconds.
    fn killed(&self, lab: &str, arguments: &[&str], within: u64, chance: &mut Stream) {
        if chance.below(2) == 0 {
            return;
        }
        let mut command = self.command(lab, arguments);
        let mut child = command.stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(chance.below(within)));
        let _ = child.kill();
        child.wait().unwrap();
        add(&self.counts.killed, 1);
    }

    /// Removes what the labs have not used for a few seconds, as `cache gc` does after a day.
    fn collect(&self) {
        while self.lasts() {
            for lab in LABS {
                self.collect_of(lab);
            }
            std::thread::sleep(Duration::from_secs(1));
        }
    }

    fn collect_of(&self, lab: &str) {
        let store = Store::open(&self.space.path(lab).join("cache")).unwrap();
        let options = GcOptions {
            before: SystemTime::now() - KEPT,
            most: None,
            grace: Duration::ZERO,
            dry_run: false,
        };
        let uses = || journal::uses(&journal::seen(&store)?, 1);
        let gone = store.clean(&options, uses).unwrap();
        add(&self.counts.cleanings, 1);
        add(&self.counts.collected, gone.blobs.count);
    }

    /// `cache gc` and `cache verify` of every store, beside all the others.
    fn check(&self) {
        while self.lasts() {
            for (_, store) in self.stores() {
                // Nothing has been written to it yet.
                if !store.join("store.json").exists() {
                    continue;
                }
                let store = store.display().to_string();
                self.run_on(&["cache", "gc", "--store", &store]);
                self.run_on(&["cache", "verify", "--store", &store]);
                add(&self.counts.verified, 1);
                if !self.lasts() {
                    return;
                }
            }
            std::thread::sleep(Duration::from_secs(2));
        }
    }

    #[track_caller]
    fn run_on(&self, arguments: &[&str]) {
        let mut command = self.space.command_of(&self.program, arguments);
        command.env("TMPDIR", self.space.path("temporary"));
        command.env(LASTS_VARIABLE, "3");
        self.space.finish(&mut command).ok();
    }

    fn stores(&self) -> [(&'static str, PathBuf); 4] {
        let below = |place: &str| self.space.path(place).join("cache");
        [
            ("a", below("a")),
            ("b", below("b")),
            ("hub", self.space.path("hub")),
            ("grid", below("grid")),
        ]
    }

    /// A run that only workers execute, on a store of leases; one of them lives as long as it.
    fn begin_grid(&self) -> [(&'static str, u32); 2] {
        let numbers: Vec<String> = (0..seconds() * RATE).map(|n| n.to_string()).collect();
        let grid = GRID.replace("NUMBERS", &numbers.join(", "));
        self.space.write("grid/grid.yaml", grid);
        self.finish("grid", &["cache", "claims", "lease"], &[0]);
        let run = ["run", "grid.yaml", "--executor", "joined", "-q"];
        let run = self.keep(self.command("grid", &run), "run.log");
        let runs = self.space.path("grid/cache/runs");
        let is_planned = || {
            let runs = fs::read_dir(&runs).into_iter().flatten().flatten();
            runs.into_iter()
                .any(|run| run.path().join("join.json").exists())
        };
        let begun = Instant::now();
        while !is_planned() {
            assert!(begun.elapsed() < Duration::from_secs(60), "no plan");
            std::thread::sleep(Duration::from_millis(20));
        }
        let join = ["worker", "--join", "--name", "steady", "-q"];
        let worker = self.keep(self.command("grid", &join), "worker.log");
        [("coordinator", run), ("worker", worker)]
    }

    /// Workers that join the run and are killed.
    fn join_and_die(&self) {
        let mut chance = Stream::new(1, "soak workers");
        while self.lasts() {
            let mut command = self.command("grid", &["worker", "--join", "-q"]);
            let mut child = command.stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(500 + chance.below(2500)));
            let _ = child.kill();
            child.wait().unwrap();
            add(&self.counts.workers, 1);
        }
    }

    fn watch(&self, gauges: &mut Gauges) {
        while self.lasts() {
            std::thread::sleep(Duration::from_millis(500));
            gauges.sample();
        }
    }

    /// The processes that live on are as they should be, and end when they are asked to.
    fn part(&self) {
        let mut living = std::mem::take(&mut *self.living.lock().unwrap());
        for child in &mut living {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", self.space.read("run.log"));
            // SAFETY: a signal to a child that has not been waited for.
            assert_eq!(unsafe { libc::kill(child.id() as i32, libc::SIGTERM) }, 0);
        }
        for mut child in living {
            let begun = Instant::now();
            while child.try_wait().unwrap().is_none() {
                assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

#[test]
fn two_labs_work_for_long_and_nothing_grows() {
    let mut soak = Soak::new();
    let (server, url) = soak.serve();
    soak.introduce(&url);
    soak.leave_results();
    let [coordinator, worker] = soak.begin_grid();
    soak.begun = Instant::now();
    let mut gauges = Gauges::default();
    for (name, process) in [("server", server), coordinator, worker] {
        gauges.process(name, process);
    }
    for (name, store) in soak.stores() {
        // The results of the long run become more; and what a killed process has left, and what is
        // younger, stays for a minute.
        let is_steady = name != "grid" && seconds() >= STEADY;
        gauges.store(name, &store, is_steady);
    }
    gauges.folder("temporary files", &soak.space.path("temporary"));
    std::thread::scope(|scope| {
        for lab in LABS {
            let soak = &soak;
            scope.spawn(move || soak.work(lab));
        }
        scope.spawn(|| soak.collect());
        scope.spawn(|| soak.check());
        scope.spawn(|| soak.join_and_die());
        soak.watch(&mut gauges);
        gauges.show();
    });
    soak.part();
    let counts = &soak.counts;
    let of = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
    println!(
        "soak: {} s: {} edits, {} runs ended, {} commands killed, {} pushes, {} pulls, {} cleanings of \
         {} blobs, {} stores verified, {} workers killed",
        seconds(),
        of(&counts.edits),
        of(&counts.runs),
        of(&counts.killed),
        of(&counts.pushes),
        of(&counts.pulls),
        of(&counts.cleanings),
        of(&counts.collected),
        of(&counts.verified),
        of(&counts.workers),
    );
    for (lab, value) in [("a", 0), ("b", 1)] {
        // Every result is what it should be, wherever it comes from.
        soak.edit(lab, 0, value);
        soak.finish(lab, &["run", "soak.yaml", "--remote", "hub"], &[0]);
        let store = Store::open(&soak.space.path(lab).join("cache")).unwrap();
        let content = format!("whole {value}\n");
        let digest = Digest::of(content.as_bytes());
        assert_eq!(store.read(&digest).unwrap(), content.as_bytes());
    }
    for (_, store) in soak.stores() {
        soak.run_on(&["cache", "verify", "--store", &store.display().to_string()]);
    }
    assert!(of(&counts.runs) > 1 && of(&counts.killed) > 0 && of(&counts.workers) > 0);
    assert!(of(&counts.collected) > 0);
    gauges.check();
}
