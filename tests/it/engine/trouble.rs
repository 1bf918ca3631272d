//! Nodes that fail, workers that die, blobs that are lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ribflow::engine::RunOptions;
use ribflow::engine::event::{Event, RunState};
use ribflow::engine::journal;
use ribflow::store::Store;

use super::bench::{Bench, Ran};

fn keep_going(bench: &Bench) -> Ran {
    bench.run_with(&RunOptions {
        keep_going: true,
        ..bench.options()
    })
}

#[test]
fn whatever_a_node_does_only_it_and_its_descendants_suffer() {
    for (mode, message) in [
        ("fail", "as it was told"),
        ("panic", "panicked: as it was told"),
        (
            "abort",
            "its worker died of signal 6 (SIGABRT); its log ends with:\nabout to abort",
        ),
        ("forget", "it gave no output `files`"),
        ("nan", "`number` is not a finite number"),
    ] {
        for tiny in [false, true] {
            if tiny && mode == "abort" {
                continue;
            }
            let bench = Bench::new(&format!(
                "
                bad: {{ with: {{ mode: {mode}, tiny: {tiny} }} }}
                below: {{ needs: {{ of: [bad] }}, with: {{ }} }}
                fine: {{ each: [n], with: {{ value: '${{n}}' }} }}
                "
            ));
            let ran = keep_going(&bench);
            assert_eq!(ran.counts(), [8, 0, 1, 1], "{mode}");
            assert!(
                ran.failure("bad").starts_with(message),
                "{}",
                ran.failure("bad")
            );
            let why = ran.events.iter().find_map(|event| match event {
                Event::NodeSkipped { id, why } if id == "below" => Some(why.as_str()),
                _ => None,
            });
            assert_eq!(why, Some("`bad` failed"));
        }
    }
}

#[test]
fn without_keep_going_nothing_new_starts_after_a_failure() {
    let bench = Bench::new(
        "
        bad: { with: { mode: fail } }
        after: { needs: { of: [bad] }, with: { } }
        later: { needs: { of: [after] }, with: { } }
        fine: { each: [n], with: { value: '${n}', sleep: 20 } }
        ",
    );
    let ran = bench.run_with(&RunOptions {
        threads: 1,
        ..bench.options()
    });
    assert_eq!(ran.counts(), [0, 0, 1, 10]);
    assert_eq!(bench.executed(), ["bad"]);
    let last = journal::latest(&bench.store(), &bench.whose())
        .unwrap()
        .unwrap();
    assert!(!last.running);
    assert_eq!(last.nodes["bad"].state, RunState::Failed);
    assert_eq!(last.nodes["later"].state, RunState::Skipped);
    assert_eq!(last.summary, Some(ran.result.summary));
}

#[test]
fn a_node_that_asks_for_more_than_there_is_gets_all_there_is() {
    let bench = Bench::new(
        "
        greedy: { resources: { mem: 9000 GiB, cpus: 64 }, with: { sleep: 30 } }
        fine: { each: [n], with: { value: '${n}' } }
        ",
    );
    let ran = bench.run();
    assert_eq!(ran.counts(), [9, 0, 0, 0]);
    assert_eq!(ran.warnings().len(), 1);
    let threads = ran.events.iter().find_map(|event| match event {
        Event::NodeStarted { id, threads, .. } if id == "greedy" => Some(*threads),
        _ => None,
    });
    assert_eq!(threads, Some(2));
}

#[test]
fn a_failure_is_tried_again_as_often_as_declared() {
    let bench = Bench::new(
        "
        often: { resources: { retries: 2 }, with: { mode: fail_twice } }
        seldom: { resources: { retries: 1 }, with: { mode: fail_twice, value: 1 } }
        ",
    );
    let ran = keep_going(&bench);
    assert_eq!(ran.counts(), [1, 0, 1, 0]);
    assert_eq!(ran.warnings().len(), 3);
    assert_eq!(bench.executed().len(), 5);
}

#[test]
fn a_node_that_outstays_its_timeout_is_stopped_with_its_children() {
    let bench = Bench::new(
        "
        slow: { resources: { timeout: 1s }, with: { mode: shell, sleep: 100000, tiny: true } }
        fine: { with: { } }
        ",
    );
    let ran = keep_going(&bench);
    assert_eq!(ran.counts(), [1, 0, 1, 0]);
    assert_eq!(ran.failure("slow"), "stopped after its `timeout` of 1 s");
    assert_gone(&bench.trace().join("children"));
}

