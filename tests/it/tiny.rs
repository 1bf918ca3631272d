//! The README's first command on its smallest profile: whatever happens to a run, the results have
//! the same bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::space::TestSpace;

const NODES: u64 = 32;

/// The digest of every port by key and name, as a store's records have them.
type Records = BTreeMap<String, String>;

fn tiny() -> TestSpace {
    let space = TestSpace::new();
    let workflow = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/mini-rib.yaml");
    space.write("mini-rib.yaml", std::fs::read(workflow).unwrap());
    space
}

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [
        &["run", "mini-rib.yaml", "--profile", "tiny", "--json"],
        more,
    ]
    .concat()
}

/// The events of a run that ends well, and its summary.
fn run(space: &TestSpace, more: &[&str]) -> (Vec<Value>, Value) {
    let mut events = space.run(&arguments(more)).expect(0).json_lines();
    let summary = events.pop().unwrap();
    (events, summary)
}

fn start(space: &TestSpace) -> Child {
    let mut command = space.command(&arguments(&[]));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn records(space: &TestSpace) -> Records {
    let mut found = Records::new();
    collect(&space.path("cache/records"), &mut found);
    found
}

fn collect(folder: &Path, found: &mut Records) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
            continue;
        }
        let Ok(record) = serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()) else {
            continue; // the name of the chosen record
        };
        let Some(key) = record["key"].as_str() else {
            continue;
        };
        for (name, port) in record["ports"].as_object().unwrap() {
            let digest = port["digest"].as_str().unwrap().to_string();
            let before = found.insert(format!("{key} {name}"), digest.clone());
            assert!(before.is_none_or(|before| before == digest), "{key} {name}");
        }
    }
}

fn results(space: &TestSpace) -> String {
    space.read("out/mini-rib-tiny/results.json")
}

#[test]
fn a_changed_value_reruns_what_depends_on_it_and_nothing_else() {
    let space = tiny();
    let (_, first) = run(&space, &[]);
    assert_eq!(
        first["ran"].as_u64().unwrap() + first["reused"].as_u64().unwrap(),
        NODES
    );
    let (_, second) = run(&space, &[]);
    assert_eq!(
        (&second["ran"], &second["reused"]),
        (&0.into(), &NODES.into())
    );

    let (events, _) = run(&space, &["--set", "params.epochs=2"]);
    let dependent = ["tuned", "accuracy", "robustness", "summary"];
    let mut ran = 0;
    for event in events.iter().filter(|event| event["id"].is_string()) {
        let id = event["id"].as_str().unwrap();
        let stage = id.split('[').next().unwrap();
        match event["event"].as_str().unwrap() {
            "node_reused" => assert!(!dependent.contains(&stage), "{id} was reused"),
            "node_finished" => {
                assert!(dependent.contains(&stage), "{id} ran");
                ran += 1;
            }
            _ => {}
        }
    }
    // Three models, each tested on the other domain and the source, two domains; three methods.
    assert_eq!(ran, 6 + 12 + 3 + 1);
}

#[test]
fn threads_change_no_byte_and_two_runs_at_once_share_the_work() {
    let alone = tiny();
    let single = run(&alone, &["--threads", "1"]).1;

    let shared = tiny();
    let both = std::thread::scope(|scope| {
        let runs = [(); 2].map(|()| scope.spawn(|| run(&shared, &["--threads", "2"]).1));
        runs.map(|run| run.join().unwrap())
    });
    let ran = |summary: &Value| summary["ran"].as_u64().unwrap();
    assert_eq!(records(&shared), records(&alone));
    assert_eq!(results(&shared), results(&alone));
    assert_eq!(ran(&both[0]) + ran(&both[1]), ran(&single), "{both:?}");
}

/// 50 kills, at 50 moments spread over the length of a run: ten stores, each killed five times on
/// its way, the first time a little later from store to store.
#[test]
fn killed_runs_go_on_to_the_same_bytes() {
    let undisturbed = tiny();
    let begun = Instant::now();
    let _ = run(&undisturbed, &[]);
    let length = begun.elapsed();
    let (expected, table) = (records(&undisturbed), results(&undisturbed));

    let mut hits = 0;
    for store in 0..10 {
        let space = tiny();
        for kill in 0..5 {
            let first = length * store / 50;
            let moment = if kill == 0 { first } else { length / 5 };
            hits += usize::from(killed_after(&space, moment));
        }
        let _ = run(&space, &[]);
        assert_eq!(records(&space), expected, "store {store}");
        assert_eq!(results(&space), table, "store {store}");
    }
    assert!(
        hits >= 25,
        "only {hits} of 50 runs were still going when they were killed"
    );
}

/// Starts a run and kills it. Says whether it was still going.
fn killed_after(space: &TestSpace, moment: Duration) -> bool {
    let mut child = start(space);
    std::thread::sleep(moment);
    child.kill().unwrap();
    child.wait().unwrap().code().is_none()
}
