//! Whose store a command takes: one that came with somebody else's files is refused until the
//! user says that it is theirs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use ribflow::store::{Identity, Store};
use serde_json::Value;

use crate::space::{Outcome, TestSpace};

const WORKFLOW: &str = "\
ribflow: 1
name: small
stages:
  now: { use: dataset, with: { builtin: mini-rib, domain: v2, images: 20 } }
";

/// A space with a workflow beside a store that another user made, with a result in it.
fn planted() -> TestSpace {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    let mut command = space.command(&["run", "small.yaml", "--quiet"]);
    command.env("HOME", space.path("stranger"));
    space.finish(&mut command).ok();
    space
}

fn refused(outcome: Outcome) {
    let outcome = outcome.expect(2);
    // With `--json` on standard output.
    let told = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(told.contains("is not known to be yours"), "{outcome}");
    assert!(told.contains("ribflow cache adopt cache"), "{outcome}");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
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
    all.sort();
    all
}

fn reused(outcome: Outcome) -> (Value, Value) {
    let summary = outcome.expect(0).json_lines().pop().unwrap();
    (summary["reused"].clone(), summary["ran"].clone())
}

#[test]
fn no_command_takes_a_store_that_came_with_the_files() {
    let space = planted();
    let before = everything(&space.path("cache"));
    let remote = format!("file://{}", space.path("remote").display());
    let file = "small.yaml";
    let commands: &[&[&str]] = &[
        &["run", file],
        &["run", file, "--force", "now"],
        &["plan", file],
        &["why", file, "now"],
        &["get", file, "now", "-o", "got"],
        &["status", file],
        &["push", file, "--remote", &remote],
        &["pull", file, "--remote", &remote],
        &["pull", file, "--remote", &remote, "--dry-run"],
        &["serve"],
        &["export", "bundle", file, "-o", "small.zip"],
        &["export", "ro-crate", file, "-o", "crate"],
        &["cache", "gc"],
        &["cache", "verify"],
        &["cache", "pin", file],
        &["cache", "unpin", "small"],
        &["cache", "pins"],
        &["cache", "ls"],
        &["cache", "ls", file],
        &["cache", "du"],
        &["cache", "stats"],
        &["cache", "forget", file, "now"],
        &["cache", "choose", file, "now"],
        &["cache", "release", file],
    ];
    for words in commands {
        refused(space.run(words));
    }
    assert_eq!(
        everything(&space.path("cache")),
        before,
        "nothing was written"
    );
    assert!(!space.path("got").exists());
    let told = space.run(&["run", file, "--json"]).expect(2).json();
    assert_eq!(told["errors"][0]["code"], "foreign-store");
}

#[test]
fn naming_a_store_is_for_one_command_and_adopting_it_for_good() {
    let space = planted();
    let run = ["run", "small.yaml", "--json"];
    let named = space.run(&["run", "small.yaml", "--json", "--store", "cache"]);
    assert_eq!(reused(named), (1.into(), 0.into()));
    let mut variable = space.command(&run);
    variable.env("RIBFLOW_STORE", "cache");
    assert_eq!(reused(space.finish(&mut variable)), (1.into(), 0.into()));
    refused(space.run(&run));

    space.run(&["cache", "adopt", "cache"]).ok();
    assert_eq!(reused(space.run(&run)), (1.into(), 0.into()));
    // Moved and copied it is still the user's.
    fs::rename(space.path("cache"), space.path("elsewhere")).unwrap();
    space.write("other/small.yaml", WORKFLOW);
    copy(&space.path("elsewhere"), &space.path("other/cache"));
    assert_eq!(
        reused(space.run(&["run", "other/small.yaml", "--json"])),
        (1.into(), 0.into())
    );
    // For another user it is a stranger's.
    for (name, value) in [("HOME", "third"), ("XDG_DATA_HOME", "data")] {
        let mut command = space.command(&["run", "other/small.yaml"]);
        command.env(name, space.path(value));
        let told = space.finish(&mut command).expect(2);
        assert!(
            told.stderr.contains("ribflow cache adopt other/cache"),
            "{told}"
        );
    }
    let wrong = space.run(&["cache", "adopt", "other"]).expect(2);
    assert!(
        wrong.stderr.contains("ribflow cache adopt other/cache"),
        "{wrong}"
    );
    drop(space.run(&["cache", "adopt", "nowhere"]).expect(2));
}

#[test]
fn the_nearest_store_is_refused_and_none_further_up_is_taken_in_its_place() {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    space.run(&["run", "small.yaml", "--quiet"]).ok();
    let other = planted();
    copy(
        other.root().join("cache").as_path(),
        &space.path("clone/cache"),
    );
    space.write("clone/small.yaml", WORKFLOW);
    let told = space.run(&["run", "clone/small.yaml"]).expect(2);
    assert!(
        told.stderr.contains("ribflow cache adopt clone/cache"),
        "{told}"
    );
}

