//! What a worker runs and what it leaves to others.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Crew, GRID, WAITING};
use crate::derived;

#[test]
fn a_worker_with_more_cores_than_its_machine_has_warns_of_it() {
    let crew = Crew::new(&GRID.replace(", 2, 3, 4, 5, 6]", "]"));
    let mut run = crew.coordinator(&[]);
    let mut worker = crew.worker("w", &["--cpus", "2000"]);
    crew.all_end(&mut run, [&mut worker]);
    for (log, name) in [("run.log", "w: "), ("w.log", "")] {
        let log = crew.space.read(log);
        let warning = format!("warning: {name}2,000 cores were asked for, and this machine has ");
        assert!(log.contains(&warning), "{log}");
    }
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
    crew.all_end(&mut run, [&mut able]);
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
fn scratch_folders_may_be_on_another_disk_than_the_store() {
    let crew = Crew::new(&GRID.replace("sleep 0.1", "pwd >> $HOME/places"));
    let mut run = crew.coordinator(&[]);
    let disk = match fs::exists("/dev/shm") {
        Ok(true) => tempfile::tempdir_in("/dev/shm").unwrap(),
        _ => tempfile::tempdir().unwrap(),
    };
    let folder = disk.path().to_str().unwrap();
    let mut worker = crew.worker("w", &["--scratch", folder]);
    crew.all_end(&mut run, [&mut worker]);
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
    crew.all_end(&mut run, [&mut worker]);
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
    crew.all_end(&mut run, [&mut worker]);
    crew.is_complete();
}
