//! `ribflow cache …` on a small store.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ribflow::digest::Digest;
use ribflow::remote::signing::SecretKey;
use ribflow::remote::statement;
use ribflow::store::{Signature, Store, StoredRecord};
use serde_json::Value;

use crate::space::TestSpace;

const WORKFLOW: &str = "\
ribflow: 1
name: small
axes: { domain: [v2, r] }
stages:
  images: { each: [domain], use: dataset, with: { builtin: mini-rib, domain: \"${domain}\", images: 20 } }
  now: { use: command, with: { run: \"date +%N > out/time\", outputs: [time] } }
";

/// A space in which the workflow has run.
fn space() -> TestSpace {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    space.run(&["run", "small.yaml", "--quiet"]).ok();
    space
}

fn store(space: &TestSpace) -> Store {
    Store::open(&space.path("cache")).unwrap()
}

fn records(space: &TestSpace) -> Vec<StoredRecord> {
    let store = store(space);
    let keys = store.keys().unwrap();
    let records = keys.iter().flat_map(|key| store.records(key).unwrap());
    records.collect()
}

fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(everything(&path));
        }
        all.push(path);
    }
    all
}

/// As if two days had gone by.
fn age(space: &TestSpace) {
    for path in everything(&space.path("cache")) {
        let file = File::open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(2 * 86400))
            .unwrap();
    }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
}

fn record_folder(space: &TestSpace, key: &Digest) -> PathBuf {
    let hex = key.to_hex();
    space.path("cache/records").join(&hex[..2]).join(hex)
}

fn what(document: &Value) -> Vec<&str> {
    let faults = document["faults"].as_array().unwrap().iter();
    let mut what: Vec<&str> = faults.map(|one| one["what"].as_str().unwrap()).collect();
    what.sort_unstable();
    what
}

#[test]
fn verify_finds_every_flipped_bit() {
    let space = space();
    let clean = space.run(&["cache", "verify", "--json"]).expect(0).json();
    assert_eq!(what(&clean), Vec::<&str>::new());
    assert_eq!(clean["records"], 3);

    let all = records(&space);
    let key = SecretKey::from_seed(&[7; 32]);
    let signature = |stored: &StoredRecord| Signature {
        signer: key.public().in_names(),
        envelope: statement::sign(&stored.record, &key),
    };
    let of = |kind: &str| {
        let found = all.iter().filter(|one| one.record.recipe.kind == kind);
        found.cloned().collect::<Vec<StoredRecord>>()
    };
    let (images, now) = (of("dataset"), of("command"));
    let signed = &images[0];
    store(&space)
        .add_signature(&signed.record.key, &signed.digest, &signature(signed))
        .unwrap();
    let good = space.run(&["cache", "verify", "--json"]).expect(0).json();
    assert_eq!(good["signatures"], 1);

    let folder = record_folder(&space, &signed.record.key);
    let files = everything(&folder);
    let sealed = files.iter().find(|file| file.extension().unwrap() == "sig");
    flip(sealed.unwrap());
    flip(&record_folder(&space, &now[0].record.key).join(format!("{}.json", now[0].digest)));
    let store = store(&space);
    let blobs = store.artifact(&images[1].record.ports["images"]).unwrap();
    let hex = blobs.blobs()[0].digest.to_hex();
    flip(&space.path("cache/objects").join(&hex[..2]).join(&hex[2..]));

    let bad = space.run(&["cache", "verify", "--json"]).expect(1).json();
    let expected = [
        "damaged_blob",
        "damaged_record",
        "damaged_signature",
        "missing_blob",
    ];
    assert_eq!(what(&bad), expected);
    // Set aside, so never used; what is missing stays missing until its node has run.
    let bad = space.run(&["cache", "verify", "--json"]).expect(1).json();
    assert_eq!(what(&bad), ["missing_blob"]);
    let node = bad["faults"][0]["nodes"][0].as_str().unwrap().to_string();
    let told = space.run(&["cache", "verify", "--repair"]).expect(1);
    assert!(told.stdout.contains(&node), "{told}");
    assert!(told.stdout.contains("--repair --remote NAME"), "{told}");
    space
        .run(&["run", "small.yaml", "--force", &node, "--quiet"])
        .ok();
    let good = space.run(&["cache", "verify", "--json"]).expect(0).json();
    assert_eq!(what(&good), Vec::<&str>::new());
}

