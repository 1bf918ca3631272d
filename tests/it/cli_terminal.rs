//! What reaches a terminal: nothing that steers it, whoever wrote the text; and no panic where
//! nothing can be written.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::Stdio;

use ribflow::digest::Digest;
use serde_json::{Value, json};

use crate::space::{Outcome, TestSpace};

/// A line whose words and output hold sequences that set a title, clear the screen and turn the
/// direction of writing.
const HOSTILE: &str = "ribflow: 1\nname: w\nstages:\n  a:\n    use: command\n    with:\n      \
    run: \"printf '\\\\033]0;evil\\\\007\\\\033[2J\\\\302\\\\233H\\\\342\\\\200\\\\256' >&2; \
    echo 1 > out/x; : \\e[2J\\u009BH\\u202E; ${params.end}\"\n      outputs: [x]\n\
    params: { end: \"true\" }\n";

#[track_caller]
fn assert_clean(outcome: &Outcome) {
    for text in [&outcome.stdout, &outcome.stderr] {
        let odd = |letter: &char| {
            (letter.is_control() && !matches!(letter, '\n' | '\t')) || *letter == '\u{202e}'
        };
        assert_eq!(text.chars().find(odd), None, "{outcome}");
    }
}

/// The only record of a store.
fn record(space: &TestSpace) -> PathBuf {
    let mut open = vec![space.path("cache/records")];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => open.push(path),
                false if path.extension().is_some_and(|it| it == "json") => return path,
                false => {}
            }
        }
    }
    panic!("no record");
}

#[test]
fn nothing_that_others_wrote_steers_a_terminal() {
    let space = TestSpace::new();
    space.write("w.yaml", HOSTILE);
    assert_clean(&space.run(&["run", "w.yaml", "-v"]).expect(0));
    // A record from elsewhere may hold anything in its provenance.
    let path = record(&space);
    let mut forged: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    forged["provenance"]["device_class"] = json!("cpu\u{1b}[2J\u{9b}H\u{202e}");
    let bytes = ribflow::digest::canonical_json(&forged).into_bytes();
    fs::remove_file(&path).unwrap();
    let name = format!("{}.json", Digest::of(&bytes));
    fs::write(path.with_file_name(name), &bytes).unwrap();
    for command in [
        &["why", "w.yaml", "a", "-v"][..],
        &["status", "w.yaml", "-v"],
        &["plan", "w.yaml", "-v"],
        &["plan", "w.yaml", "--json"],
        &["why", "w.yaml", "a", "--json"],
        &["cache", "ls"],
        &["run", "w.yaml", "-v"],
    ] {
        let outcome = space.run(command).expect(0);
        assert_clean(&outcome);
        if command.contains(&"--json") {
            outcome.json();
        }
    }
    // Scripts get the text as it is.
    let why = space.run(&["why", "w.yaml", "a", "--json"]).json();
    assert!(
        why.to_string().contains("cpu\\u001b[2J\u{9b}H\u{202e}"),
        "{why}"
    );
    let failed = space.run(&["run", "w.yaml", "--set", "params.end=exit 3"]);
    assert_clean(&failed.expect(1));
    let failed = space.run(&["run", "w.yaml", "--set", "params.end=exit 4", "--json"]);
    assert_clean(&failed.expect(1));
    let missing = space.run(&["run", "no\u{1b}[2Jsuch.yaml"]);
    assert_clean(&missing.expect(2));
}

/// `/dev/full` fails every write as a full disk does.
#[test]
fn a_full_disk_is_no_panic() {
    let space = TestSpace::new();
    space.write("w.yaml", HOSTILE);
    for detail in ["-vv", "-q", "--json"] {
        let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
        let mut command = space.command(&["run", "w.yaml", "--force", "a", detail]);
        command.env("RIBFLOW_LOG", "trace").stderr(full());
        let code = command.stdout(full()).status().unwrap().code();
        // 101 is a panic.
        assert!(matches!(code, Some(0 | 1)), "{detail}: {code:?}");
    }
}

#[test]
fn a_log_that_can_not_be_written_costs_its_lines_only() {
    let space = TestSpace::new();
    let scratch = space.path("scratch");
    fs::create_dir_all(&scratch).unwrap();
    let job = |log: &str| {
        let with = json!({ "run": "echo hello; echo 1 > out/x", "outputs": ["x"] });
        json!({ "run": {
            "id": "a", "key": Digest::of(b"key"), "kind": "command", "with": with, "inputs": {},
            "threads": 1, "device": "cpu", "grace": 10, "derived": { "bytes": 0, "since": 0 },
            "scratch": scratch, "log": log,
        } })
    };
    let mut worker = space
        .command(&["worker", "--store", "store"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut requests = worker.stdin.take().unwrap();
    let mut messages = BufReader::new(worker.stdout.take().unwrap()).lines();
    assert_eq!(messages.next().unwrap().unwrap(), "\"ready\"");
    for (log, done) in [
        ("/dev/full", true),
        ("/nonexistent/log", false),
        ("/dev/full", true),
    ] {
        writeln!(requests, "{}", job(log)).unwrap();
        let last: Value = serde_json::from_str(&messages.next().unwrap().unwrap()).unwrap();
        assert_eq!(last["finished"].get("done").is_some(), done, "{last}");
    }
    drop(requests);
    assert!(worker.wait().unwrap().success());
}