#[test]
fn a_description_of_ones_own_does_not_cover_what_is_beside_it() {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    space.run(&["run", "small.yaml", "--quiet"]).ok();
    let other = planted();
    let clone = space.path("clone/cache");
    copy(other.root().join("cache").as_path(), &clone);
    space.write("clone/small.yaml", WORKFLOW);
    fs::remove_file(clone.join("store.json")).unwrap();
    symlink("../../cache/store.json", clone.join("store.json")).unwrap();
    let told = space.run(&["run", "clone/small.yaml"]).expect(2);
    assert!(told.stderr.contains("is a link"), "{told}");
    // Without any description it is no store at all.
    fs::remove_file(clone.join("store.json")).unwrap();
    space.write("clone/cache/README.md", "");
    let told = space.run(&["run", "clone/small.yaml"]).expect(2);
    assert!(told.stderr.contains("no store.json"), "{told}");
}

#[test]
fn a_readme_marks_the_place_of_a_new_store() {
    let space = TestSpace::new();
    space.write("cache/README.md", "Results go here.\n");
    space.write("workflows/small.yaml", WORKFLOW);
    for expected in [(0.into(), 1.into()), (1.into(), 0.into())] {
        let ran = space.run(&["run", "workflows/small.yaml", "--json"]);
        assert_eq!(reused(ran), expected);
    }
    assert!(space.path("cache/store.json").exists());
}

#[test]
fn a_store_of_an_earlier_version_is_adopted_once() {
    let space = planted();
    let old = "{ \"format\": 1, \"claims\": \"flock\", \"needs_ribflow\": \"0.1.0\" }\n";
    space.write("cache/store.json", old);
    refused(space.run(&["plan", "small.yaml"]));
    space.run(&["plan", "small.yaml", "--store", "cache"]).ok();
    assert_eq!(
        space.read("cache/store.json"),
        old,
        "looking changes nothing"
    );
    space.run(&["cache", "adopt", "cache"]).ok();
    let run = ["run", "small.yaml", "--json"];
    assert_eq!(reused(space.run(&run)), (1.into(), 0.into()));
    let identity = Store::identity(&space.path("cache")).unwrap();
    assert!(matches!(identity, Identity::Of(_)));
    space.run(&["cache", "adopt", "cache"]).ok();
    assert_eq!(Store::identity(&space.path("cache")).unwrap(), identity);
}

#[test]
fn without_a_home_a_new_store_is_made_and_must_be_named_from_then_on() {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    // Nothing can be made in the second one.
    let homes: [Option<PathBuf>; 2] = [None, Some(PathBuf::from("/proc"))];
    for (number, home) in homes.into_iter().enumerate() {
        let folder = format!("case-{number}");
        space.write(&format!("{folder}/small.yaml"), WORKFLOW);
        let run = |more: &[&str]| {
            let file = format!("{folder}/small.yaml");
            let words = [&["run", &file, "--json"], more].concat();
            let mut command = space.command(&words);
            command.env_remove("HOME");
            if let Some(home) = &home {
                command.env("HOME", home);
            }
            space.finish(&mut command)
        };
        let made = run(&[]).expect(0);
        assert!(made.stderr.contains("can't record that"), "{made}");
        let told = run(&[]).expect(2);
        assert!(told.stdout.contains("cache adopt"), "{told}");
        let cache = format!("{folder}/cache");
        assert_eq!(reused(run(&["--store", &cache])), (1.into(), 0.into()));
    }
}

#[test]
fn many_processes_that_make_the_same_store_all_have_it() {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    let children: Vec<_> = (0..8)
        .map(|_| {
            let mut command = space.command(&["run", "small.yaml", "--quiet"]);
            command
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let listed = fs::read_dir(space.path("home/.local/share/ribflow/stores")).unwrap();
    let listed: Vec<String> = listed
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let Identity::Of(id) = Store::identity(&space.path("cache")).unwrap() else {
        panic!("the store has an identity");
    };
    assert_eq!(listed, [id.to_hex()]);
}

#[test]
fn no_flipped_bit_makes_another_store_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("cache");
    let id = Store::open(&root).unwrap().id().unwrap();
    let path = root.join("store.json");
    let whole = fs::read(&path).unwrap();
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        match Store::identity(&root) {
            // White space.
            Ok(found) => assert_eq!(found, Identity::Of(id), "bit {bit}"),
            Err(_) => assert!(Store::open(&root).is_err()),
        }
    }
    // What can be read of a damaged one is enough to write it anew, with another identity.
    let text = String::from_utf8(whole).unwrap();
    fs::write(&path, text.replace(&id.to_hex()[..8], "00000000")).unwrap();
    assert!(Store::open(&root).is_err());
    let new = ribflow::store::new_id().unwrap();
    assert_eq!(Store::give_identity(&root, new).unwrap(), new);
    assert_eq!(Store::open(&root).unwrap().id(), Some(new));
}
