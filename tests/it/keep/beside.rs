//! GcOptions beside a run that goes on.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::space::TestSpace;

const TINY: [&str; 5] = ["run", "mini-rib.yaml", "--profile", "tiny", "--quiet"];
/// Shares its data and its pre-trained model with what was run before.
const OTHER: [&str; 2] = ["--set", "params.epochs=2"];

fn space() -> TestSpace {
    let space = TestSpace::new();
    let workflow = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/mini-rib.yaml");
    space.write("mini-rib.yaml", fs::read(workflow).unwrap());
    space
}

/// As if two days had gone by for everything in a folder.
fn age(folder: &Path) {
    let then = SystemTime::now() - Duration::from_secs(2 * 86400);
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            age(&path);
        }
        File::open(&path).unwrap().set_modified(then).unwrap();
    }
}

#[test]
fn a_run_loses_nothing_to_cleaning() {
    let beside = space();
    beside.run(&TINY).ok();
    age(&beside.path("cache"));
    // All that was there before may go, and some of it is what the run is about to take.
    let gc = [
        "cache",
        "gc",
        "--older-than",
        "1d",
        "--keep-runs",
        "0",
        "--json",
    ];
    let mut run = beside.command(&[&TINY[..], &OTHER].concat());
    let mut run = run.spawn().unwrap();
    let (mut cleanings, mut gone) = (0, 0);
    let status = loop {
        let cleaned = beside.run(&gc).expect(0).json();
        gone += cleaned["records"].as_array().unwrap().len();
        cleanings += 1;
        if let Some(status) = run.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success() && cleanings > 3, "{status} {cleanings}");
    assert!(gone > 0, "nothing was cleaned");
    let verified = beside.run(&["cache", "verify", "--json"]).expect(0);
    assert_eq!(verified.json()["faults"], json!([]));

    let alone = space();
    alone.run(&[&TINY[..], &OTHER].concat()).ok();
    let results = "out/mini-rib-tiny/results.json";
    assert_eq!(beside.read(results), alone.read(results));
    // And all of it is still there.
    let again = [&TINY[..4], &["--json"], &OTHER].concat();
    let again = beside.run(&again).expect(0).json_lines().pop().unwrap();
    assert_eq!(again["ran"], 0, "{again}");
}
