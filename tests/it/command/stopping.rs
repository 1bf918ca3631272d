//! How a run that is interrupted ends: what runs has its grace, and nothing outlives the run.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::wait_for_end;
use crate::space::TestSpace;

/// Longer than any machine takes for what a test waits for.
const PATIENCE: Duration = Duration::from_secs(120);

/// One command of a workflow, running.
struct Running {
    space: TestSpace,
    run: Child,
}

impl Running {
    /// Starts `line` with these `resources` and waits until it has written `$S/pids`; `$S` is the
    /// folder of the test.
    fn start(line: &str, resources: &str) -> Self {
        let space = TestSpace::new();
        let place = space.root().display().to_string();
        let line = line.replace("$S", &place).replace('"', "\\\"");
        space.write(
            "w.yaml",
            format!(
                "ribflow: 1\nname: w\nstages:\n  a: {{ use: command, resources: {resources}, \
                 with: {{ run: \"{line}\", outputs: [x], shell: sh }} }}\n"
            ),
        );
        let mut command = space.command(&["run", "w.yaml"]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // The tests themselves may run under `nohup`, which is inherited.
        // SAFETY: `signal` may be called between fork and exec.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                Ok(())
            });
        }
        let run = command.spawn().unwrap();
        let running = Self { space, run };
        running.wait_for("pids");
        running
    }

    fn wait_for(&self, name: &str) -> String {
        let path = self.space.path(name);
        let begun = Instant::now();
        while !path.exists() {
            assert!(begun.elapsed() < PATIENCE, "{name} did not appear");
            std::thread::sleep(Duration::from_millis(10));
        }
        fs::read_to_string(path).unwrap()
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.run), signal).unwrap();
    }

    /// Waits for the end of the run and asserts that nothing of the line lives then; its exit code.
    fn end(&mut self) -> Option<i32> {
        let status = self.run.wait().unwrap();
        for pid in self.space.read("pids").split_whitespace() {
            assert!(!lives(pid), "{pid} has outlived the run");
        }
        status.code()
    }

    /// What is left of the folders that nodes ran in.
    fn leftovers(&self) -> Vec<PathBuf> {
        let folder = self.space.path("cache/tmp");
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|text| !text.contains(") Z "))
}

/// Writes the numbers in one step, so that none is read half.
const READY: &str = "> $S/new; mv $S/new $S/pids";