#[test]
fn a_worker_that_does_not_start_fails_its_node_with_its_words() {
    for (command, message) in [
        (vec!["/no/such/worker"], "no worker could be started"),
        (
            vec!["sh", "-c", "echo what worker >&2; exit 3"],
            "its worker ended with exit code 3; its log ends with:\nwhat worker",
        ),
        (
            vec!["sh", "-c", "echo '\"ready\"'; echo hello; cat"],
            "its worker said `hello`",
        ),
    ] {
        let bench = Bench::new("node: { with: { } }");
        let ran = bench.run_with(&RunOptions {
            worker: command.into_iter().map(Into::into).collect(),
            ..bench.options()
        });
        assert_eq!(ran.counts(), [0, 0, 1, 0]);
        let failure = ran.failure("node");
        assert!(failure.starts_with(message), "{failure}");
    }
}

#[test]
fn what_a_node_prints_is_in_its_log() {
    let bench = Bench::new("talks: { with: { mode: chatter } }");
    let ran = bench.run();
    assert_eq!(ran.counts(), [1, 0, 0, 0]);
    let log = format!("store/runs/{}/logs/talks.log", ran.result.run.unwrap());
    assert_eq!(
        bench.space.read(&log),
        "{\"finished\":\"cancelled\"}\nand more of it\nfrom a shell\nthe sum is 0\n"
    );
}

#[test]
fn lost_blobs_are_made_again() {
    const LINE: &str = "
        made: { with: { value: 4 } }
        passed: { needs: { read: [made.files] }, with: { } }
        read: { needs: { read: [made.files], of: [passed] }, with: { } }
    ";
    for damage in [remove as fn(&Path), truncate] {
        let bench = Bench::new(LINE);
        bench.run();
        let before = bench.ports();
        bench.executed();
        for object in objects(&bench.store()) {
            damage(&object);
        }
        bench.rewrite(&LINE.replace(
            "of: [passed] }, with: { ",
            "of: [passed] }, with: { value: 1 ",
        ));
        let ran = bench.run();
        assert_eq!(ran.counts(), [2, 1, 0, 0]);
        assert_eq!(ran.warnings().len(), 1);
        assert_eq!(bench.executed(), ["made", "read", "read"]);
        assert_eq!(bench.ports()["made"], before["made"]);
        assert_eq!(bench.run().counts(), [0, 3, 0, 0]);
    }
}

#[test]
fn a_lost_blob_that_comes_back_as_other_bytes_takes_the_place_of_the_old() {
    const LINE: &str = "
        drift: { with: { mode: drift } }
        read: { needs: { read: [drift.files] }, with: { } }
    ";
    let bench = Bench::new(LINE);
    bench.run();
    objects(&bench.store())
        .iter()
        .for_each(|object| remove(object));
    bench.rewrite(&LINE.replace("files] }, with: { ", "files] }, with: { value: 1 "));
    let ran = bench.run();
    assert_eq!(ran.counts(), [2, 0, 0, 0]);
    assert_eq!(ran.warnings().len(), 2);
    assert_eq!(bench.run().counts(), [0, 2, 0, 0]);
}

fn remove(object: &Path) {
    fs::remove_file(object).unwrap();
}

fn truncate(object: &Path) {
    fs::set_permissions(object, fs::Permissions::from_mode(0o644)).unwrap();
    let half = fs::metadata(object).unwrap().len() / 2;
    fs::File::options()
        .write(true)
        .open(object)
        .unwrap()
        .set_len(half)
        .unwrap();
}

/// The files of all blobs.
fn objects(store: &Store) -> Vec<PathBuf> {
    let folders = fs::read_dir(store.root().join("objects")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

/// Waits until the processes whose numbers stand in `file` are gone.
pub fn assert_gone(file: &Path) {
    let text = fs::read_to_string(file).unwrap();
    let patience = Instant::now() + Duration::from_secs(20);
    for pid in text.lines() {
        let status = PathBuf::from(format!("/proc/{pid}/status"));
        let alive = || fs::read_to_string(&status).is_ok_and(|text| !text.contains("State:\tZ"));
        while alive() {
            assert!(Instant::now() < patience, "process {pid} is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