#[test]
fn cleaning_keeps_what_runs_and_pins_need() {
    let space = space();
    let gc = |more: &[&str]| {
        let arguments = [&["cache", "gc", "--older-than", "1d", "--json"], more].concat();
        space.run(&arguments).expect(0).json()
    };
    let nodes = |document: &Value| {
        let records = document["records"].as_array().unwrap().iter();
        let mut nodes: Vec<String> = records
            .map(|one| one["nodes"][0].as_str().unwrap().to_string())
            .collect();
        nodes.sort();
        nodes
    };
    // Too young; then needed by the newest run; then by nothing.
    assert!(nodes(&gc(&["--keep-runs", "0"])).is_empty());
    age(&space);
    assert!(nodes(&gc(&[])).is_empty());
    let all = ["images[domain=r]", "images[domain=v2]", "now"];
    let dry = gc(&["--keep-runs", "0", "--dry-run"]);
    assert_eq!(nodes(&dry), all);
    assert_eq!(records(&space).len(), 3);

    space
        .run(&[
            "cache",
            "pin",
            "small.yaml",
            "images[domain=v2]",
            "--name",
            "paper",
        ])
        .ok();
    let again = [
        "cache",
        "pin",
        "small.yaml",
        "images[domain=v2]",
        "--name",
        "paper",
    ];
    let again = space.run(&again).expect(0);
    assert!(again.stdout.contains("This replaces a pin"), "{again}");
    let pins = space.run(&["cache", "pins", "--json"]).expect(0).json();
    assert_eq!(pins["pins"][0]["nodes"][0]["id"], "images[domain=v2]");
    assert_eq!(
        nodes(&gc(&["--keep-runs", "0", "--dry-run"])),
        ["images[domain=r]", "now"]
    );
    let real = gc(&["--keep-runs", "0"]);
    assert_eq!(nodes(&real), ["images[domain=r]", "now"]);
    assert_eq!(real["runs"].as_array().unwrap().len(), 1);
    assert_eq!(records(&space).len(), 1);
    space.run(&["cache", "verify"]).ok();

    let pinned = space.run(&[
        "cache",
        "forget",
        "small.yaml",
        "images[domain=v2]",
        "--yes",
    ]);
    let told = pinned.expect(2);
    assert!(told.stderr.contains("ribflow cache unpin paper"), "{told}");
    let wrong = space.run(&["cache", "unpin", "papre"]).expect(2);
    assert!(wrong.stderr.contains("did you mean `paper`?"), "{wrong}");
    let gone = space.run(&["cache", "unpin", "paper", "--json"]).expect(0);
    assert_eq!(gone.json()["unpinned"], true);
    age(&space);
    assert_eq!(
        gc(&["--keep-runs", "0"])["records"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let left = everything(&space.path("cache/objects"));
    assert!(left.iter().all(|path| path.is_dir()), "{left:?}");
}

#[test]
fn what_is_forgotten_runs_again() {
    let space = space();
    let forget = |more: &[&str]| {
        let words = [
            "cache",
            "forget",
            "small.yaml",
            "images[domain=r]",
            "--json",
        ];
        space.run(&[&words[..], more].concat())
    };
    let told = forget(&[]).expect(2).json();
    assert_eq!(told["forgotten"], false);
    assert_eq!(
        forget(&["--dry-run"]).expect(0).json()["records"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(records(&space).len(), 3);
    forget(&["--yes"]).ok();
    assert_eq!(records(&space).len(), 2);
    let ran = space.run(&["run", "small.yaml", "--json"]).expect(0);
    let last = ran.json_lines().pop().unwrap();
    assert_eq!((&last["ran"], &last["reused"]), (&1.into(), &2.into()));

    let one = records(&space).pop().unwrap();
    let digits = &one.record.key.to_hex()[..12];
    space.run(&["cache", "forget", digits, "--yes"]).ok();
    assert_eq!(records(&space).len(), 2);
    drop(space.run(&["cache", "forget", digits, "--yes"]).expect(2));
    drop(space.run(&["cache", "forget", "abc", "--yes"]).expect(2));
}

#[test]
fn another_outcome_can_be_chosen() {
    let space = space();
    space
        .run(&["run", "small.yaml", "now", "--force", "now", "--quiet"])
        .ok();
    let choose = |more: &[&str]| {
        let words = ["cache", "choose", "small.yaml", "now", "--json"];
        space.run(&[&words[..], more].concat())
    };
    let shown = choose(&[]).expect(0).json();
    let outcomes = shown["records"].as_array().unwrap();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(shown["different"], serde_json::json!(["all", "time"]));
    let other = outcomes.iter().find(|one| one["used"] == false).unwrap();
    let other = other["record"].as_str().unwrap();
    choose(&[&other[..10]]).ok();
    let used = |document: &Value| {
        let records = document["records"].as_array().unwrap().iter();
        let used = records.filter(|one| one["used"] == true);
        used.map(|one| one["record"].as_str().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(used(&choose(&[]).expect(0).json()), [other]);
    drop(choose(&["0123456789"]).expect(2));
    let text = space
        .run(&["cache", "choose", "small.yaml", "now"])
        .expect(0);
    assert!(
        text.stdout.contains("Their outputs differ: all, time."),
        "{text}"
    );
}

#[test]
fn what_takes_room_is_reported() {
    let space = space();
    let list = space.run(&["cache", "ls", "--json"]).expect(0).json();
    assert_eq!(list["records"].as_array().unwrap().len(), 3);
    assert!(
        list["records"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["chosen"] == true)
    );
    let long = space
        .run(&["cache", "ls", "small.yaml", "--long"])
        .expect(0);
    assert!(long.stdout.contains("small: images[domain=v2]"), "{long}");
    let du = space.run(&["cache", "du", "--json"]).expect(0).json();
    let kinds = du["kinds"].as_array().unwrap();
    let own = |name: &str| {
        let kind = kinds.iter().find(|kind| kind["name"] == name).unwrap();
        kind["own_bytes"].as_u64().unwrap()
    };
    assert_eq!(own("dataset"), 2 * 20 * 32 * 32 * 3);
    let total = du["blobs"]["bytes"].as_u64().unwrap();
    assert_eq!(own("dataset") + own("command"), total);
    let stats = space.run(&["cache", "stats", "--json"]).expect(0).json();
    assert_eq!(
        (&stats["records"], &stats["blob_bytes"]),
        (&3.into(), &total.into())
    );
    // Nothing is made by looking.
    let empty = TestSpace::new();
    empty.run(&["cache", "ls", "--quiet"]).ok();
    drop(empty.run(&["cache", "gc"]).expect(2));
    assert!(!empty.path("cache").exists());
}

#[test]
fn a_store_that_a_group_shares_stays_open_to_it() {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    let cache = space.path("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o2775)).unwrap();
    let program = env!("CARGO_BIN_EXE_ribflow");
    let script = format!(
        "umask 077; {program} run small.yaml --quiet && {program} cache pin small.yaml --quiet"
    );
    let mut shell = std::process::Command::new("/bin/sh");
    shell
        .args(["-c", &script])
        .current_dir(space.root())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", space.root().join("home"));
    space.finish(&mut shell).ok();
    let all = everything(&cache);
    assert!(all.iter().any(|path| path.ends_with("pins/small.json")));
    for path in all {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        match path.is_dir() {
            true => assert_eq!(mode & 0o2775, 0o2775, "{}: {mode:o}", path.display()),
            false => assert_eq!(mode & 0o444, 0o444, "{}: {mode:o}", path.display()),
        }
    }
}
