//! What can't be read is not damaged, and not unneeded.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use ribflow::store::{Store, StoreError};
use serde_json::Value;

use crate::space::{Outcome, TestSpace};
use crate::tools;

const WORKFLOW: &str = "\
ribflow: 1
name: small
stages:
  images: { use: dataset, with: { builtin: mini-rib, domain: v2, images: 20 } }
  # An artifact that is too large to stand in its record.
  many: { use: command, with: { run: \"mkdir out/many; for i in $(seq 200); do echo $i > out/many/$i; done\", outputs: [many] } }
";

fn space() -> TestSpace {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    space.run(&["run", "small.yaml", "--quiet"]).ok();
    space
}

/// The blobs of the store: artifacts and pixels.
fn blobs(space: &TestSpace) -> Vec<PathBuf> {
    let folders = fs::read_dir(space.path("cache/objects")).unwrap();
    let files = folders.flat_map(|folder| fs::read_dir(folder.unwrap().path()).unwrap());
    files.map(|file| file.unwrap().path()).collect()
}

fn what(outcome: &Outcome) -> Vec<String> {
    let told: Value = outcome.json();
    let faults = told["faults"].as_array().unwrap().iter();
    faults
        .map(|one| one["what"].as_str().unwrap().to_string())
        .collect()
}

/// `ribflow cache …` where so many reads of files below `folder` fail with an error.
fn failing(space: &TestSpace, folder: &str, times: &str, words: &[&str]) -> Option<Outcome> {
    let shim = tools::preloaded(space)?;
    let mut command = space.command(words);
    command
        .env("LD_PRELOAD", &shim)
        .env("RIBFLOW_TEST_READS_BELOW", space.path(folder))
        .env("RIBFLOW_TEST_READS_FAIL", times);
    Some(space.finish(&mut command))
}

#[test]
fn a_read_that_fails_once_costs_no_blob() {
    let space = space();
    let before = blobs(&space);
    for times in ["1", "2"] {
        let words = ["cache", "verify", "--json"];
        let Some(told) = failing(&space, "cache/objects", times, &words) else {
            return;
        };
        assert_eq!(what(&told.expect(0)), [""; 0]);
    }
    assert_eq!(blobs(&space), before);
}

#[test]
fn what_can_not_be_read_stays_where_it_is() {
    let space = space();
    let before = blobs(&space);
    let words = ["cache", "verify", "--json"];
    for folder in ["cache/objects", "cache/records"] {
        let Some(told) = failing(&space, folder, "100000", &words) else {
            return;
        };
        let told = told.expect(1);
        assert!(
            what(&told).iter().all(|what| what == "unreadable"),
            "{told}"
        );
        let told = failing(&space, folder, "100000", &["cache", "verify"])
            .unwrap()
            .expect(1);
        assert!(told.stdout.contains("may be intact"), "{told}");
        assert!(!told.stdout.contains("been set aside"), "{told}");
    }
    assert_eq!(blobs(&space), before);
    space.run(&["cache", "verify"]).ok();
    let damaged = space.path("cache/damaged");
    assert!(!damaged.exists(), "nothing was set aside");
}

#[test]
fn a_cleaning_that_can_not_read_takes_nothing() {
    let space = space();
    for path in walk(&space.path("cache")) {
        let file = fs::File::open(&path).unwrap();
        let day = std::time::Duration::from_secs(40 * 86400);
        file.set_modified(std::time::SystemTime::now() - day)
            .unwrap();
    }
    let before = blobs(&space);
    for folder in ["cache/objects", "cache/records", "cache/runs"] {
        let words = ["cache", "gc", "--older-than", "30d"];
        let Some(told) = failing(&space, folder, "100000", &words) else {
            return;
        };
        drop(told.expect(1));
        assert_eq!(blobs(&space), before, "{folder}");
    }
    // A passing failure changes nothing: the newest run needs all of it.
    for folder in ["cache/objects", "cache/records"] {
        let told = failing(&space, folder, "1", &["cache", "gc"]).unwrap();
        told.ok();
        assert_eq!(blobs(&space), before, "{folder}");
    }
}

fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(walk(&path));
        }
        all.push(path);
    }
    all
}

/// Another user's blob, or one whose rights were changed by mistake.
#[test]
fn a_blob_that_may_not_be_read_is_not_damaged() {
    let space = space();
    let blob = blobs(&space).pop().unwrap();
    let root = space.root();
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new(space.program());
    command
        .args(["cache", "verify", "--json", "--store", "cache"])
        .current_dir(&root)
        .env_clear();
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    let told = space.finish(&mut command).expect(1);
    assert_eq!(what(&told), ["unreadable"]);
    assert!(blob.exists());
    fs::set_permissions(&blob, fs::Permissions::from_mode(0o444)).unwrap();
    space.run(&["cache", "verify"]).ok();
}

/// A folder of runs that can't be listed must not pass for one without runs.
#[test]
fn runs_that_can_not_be_listed_are_not_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("cache")).unwrap();
    fs::remove_dir(store.runs()).unwrap();
    fs::write(store.runs(), "").unwrap();
    let seen = ribflow::engine::journal::seen(&store);
    assert!(matches!(seen, Err(StoreError::Io { .. })), "{seen:?}");
}
