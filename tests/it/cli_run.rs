//! Runs from the command line: what is printed where, what scripts rely on, how runs end.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::space::{Outcome, TestSpace};

/// Four nodes that take no time: one text, and the letters found in it.
const LETTERS: &str = "\
ribflow: 1
name: letters
params: { word: hazel }
axes: { letter: [h, l, z] }
stages:
  text:
    use: command
    with: { run: \"echo '${params.word}' > out/words\", outputs: [words] }
  found:
    each: [letter]
    use: command
    needs: { text: text }
    with: { run: \"grep -o '${letter}' text/words > out/letters || { echo no ${letter} here; false; }\", outputs: [letters] }
profiles:
  other: { params: { word: zillah } }
";

fn letters() -> TestSpace {
    let space = TestSpace::new();
    space.write("letters.yaml", LETTERS);
    space
}

/// The last event of a `run --json`.
#[track_caller]
fn summary(outcome: &Outcome) -> Value {
    let last = outcome.json_lines().pop().expect("some event");
    assert_eq!(last["event"], "summary", "{outcome}");
    let number = |name: &str| last[name].as_u64().expect("a number");
    let ended = ["ran", "reused", "failed", "skipped"].map(number);
    assert_eq!(number("nodes"), ended.iter().sum::<u64>(), "{outcome}");
    last
}

/// `(ran, reused, failed, skipped)`
#[track_caller]
fn counts(outcome: &Outcome) -> [u64; 4] {
    let summary = summary(outcome);
    ["ran", "reused", "failed", "skipped"].map(|name| summary[name].as_u64().unwrap())
}

fn ids(events: &[Value], kind: &str) -> Vec<String> {
    let of_kind = events.iter().filter(|event| event["event"] == kind);
    let mut ids: Vec<String> = of_kind
        .map(|event| event["id"].as_str().expect("an id").to_string())
        .collect();
    ids.sort();
    ids
}

/// `id: state` of every node, as `plan --json` and `status --json` say.
fn states(outcome: &Outcome) -> Vec<String> {
    let nodes = outcome.json();
    let nodes = nodes["nodes"].as_array().expect("nodes").iter();
    nodes
        .map(|node| {
            let fields: Vec<&String> = node.as_object().expect("a node").keys().collect();
            assert_eq!(
                fields,
                ["derived", "id", "key", "kind", "stage", "state", "why"]
            );
            let text = |name: &str| node[name].as_str().expect("a text").to_string();
            format!("{}: {}", text("id"), text("state"))
        })
        .collect()
}

#[test]
fn a_run_says_what_it_does_and_the_next_one_reuses_it() {
    // A chain, so that the order of the lines is always the same.
    let space = letters();
    let run = |detail: &[&str]| {
        space.run(
            &[
                &["run", "letters.yaml", "found[letter=h]", "--threads", "1"],
                detail,
            ]
            .concat(),
        )
    };
    insta::assert_snapshot!(run(&[]), @"
    letters: 2 nodes in [time]: 2 ran
    report: out/letters/report.html
    --- stderr
    letters: 2 nodes, 1 thread, cpu
    [0/2] start    text
    [1/2] done     text  [time]
    [1/2] start    found[letter=h]
    [2/2] done     found[letter=h]  [time]
    ");
    insta::assert_snapshot!(run(&[]), @"
    letters: 2 nodes in [time]: 2 reused
    report: out/letters/report.html
    --- stderr
    letters: 2 nodes, 1 thread, cpu
    ");
    insta::assert_snapshot!(run(&["-v"]), @"
    letters: 2 nodes in [time]: 2 reused
    report: out/letters/report.html
    --- stderr
    letters: 2 nodes, 1 thread, cpu, run [run]
    [1/2] reused   text  2104628b4728
    [2/2] reused   found[letter=h]  c4a20ce0ba0a
    ");
    insta::assert_snapshot!(run(&["-q"]), @"");
}

#[test]
fn json_is_one_event_a_line_and_the_counts_add_up() {
    let space = letters();
    let first = space.run(&["run", "letters.yaml", "--json"]).expect(0);
    assert_eq!(first.stderr, "");
    let events = first.json_lines();
    assert_eq!(events[0]["event"], "run_started");
    let everything = [
        "found[letter=h]",
        "found[letter=l]",
        "found[letter=z]",
        "text",
    ];
    assert_eq!(ids(&events, "node_started"), everything);
    assert_eq!(ids(&events, "node_finished"), everything);
    assert_eq!(counts(&first), [4, 0, 0, 0]);
    let report = summary(&first)["report"].as_str().unwrap().to_string();
    assert_eq!(
        report,
        space.path("out/letters/report.html").display().to_string()
    );
    assert!(space.path("out/letters/results.json").is_file());

    let second = space.run(&["run", "letters.yaml", "--json"]).expect(0);
    assert_eq!(ids(&second.json_lines(), "node_reused"), everything);
    assert_eq!(counts(&second), [0, 4, 0, 0]);
}

#[test]
fn a_failed_node_is_exit_code_1_and_what_needs_it_is_skipped() {
    let space = letters();
    let run = |arguments: &[&str]| {
        let set = [
            "run",
            "letters.yaml",
            "--set",
            "params.word=hall",
            "--threads",
            "1",
        ];
        space.run(&[&set[..], arguments].concat())
    };
    insta::assert_snapshot!(run(&["found[letter=z]"]), @"
    letters: 2 nodes in [time]: 1 ran, 1 failed
    report: out/letters/report.html
    --- stderr
    letters: 2 nodes, 1 thread, cpu
    [0/2] start    text
    [1/2] done     text  [time]
    [1/2] start    found[letter=z]
    [2/2] failed   found[letter=z]
        the command ended with exit code 1
          no z here
        its folder, until the next run: cache/runs/[run]/failed/found.letter=z
        log: cache/runs/[run]/logs/found.letter=z.log
    [exit code 1]
    ");
    let outcome = run(&["--keep-going", "--json"]).expect(1);
    assert_eq!(counts(&outcome), [2, 1, 1, 0]);
    let events = outcome.json_lines();
    let failed = events.iter().find(|event| event["event"] == "node_failed");
    let log = failed.expect("a failure")["log"].as_str().expect("a log");
    assert_eq!(space.read(&format!("cache/{log}")), "no z here\n");

    // `text` fails, and the others with it.
    let broken = LETTERS.replace("echo '", "false '");
    space.write("letters.yaml", broken);
    let outcome = space.run(&["run", "letters.yaml", "--json"]).expect(1);
    assert_eq!(counts(&outcome), [0, 0, 1, 3]);
    let outcome = space.run(&["status", "letters.yaml", "--json"]).expect(0);
    insta::assert_snapshot!(states(&outcome).join("\n"), @"
    text: failed
    found[letter=h]: skipped
    found[letter=l]: skipped
    found[letter=z]: skipped
    ");
    insta::assert_snapshot!(space.run(&["status", "letters.yaml"]), @"
    letters: 4 nodes

    stage  nodes  failed  skipped
    text       1       1
    found      3                3
    total      4       1        3

    failed   text
        the command ended with exit code 1; it printed nothing
        its folder, until the next run: cache/runs/[run]/failed/text
    Run [run] ended after [time].
    ");
}

#[test]
fn what_is_wrong_before_anything_starts_is_exit_code_2() {
    let space = letters();
    for arguments in [
        &["run", "letters.yaml", "found[letter=q]", "--json"][..],
        &["run", "letters.yaml", "--force", "fuond", "--json"],
        &["run", "letters.yaml", "--profile", "tiny", "--json"],
        &["run", "letters.yaml", "--set", "params.w=1", "--json"],
        &["run", "nothing.yaml", "--json"],
        &["run", "letters.yaml", "--store", "letters.yaml", "--json"],
        &["run", "letters.yaml", "--limit", "many", "--json"],
        &["run", "--json"],
    ] {
        let outcome = space.run(arguments).expect(2);
        let errors = outcome.json()["errors"].as_array().expect("errors").clone();
        assert_eq!(errors.len(), 1, "{outcome}");
        for name in ["code", "message", "file"] {
            assert!(errors[0][name].is_string(), "{name}: {outcome}");
        }
        assert!(
            errors[0]["line"].is_u64() && errors[0]["column"].is_u64(),
            "{outcome}"
        );
    }
    let runs = std::fs::read_dir(space.path("cache/runs"));
    assert_eq!(runs.map_or(0, Iterator::count), 0);
    let outcome = space.run(&["run", "letters.yaml", "--store", "letters.yaml"]);
    insta::assert_snapshot!(outcome, @"
    --- stderr
    error: $SPACE/letters.yaml is not a store: it is a file; a store is a folder
    hint: choose another store with `--store` or RIBFLOW_STORE
    [exit code 2]
    ");
    let outcome = space.run(&["run", "letters.yaml", "--device", "cuda"]);
    insta::assert_snapshot!(outcome, @"
    --- stderr
    error: `cuda:0` needs a build with the `cuda` feature
    hint: `--device cpu` always works
    [exit code 2]
    ");
}

#[test]
fn a_plan_tells_what_is_known_from_what_depends() {
    let space = letters();
    insta::assert_snapshot!(space.run(&["plan", "letters.yaml"]), @"
    letters: 4 nodes

    stage  nodes  would run  unknown
    text       1          1
    found      3                   3
    total      4          1        3

    At least 1 and at most 4 nodes would run: 3 are unknown until their inputs have run.
    --- stderr
    note: there is no store at cache yet
    ");
    let outcome = space.run(&["plan", "letters.yaml", "--json"]).expect(0);
    insta::assert_snapshot!(states(&outcome).join("\n"), @"
    text: would_run
    found[letter=h]: unknown
    found[letter=l]: unknown
    found[letter=z]: unknown
    ");
    space.run(&["run", "letters.yaml", "-q"]).ok();
    insta::assert_snapshot!(space.run(&["plan", "letters.yaml"]), @"
    letters: 4 nodes

    stage  nodes  reused
    text       1       1
    found      3       3
    total      4       4

    Nothing would run.
    ");

    space.write("letters.yaml", LETTERS.replace("grep -o", "grep -io"));
    insta::assert_snapshot!(space.run(&["plan", "letters.yaml", "-v"]), @r#"
    letters: 4 nodes

    stage  nodes  reused  would run
    text       1       1
    found      3                  3
    total      4       1          3

    3 nodes would run.

    would run     found[letter=h]  with.run: "grep -o 'h' text/words > out/letters ||… → "grep -io 'h' text/words > out/letters |…
    would run     found[letter=l]  with.run: "grep -o 'l' text/words > out/letters ||… → "grep -io 'l' text/words > out/letters |…
    would run     found[letter=z]  with.run: "grep -o 'z' text/words > out/letters ||… → "grep -io 'z' text/words > out/letters |…
    "#);
    space.write("letters.yaml", LETTERS.replace("hazel", "'${env.WORD}'"));
    insta::assert_snapshot!(space.run(&["plan", "letters.yaml"]), @"
    letters: 4 nodes

    stage  nodes  unknown  missing data
    text       1                      1
    found      3        3
    total      4        3             1

    Nothing could run.
    1 node can't run, nor 3 that wait for them:
      text: the environment variable `WORD` is not set
    [exit code 1]
    ");
    let mut command = space.command(&["plan", "letters.yaml", "--json"]);
    let outcome = space.finish(command.env("WORD", "hazel")).expect(0);
    assert!(
        states(&outcome)
            .iter()
            .all(|state| state.ends_with(": reused")),
        "{outcome}"
    );
}

#[test]
fn why_names_what_differs() {
    let space = letters();
    insta::assert_snapshot!(space.run(&["why", "letters.yaml", "text"]), @"
    text
      would run: it has not run before
      key 2104628b472828b3c779a9bc4b6bcd9b474e90075e66e338ef9a1c97d25193d3
    --- stderr
    note: there is no store at cache yet
    ");
    space.run(&["run", "letters.yaml", "-q"]).ok();
    let why = |arguments: &[&str]| space.run(&[&["why", "letters.yaml"], arguments].concat());
    insta::assert_snapshot!(why(&["found[letter=h]", "--set", "params.word=hal"]), @r#"
    found[letter=h]
      unknown: waits for text
        text would run: with.run: "echo 'hazel' > out/words" → "echo 'hal' > out/words"
    "#);
    insta::assert_snapshot!(why(&["text", "--set", "params.word=hal"]), @r#"
    text
      would run: with.run: "echo 'hazel' > out/words" → "echo 'hal' > out/words"
      key 3a5dfc3cd461a403cad346a297986d22665103258d785223fc6f79fa554ce1de
    "#);
    let outcome = why(&["found[letter=h]", "--json"]).expect(0).json();
    let node = &outcome["nodes"][0];
    assert_eq!(node["state"], "reused");
    assert_eq!(node["recipe"]["kind"], "command");
    let words = why(&["found[letter=h]", "-v"]).expect(0).stdout;
    assert!(
        words.contains("with.run: \"grep -o 'h' text/words > out/letters"),
        "{words}"
    );
}

#[test]
fn status_before_and_after_a_run() {
    let space = letters();
    insta::assert_snapshot!(space.run(&["status", "letters.yaml"]), @"
    letters: 4 nodes

    stage  nodes  waiting
    text       1        1
    found      3        3
    total      4        4

    The workflow has not been run with this store.
    --- stderr
    note: there is no store at cache yet
    ");
    space.run(&["run", "letters.yaml", "text", "-q"]).ok();
    insta::assert_snapshot!(space.run(&["status", "letters.yaml"]), @"
    letters: 4 nodes

    stage  nodes  done  waiting
    text       1     1
    found      3              3
    total      4     1        3

    Run [run] ended after [time].
    ");
    let outcome = space.run(&["status", "letters.yaml", "--json"]).expect(0);
    insta::assert_snapshot!(states(&outcome).join("\n"), @"
    text: done
    found[letter=h]: waiting
    found[letter=l]: waiting
    found[letter=z]: waiting
    ");
}

#[test]
fn results_leave_the_store_as_ordinary_files() {
    let space = letters();
    insta::assert_snapshot!(space.run(&["get", "letters.yaml", "text", "-o", "got"]), @"
    --- stderr
    note: there is no store at cache yet
    error: text has no result yet: it has not run before
    hint: `ribflow run letters.yaml text` computes it and what it needs
    [exit code 1]
    ");
    space.run(&["run", "letters.yaml", "-q"]).ok();
    insta::assert_snapshot!(space.run(&["get", "letters.yaml", "text", "-o", "got"]), @"
    text.all: got
    Other outputs: text.words.
    ");
    assert_eq!(space.read("got/words"), "hazel\n");
    insta::assert_snapshot!(space.run(&["get", "letters.yaml", "found.letters", "-o", "all"]), @"
    found[letter=h].letters: all/found[letter=h]
    found[letter=l].letters: all/found[letter=l]
    found[letter=z].letters: all/found[letter=z]
    ");
    assert_eq!(space.read("all/found[letter=z]"), "z\n");
    space
        .run(&["get", "letters.yaml", "text.words", "-o", "words"])
        .ok();
    assert_eq!(space.read("words"), "hazel\n");
    let get = |node: &str| space.run(&["get", "letters.yaml", node, "-o", "got"]);
    insta::assert_snapshot!(get("text.words"), @"
    --- stderr
    error: got/words is already there
    hint: `-o` expects a new or empty folder
    [exit code 2]
    ");
    insta::assert_snapshot!(get("text.word"), @"
    --- stderr
    error: text has no output `word`
    hint: did you mean `words`?
    [exit code 2]
    ");
}

#[test]
fn limit_and_force_and_targets() {
    let space = letters();
    let run = |arguments: &[&str]| {
        counts(
            &space
                .run(&[&["run", "letters.yaml", "--json"], arguments].concat())
                .expect(0),
        )
    };
    assert_eq!(run(&["--limit", "1"]), [1, 0, 0, 3]);
    assert_eq!(run(&["found[letter=h|l]", "--limit", "5"]), [2, 1, 0, 0]);
    assert_eq!(run(&[]), [1, 3, 0, 0]);
    // It comes out as before, so nothing that depends on it runs.
    assert_eq!(run(&["--force", "text"]), [1, 3, 0, 0]);
    assert_eq!(run(&["--force", "found", "--force", "text"]), [4, 0, 0, 0]);
    assert_eq!(run(&["--profile", "other"]), [4, 0, 0, 0]);
    assert!(space.path("out/letters-other/report.html").is_file());
}

#[test]
fn a_store_may_be_moved_and_is_found_above_the_workflow() {
    let space = TestSpace::new();
    space.write("lab/flows/letters.yaml", LETTERS);
    space.write("lab/cache/README.md", "");
    space.run(&["run", "lab/flows/letters.yaml", "-q"]).ok();
    assert!(space.path("lab/cache/store.json").is_file());
    assert!(space.path("lab/out/letters/report.html").is_file());

    std::fs::rename(space.path("lab/cache"), space.path("elsewhere")).unwrap();
    let mut command = space.command(&["run", "lab/flows/letters.yaml", "--json"]);
    let outcome = space
        .finish(command.env("RIBFLOW_STORE", "elsewhere"))
        .expect(0);
    assert_eq!(counts(&outcome), [0, 4, 0, 0]);
    let arguments = [
        "--store",
        "elsewhere",
        "--out",
        "pages",
        "run",
        "lab/flows/letters.yaml",
    ];
    space.run(&arguments).ok();
    assert!(space.path("pages/letters/report.html").is_file());
    assert!(!space.path("lab/cache").exists());
}

#[test]
fn a_reader_that_closes_the_pipe_is_no_failure() {
    let space = letters();
    space.run(&["run", "letters.yaml", "-q"]).ok();
    for arguments in [
        &["plan", "letters.yaml"][..],
        &["schema"],
        &["run", "letters.yaml", "--json"],
    ] {
        let mut command = space.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let mut errors = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        assert_eq!(
            child.wait().unwrap().code(),
            Some(0),
            "{arguments:?}: {errors}"
        );
        assert_eq!(errors, "", "{arguments:?}");
    }
    let outcome = space.run(&["run", "letters.yaml", "--json"]).expect(0);
    assert_eq!(
        counts(&outcome),
        [0, 4, 0, 0],
        "the run went on without its reader"
    );
}

#[test]
fn an_interrupted_run_is_exit_code_130_and_goes_on_later() {
    let space = TestSpace::new();
    let slow = LETTERS.replace(
        "grep -o '${letter}'",
        "test -e $HOME/go || sleep 600; grep -o '${letter}'",
    );
    space.write("letters.yaml", slow);
    let mut command = space.command(&["run", "letters.yaml", "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let started = |line: &String| line.contains("node_started") && line.contains("found");
    while !started(&lines.next().unwrap().unwrap()) {}
    // The shell must have begun for this to be worth something; too early would be no failure.
    std::thread::sleep(Duration::from_millis(100));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let last = lines.map_while(Result::ok).last().expect("a summary");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let last: Value = serde_json::from_str(&last).unwrap();
    assert_eq!(
        (&last["ran"], &last["skipped"]),
        (&1.into(), &3.into()),
        "{last}"
    );
    assert_eq!(last["interrupted"], true);
}