#[test]
fn a_line_that_saves_its_work_has_its_grace() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        // Longer than the three seconds that a pool once gave.
        let line = format!(
            "trap 'sleep 4; echo saved > $S/saved; exit 3' TERM; echo $$ {READY}; \
             while true; do sleep 0.1; done"
        );
        let mut running = Running::start(&line, "{}");
        running.send(signal);
        assert_eq!(running.end(), Some(130));
        assert_eq!(running.space.read("saved"), "saved\n");
        assert_eq!(running.leftovers(), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_shell_that_ends_at_once_does_not_shorten_the_grace_of_its_child() {
    let child = "trap \\\"sleep 2; echo saved > $S/saved; exit\\\" TERM; echo $$ > $S/child; \
                 while true; do sleep 0.1; done";
    let line = format!(
        "sh -c '{}' & until [ -s $S/child ]; do sleep 0.1; done; echo $$ $! {READY}; sleep 1000",
        child.replace("\\\"", "\"")
    );
    let mut running = Running::start(&line, "{}");
    running.send(Signal::INT);
    assert_eq!(running.end(), Some(130));
    assert_eq!(running.space.read("saved"), "saved\n");
}

#[test]
fn a_line_that_does_not_end_is_killed_after_its_grace() {
    let line = format!("trap '' TERM HUP INT; echo $$ {READY}; while true; do sleep 0.1; done");
    let mut running = Running::start(&line, "{ grace: 2s }");
    let begun = Instant::now();
    running.send(Signal::TERM);
    assert_eq!(running.end(), Some(130));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(2), "{took:?}");
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn a_second_interrupt_ends_everything_at_once() {
    let line = format!(
        "trap '' TERM HUP INT; setsid sleep 1000 & echo $$ $! {READY}; \
         while true; do sleep 0.1; done"
    );
    let mut running = Running::start(&line, "{ grace: 1h }");
    running.send(Signal::INT);
    // It has heard the first one once nothing new can start: the journal does not tell, so wait.
    std::thread::sleep(Duration::from_secs(1));
    // A hangup that is passed on is no person who does not want to wait.
    running.send(Signal::HUP);
    std::thread::sleep(Duration::from_secs(1));
    assert!(running.run.try_wait().unwrap().is_none());
    running.send(Signal::INT);
    assert_eq!(running.end(), Some(130));
}

/// `setsid`, a background job of a shell with job control, and a daemon that forks twice: none of
/// them is in the group of the line, and the last two have lost their parents.
const LEAVERS: &str = "setsid sleep 1000 & one=$!; \
     (setsid sh -c 'echo $$ > $S/two; exec sleep 1000' &); \
     until [ -s $S/two ]; do sleep 0.1; done; \
     echo $$ $one $(cat $S/two) > $S/new; mv $S/new $S/pids; ";

#[test]
fn what_has_left_the_group_ends_with_the_node() {
    // The line ends by itself.
    let mut running = Running::start(&format!("{LEAVERS} echo 1 > out/x"), "{}");
    assert_eq!(running.end(), Some(0));
    // It is interrupted.
    let mut running = Running::start(&format!("{LEAVERS} sleep 1000"), "{}");
    running.send(Signal::INT);
    assert_eq!(running.end(), Some(130));
    // It runs out of time.
    let mut running = Running::start(&format!("{LEAVERS} sleep 1000"), "{ timeout: 20s }");
    assert_eq!(running.end(), Some(1));
}

/// The number of the parent of a process.
fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    rest.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn nothing_outlives_a_worker_or_a_run_that_is_killed() {
    // The worker is the parent of the line.
    let mut running = Running::start(&format!("{LEAVERS} sleep 1000"), "{}");
    let line = running.space.read("pids");
    let line: i32 = line.split_whitespace().next().unwrap().parse().unwrap();
    let worker = Pid::from_raw(parent(line)).unwrap();
    kill_process(worker, Signal::KILL).unwrap();
    assert_eq!(running.end(), Some(1));

    let mut running = Running::start(&format!("{LEAVERS} sleep 1000"), "{}");
    running.run.kill().unwrap();
    running.run.wait().unwrap();
    for pid in running.space.read("pids").split_whitespace() {
        wait_for_end(pid);
    }
}

/// Five commands that one worker executes in turn, each of which writes its process group. The third
/// leaves a process, the fourth kills the leader of its group.
const CHAIN: &str = r#"
ribflow: 1
name: chain
stages:
  s0: { use: command, with: { run: "GROUP", outputs: [x] } }
  s1: { use: command, needs: { before: s0.x }, with: { run: "GROUP", outputs: [x] } }
  s2: { use: command, needs: { before: s1.x }, with: { run: "GROUP; sleep 1000 & echo $! > $S/left", outputs: [x] } }
  s3: { use: command, needs: { before: s2.x }, with: { run: "GROUP; kill -9 $(cat out/x)", outputs: [x] } }
  s4: { use: command, needs: { before: s3.x }, with: { run: "GROUP", outputs: [x] } }
"#;

#[test]
fn a_group_serves_the_next_command_only_if_nothing_is_left_in_it() {
    let space = TestSpace::new();
    let text = CHAIN
        .replace("GROUP", "cut -d ' ' -f 5 /proc/$$/stat > out/x")
        .replace("$S", &space.root().display().to_string());
    space.write("w.yaml", text);
    space.run(&["run", "w.yaml", "--threads", "1"]).ok();
    let [s0, s1, s2, s3, s4] = ["s0", "s1", "s2", "s3", "s4"].map(|stage| {
        space.run(&["get", "w.yaml", stage, "-o", stage]).ok();
        space.read(&format!("{stage}/x"))
    });
    assert_eq!([&s1, &s2], [&s0, &s0]);
    assert!(s3 != s2 && s4 != s3, "{s2} {s3} {s4}");
    wait_for_end(space.read("left").trim());
}

#[test]
fn grace_is_in_no_key() {
    let space = TestSpace::new();
    let keys = |resources: &str| {
        let text = format!(
            "ribflow: 1\nname: w\nstages:\n  a: {{ use: command, resources: {resources}, \
             with: {{ run: \"echo > out/x\", outputs: [x] }} }}\n"
        );
        space.write("w.yaml", text);
        space.run(&["plan", "w.yaml", "--json"]).json()["nodes"][0]["key"].clone()
    };
    let key = keys("{}");
    assert!(key.is_string());
    assert_eq!(keys("{ grace: 90s }"), key);
    assert_eq!(keys("{ grace: 0 }"), key);
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\nstages:\n  a: { use: command, resources: { grace: soon }, with: { run: x, outputs: [x] } }\n",
    );
    let refused = space.run(&["plan", "w.yaml"]).expect(2);
    assert!(refused.stderr.contains("such as `90s`"), "{refused}");
}
