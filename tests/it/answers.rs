//! What commands answer where the user is a step away from what they want.

use std::fs;

use crate::space::{Outcome, TestSpace};

const WORKFLOW: &str = "\
ribflow: 1
name: said
stages:
  a: { use: command, with: { run: \"echo 1 > out/x; mkdir out/f; echo 2 > out/f/y\", outputs: [x, f] } }
";

/// A space in which a user with the key `aachen` has run the workflow and packed it.
fn packed() -> TestSpace {
    let space = TestSpace::new();
    space.write("lab/w.yaml", WORKFLOW);
    for words in [
        &["key", "generate", "--name", "aachen"][..],
        &["run", "lab/w.yaml", "-q"],
        &["export", "bundle", "lab/w.yaml", "-o", "w.ribbundle"],
    ] {
        lab(&space, words).ok();
    }
    space
}

fn lab(space: &TestSpace, words: &[&str]) -> Outcome {
    let mut command = space.command(words);
    space.finish(command.env("HOME", space.path("aachen")))
}

#[test]
fn a_file_goes_into_a_folder_that_is_there() {
    let space = packed();
    let get = |what: &str, to: &str| lab(&space, &["get", "lab/w.yaml", what, "-o", to]);
    fs::create_dir(space.path("got")).unwrap();
    space.write("got/other", "other");
    let told = get("a.x", "got").expect(0);
    assert!(told.stdout.contains("a.x: got/x"), "{told}");
    assert_eq!(space.read("got/x"), "1\n");
    assert_eq!(space.read("got/other"), "other");
    // Nothing is written over, and a folder still needs a place of its own.
    assert!(get("a.x", "got").expect(2).stderr.contains("got/x"));
    let _ = get("a.f", "got").expect(2);
    get("a.x", "file").ok();
    assert_eq!(space.read("file"), "1\n");
}

#[test]
fn a_file_in_the_place_of_a_digest_is_led_to_all() {
    let space = packed();
    let told = lab(&space, &["trust", "allow", "lab/w.yaml"]).expect(2);
    let all = "`ribflow trust allow --all lab/w.yaml`";
    assert!(told.stderr.contains(all), "{told}");
    let told = lab(&space, &["trust", "allow", "12"]).expect(2);
    assert!(told.stderr.contains("`--all FILE`"), "{told}");
}

#[test]
fn a_bundle_that_is_not_trusted_names_no_lab_after_itself() {
    let space = packed();
    let import = ["import", "w.ribbundle", "-o", "here"];
    let told = space.run(&import).expect(1);
    assert!(!told.stderr.contains("add bundle:"), "{told}");
    assert!(told.stderr.contains("then import again"), "{told}");
    let key = told.stderr.split("`ribflow trust add ").nth(1).unwrap();
    let key = key.split('`').next().unwrap();
    assert!(key.starts_with("lab-"), "{key}");
    // What is said is what helps.
    space.run(&["trust", "add", key]).ok();
    space.run(&import).ok();
    let name = key.split(':').next().unwrap();
    let told = space.run(&["why", "here/w.yaml", "a"]).expect(0);
    assert!(
        told.stdout.contains(&format!("signed by {name}\n")),
        "{told}"
    );
    let json = space.run(&["why", "here/w.yaml", "a", "--json"]).expect(0);
    assert_eq!(json.json()["nodes"][0]["signed_by"][0], name);
    // A signature that does not hold is nobody's word.
    let records = space.path("here/cache/records");
    let mut open = vec![records];
    while let Some(path) = open.pop() {
        match path.is_dir() {
            true => open.extend(fs::read_dir(&path).unwrap().map(|it| it.unwrap().path())),
            false if path.extension().is_some_and(|it| it == "sig") => {
                fs::remove_file(&path).unwrap();
                fs::write(&path, "{}").unwrap();
            }
            false => {}
        }
    }
    let told = space.run(&["why", "here/w.yaml", "a"]).expect(0);
    assert!(!told.stdout.contains("signed by"), "{told}");
}
