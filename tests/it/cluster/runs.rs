//! Whole runs at a real Slurm: `ribflow run --executor slurm`, with real workers.

use std::collections::BTreeMap;
use std::fs::File;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use super::private_slurm::PrivateSlurm;
use crate::space::TestSpace;

/// Each node says that it has run.
pub const GRID: &str = r#"ribflow: 1
name: grid
axes: { i: [1, 2, 3, 4, 5, 6, 7, 8] }
stages:
  first:
    each: [i]
    use: command
    with: { run: 'echo first-${i} >> $HOME/ran; sleep 0.6; echo ${i} > out/x', outputs: [x] }
  second:
    each: [i]
    use: command
    needs: { x: first }
    with: { run: 'echo second-${i} >> $HOME/ran; sleep 0.6; cat x/x > out/y', outputs: [y] }
  alone:
    use: command
    needs: { y: 'second[i=*]' }
    with: { run: 'echo alone >> $HOME/ran; find -L y -type f | sort | xargs cat > out/sum', outputs: [sum] }
    resources: { cpus: 2, dedicated: true, time: 5m }
"#;

struct Run {
    slurm: PrivateSlurm,
    space: TestSpace,
}

const SITE: &str = "workers: 8\nbatch: 4\nslurm: { poll: 1s, time: 10m }\n";

impl Run {
    fn new() -> Option<Self> {
        Self::of(GRID, SITE)
    }

    fn of(grid: &str, site: &str) -> Option<Self> {
        let settings = [
            ("NODES", "2"),
            ("CPUS", "4"),
            ("GPUS", "0"),
            ("SLURMD_TIMEOUT", "10"),
        ];
        let slurm = PrivateSlurm::start(&settings)?;
        let space = TestSpace::new();
        space.write("grid.yaml", grid);
        space.write("home/.config/ribflow/cluster.yaml", site);
        Some(Self { slurm, space })
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.space.command(&[&["run", "grid.yaml"], words].concat());
        command.env("SLURM_CONF", self.slurm.configuration());
        command
    }

    fn spawn(&self, log: &str) -> Child {
        let log = File::create(self.space.path(log)).unwrap();
        let mut command = self.command(&["--executor", "slurm"]);
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command.spawn().unwrap()
    }

    /// How often each node has begun.
    fn ran(&self) -> BTreeMap<String, usize> {
        let text = std::fs::read_to_string(self.space.path("home/ran")).unwrap_or_default();
        let mut ran = BTreeMap::new();
        for node in text.lines() {
            *ran.entry(node.to_string()).or_default() += 1;
        }
        ran
    }

    #[track_caller]
    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() {
            assert!(
                begun.elapsed() < Duration::from_secs(90),
                "{what}\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        self.space.read("run.log")
    }

    /// The run ends well, and its results are those of a run on this machine.
    #[track_caller]
    fn ends_like_a_local_run(&self, mut run: Child) {
        self.until("the run ends", || is_over(&run));
        assert!(run.wait().unwrap().success(), "{}", self.log());
        let results = self.space.read("out/grid/results.json");
        let local = ["--store", "alone", "--out", "out-alone"];
        self.space.finish(&mut self.command(&local)).ok();
        assert_eq!(results, self.space.read("out-alone/grid/results.json"));
    }
}

/// Whether a child has ended; it stays a zombie until it is waited for.
fn is_over(child: &Child) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id()));
    stat.map_or(true, |stat| stat.contains(") Z "))
}

#[test]
fn a_run_over_two_machines_has_the_results_of_a_local_one() {
    let Some(run) = Run::new() else {
        return;
    };
    let child = run.spawn("run.log");
    run.until("a node runs", || !run.ran().is_empty());
    run.until("the run ends", || is_over(&child));
    let ran = run.ran();
    assert_eq!(ran.len(), 17, "{ran:?}\n{}", run.log());
    assert!(ran.values().all(|times| *times == 1), "{ran:?}");
    run.ends_like_a_local_run(child);
    // The job of its own: one for the node that asks for it.
    let jobs = run.slurm.jobs("rf-");
    let own = jobs.iter().filter(|job| job.contains("-c2-d"));
    assert_eq!(own.count(), 1, "{jobs:?}");
    for machine in ["n1", "n2"] {
        assert!(jobs.iter().any(|job| job.ends_with(machine)), "{jobs:?}");
    }
    // Nobody stays behind.
    run.until("the workers leave", || {
        let jobs = run.slurm.jobs("rf-");
        jobs.iter()
            .all(|job| !job.contains(" RUNNING ") && !job.contains(" PENDING "))
    });
}

