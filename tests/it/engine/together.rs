//! Runs that are interrupted, killed, or not alone.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use ribflow::engine::journal;
use ribflow::rng::Stream;
use tokio::sync::watch;

use super::bench::Bench;
use super::trouble::assert_gone;

#[test]
fn two_runs_at_once_execute_every_node_once() {
    let bench = Bench::new(
        "
        first: { each: [n], with: { value: '${n}', sleep: 40 } }
        then: { each: [n], needs: { of: [first] }, with: { value: 1, sleep: 40 } }
        sum: { needs: { of: 'then[*]' }, with: { } }
        ",
    );
    let mut runs: Vec<_> = (0..3).map(|_| bench.run_apart()).collect();
    let mut ran = 0;
    for run in &mut runs {
        let mut text = String::new();
        run.stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert!(run.wait().unwrap().success());
        let (_, counts) = text.split_once("counts ").expect("counts");
        let counts: [usize; 4] = serde_json::from_str(counts.lines().next().unwrap()).unwrap();
        assert_eq!(counts[0] + counts[1], 17);
        ran += counts[0];
    }
    assert_eq!(ran, 17);
    assert_eq!(bench.executed().len(), 17);
}

#[test]
fn an_interrupted_run_leaves_a_clean_store_and_goes_on_where_it_was() {
    for mode in ["well", "deaf", "shell"] {
        let bench = Bench::new(&format!(
            "
            quick: {{ with: {{ }} }}
            slow: {{ each: [n], needs: {{ of: [quick] }}, with: {{ value: '${{n}}', sleep: 60000, mode: {mode} }} }}
            "
        ));
        let (interrupt, receiver) = watch::channel(false);
        let trace = bench.trace().join("ran");
        let interrupter = std::thread::spawn(move || {
            let lines = || {
                std::fs::read_to_string(&trace)
                    .unwrap_or_default()
                    .lines()
                    .count()
            };
            while lines() < 3 {
                std::thread::sleep(Duration::from_millis(2));
            }
            interrupt.send_replace(true);
        });
        let ran = bench.run_until(&bench.options(), receiver).unwrap();
        interrupter.join().unwrap();
        assert_eq!(ran.counts(), [1, 0, 0, 8], "{mode}");
        assert!(ran.result.summary.interrupted);
        if mode == "shell" {
            assert_gone(&bench.trace().join("children"));
        }
        let store = bench.store();
        let claims = std::fs::read_dir(store.root().join("claims"));
        assert_eq!(claims.map_or(0, Iterator::count), 0);
        let scratch = store.root().join("tmp");
        if mode == "well" {
            assert_eq!(std::fs::read_dir(scratch).unwrap().count(), 0);
        }
        bench.executed();
        bench.rewrite("quick: { with: { } }");
        assert_eq!(bench.run().counts(), [0, 1, 0, 0]);
    }
}

/// SIGKILL at moments spread over the run; whatever was cut off, going on gives the same bytes.
#[test]
fn killed_runs_go_on_to_the_same_bytes() {
    let stages = "
        first: { each: [n], with: { value: '${n}', sleep: 15 } }
        then: { each: [n], needs: { of: [first], read: [first.files] }, with: { value: 1, sleep: 15 } }
        sum: { needs: { of: 'then[*]' }, with: { } }
    ";
    let undisturbed = Bench::new(stages);
    undisturbed.run();
    let bench = Bench::new(stages);
    let mut wait = 40;
    loop {
        let mut run = bench.run_apart();
        std::thread::sleep(Duration::from_millis(wait));
        run.kill().unwrap();
        let ended = run.wait().unwrap();
        if ended.signal().is_none() {
            break;
        }
        wait += 17;
    }
    assert_eq!(bench.run().counts(), [0, 17, 0, 0]);
    assert_eq!(bench.ports(), undisturbed.ports());
}

#[test]
fn a_killed_run_takes_its_workers_and_their_children_along() {
    let bench = Bench::new("hangs: { with: { mode: shell, sleep: 100000 } }");
    let mut run = bench.run_apart();
    let children = bench.trace().join("children");
    while std::fs::read_to_string(&children)
        .unwrap_or_default()
        .is_empty()
    {
        std::thread::sleep(Duration::from_millis(2));
    }
    let live = journal::latest(&bench.store(), &bench.whose())
        .unwrap()
        .unwrap();
    assert!(live.running);
    run.kill().unwrap();
    run.wait().unwrap();
    assert_gone(&children);
    let dead = journal::latest(&bench.store(), &bench.whose())
        .unwrap()
        .unwrap();
    assert!(!dead.running);
}

/// Sorting by a time that changes during the sort is an order that contradicts itself.
#[test]
fn the_newest_run_is_found_while_many_runs_write() {
    let bench = Bench::new("first: { with: { value: 1 } }");
    let store = bench.store();
    let journals: Vec<_> = (0..100)
        .map(|number| {
            let folder = store.runs().join(format!("run-{number:03}"));
            fs::create_dir_all(folder.join("logs")).unwrap();
            fs::write(folder.join("logs/first.log"), "").unwrap();
            fs::write(folder.join("journal.jsonl"), "").unwrap();
            folder.join("journal.jsonl")
        })
        .collect();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let files: Vec<File> = journals
                .iter()
                .map(|path| File::open(path).unwrap())
                .collect();
            let mut chance = Stream::new(1, "times");
            while !done.load(Ordering::Relaxed) {
                let file = &files[chance.below(100) as usize];
                let ago = Duration::from_secs(chance.below(1000));
                file.set_modified(SystemTime::now() - ago).unwrap();
            }
        });
        for _ in 0..200 {
            // None of these is a run of this workflow.
            let newest = journal::latest(&store, &bench.whose()).unwrap();
            assert!(newest.is_none());
            assert!(journal::log_of(&store, &bench.whose(), "first").is_none());
        }
        done.store(true, Ordering::Relaxed);
    });
}