/// A machine is lost, the controller dies: nothing of it fails a node.
#[test]
fn what_the_cluster_does_fails_no_node() {
    let Some(run) = Run::new() else {
        return;
    };
    let child = run.spawn("run.log");
    run.until("nodes run", || run.ran().len() > 2);
    run.slurm.control(&["kill-controller"]);
    run.slurm.control(&["kill-node", "n1"]);
    run.slurm.control(&["start"]);
    run.ends_like_a_local_run(child);
    assert!(run.log().contains("17 nodes in "), "{}", run.log());
}

/// Slurm signals every process of a job that it cancels or preempts, a node's command as well.
#[test]
fn a_cancelled_worker_fails_no_node() {
    let Some(run) = Run::new() else {
        return;
    };
    let child = run.spawn("run.log");
    run.until("a node runs", || !run.ran().is_empty());
    let jobs = run.slurm.jobs("rf-");
    let name = jobs[0].split(' ').next().unwrap();
    run.slurm.ask("scancel", &["--name", name]);
    run.ends_like_a_local_run(child);
    assert!(run.log().contains(" left while it ran "), "{}", run.log());
}

/// The same command goes on with the jobs that are there.
#[test]
fn a_killed_run_goes_on_with_its_jobs() {
    let Some(run) = Run::new() else {
        return;
    };
    let mut first = run.spawn("first.log");
    run.until("nodes run", || run.ran().len() > 2);
    first.kill().unwrap();
    first.wait().unwrap();
    let second = run.spawn("run.log");
    run.ends_like_a_local_run(second);
    let ran = run.ran();
    assert!(ran.values().all(|times| *times <= 2), "{ran:?}");
    let log = run.log();
    assert!(log.contains("of this run found in the queue"), "{log}");
}

#[test]
fn two_coordinators_of_a_run_share_their_jobs() {
    let Some(run) = Run::new() else {
        return;
    };
    let mut other = run.spawn("other.log");
    let child = run.spawn("run.log");
    run.until("the other run ends", || is_over(&other));
    let ended = other.wait().unwrap();
    assert!(ended.success(), "{}", run.space.read("other.log"));
    run.ends_like_a_local_run(child);
    let ran = run.ran();
    // The local run for comparison has its own store.
    assert!(ran.values().all(|times| *times == 2), "{ran:?}");
}

/// The workers finish a run whose coordinator was killed and is not started again.
#[test]
fn a_killed_run_is_finished_by_its_workers() {
    let grid = GRID.replace("cpus: 2, dedicated: true, ", "");
    let Some(run) = Run::of(&grid, SITE) else {
        return;
    };
    let mut first = run.spawn("first.log");
    run.until("nodes run", || run.ran().len() > 2);
    first.kill().unwrap();
    first.wait().unwrap();
    run.until("the last node has run", || run.ran().contains_key("alone"));
    run.until("the workers leave", || {
        let jobs = run.slurm.jobs("rf-");
        !jobs.iter().any(|job| job.contains(" RUNNING "))
    });
    let late = run.space.finish(&mut run.command(&[])).expect(0);
    assert!(late.stdout.contains("17 reused"), "{late}");
    let local = ["--store", "alone", "--out", "out-alone"];
    run.space.finish(&mut run.command(&local)).ok();
    let results = |folder: &str| run.space.read(&format!("{folder}/grid/results.json"));
    assert_eq!(results("out"), results("out-alone"));
}

/// A node that does not end before its worker's time is up runs again in another worker. Takes three
/// minutes: on request, by `RIBFLOW_TEST_SLURM=1`.
#[test]
fn a_time_limit_in_the_middle_of_a_node_fails_no_node() {
    if std::env::var_os("RIBFLOW_TEST_SLURM").is_none() {
        println!("skipped: takes minutes; RIBFLOW_TEST_SLURM=1 runs it");
        return;
    }
    let long = "[ -e $HOME/once ] || { touch $HOME/once; sleep 400; }; echo 1 > out/x";
    let grid = format!(
        "ribflow: 1\nname: grid\nstages:\n  long:\n    use: command\n    with: {{ run: '{long}', outputs: [x] }}\n"
    );
    let site = SITE.replace("10m", "2m");
    let Some(run) = Run::of(&grid, &site) else {
        return;
    };
    let child = run.spawn("run.log");
    let begun = Instant::now();
    while !is_over(&child) {
        assert!(begun.elapsed() < Duration::from_secs(400), "{}", run.log());
        thread::sleep(Duration::from_secs(1));
    }
    println!("{:.0} s\n{}", begun.elapsed().as_secs_f64(), run.log());
    run.ends_like_a_local_run(child);
    assert!(run.log().contains(" left while it ran "), "{}", run.log());
}
