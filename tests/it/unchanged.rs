//! A run that has nothing to do is over at a glance, and nothing that matters escapes the glance.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::space::{Outcome, TestSpace};

const WORKFLOW: &str = r#"ribflow: 1
name: letters
axes:
  part: [a, b]
profiles:
  one:
    axes: { part: [a] }
stages:
  pictures: { use: dataset, with: { folder: pictures } }
  copied:
    each: [part]
    use: command
    with:
      run: "cat ${part}.txt > out/copy; echo ${env.GREETING} >> out/copy"
      files: ["in/${part}.txt"]
      outputs: [copy]
"#;

/// A folder in which a run has nothing to do and has left a receipt.
struct Rested(TestSpace);

impl Rested {
    fn new() -> Self {
        let rested = Self(TestSpace::new());
        let space = &rested.0;
        space.write("flow.yaml", WORKFLOW);
        space.write("in/a.txt", "one");
        space.write("in/b.txt", "two");
        space.write("pictures/cat/c.png", "three");
        rested.run(&[]).ok();
        std::thread::sleep(Duration::from_millis(2100));
        rested.run(&[]).ok();
        assert!(rested.is_glance(&[]), "the second run has left no receipt");
        rested
    }

    fn run(&self, more: &[&str]) -> Outcome {
        self.greeted("hello", more)
    }

    fn greeted(&self, greeting: &str, more: &[&str]) -> Outcome {
        let mut command = self.0.command(&["run", "flow.yaml"]);
        self.0
            .finish(command.env("GREETING", greeting).args(more))
            .expect(0)
    }

    fn runs(&self) -> usize {
        fs::read_dir(self.0.path("cache/runs")).unwrap().count()
    }

    /// Whether a run looks at no node: only such a one leaves no journal of its own.
    fn is_glance(&self, more: &[&str]) -> bool {
        let before = self.runs();
        self.run(more).ok();
        self.runs() == before
    }

    fn receipts(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(self.0.path("cache/index.runs")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    }
}

#[test]
fn a_run_that_is_over_at_a_glance_says_and_leaves_what_any_other_does() {
    let rested = Rested::new();
    let space = &rested.0;
    let report = space.read("out/letters/results.json");
    let glance = rested.run(&[]);
    for (path, _) in rested.receipts() {
        fs::remove_file(path).unwrap();
    }
    let whole = rested.run(&[]);
    assert_eq!(rested.runs(), 3);
    let without_times = |outcome: &Outcome| {
        let all = outcome.to_string();
        all.split("--- stderr").next().unwrap().to_string()
    };
    assert_eq!(without_times(&glance), without_times(&whole));
    assert_eq!(space.read("out/letters/results.json"), report);
    // It is the last run, whatever else has run since.
    let mut runs: Vec<String> = fs::read_dir(space.path("cache/runs"))
        .unwrap()
        .map(|run| run.unwrap().file_name().into_string().unwrap())
        .collect();
    runs.sort();
    let status = || space.run(&["status", "flow.yaml"]).stdout;
    rested.run(&["--profile", "one"]).ok();
    // `status` asks for the last run of the same profiles.
    assert!(status().contains(&runs[2]), "{}", status());
    let journal = space.path(&format!("cache/runs/{}/journal.jsonl", runs[2]));
    let changed = || fs::metadata(&journal).unwrap().modified().unwrap();
    let before = changed();
    std::thread::sleep(Duration::from_millis(20));
    assert!(rested.is_glance(&[]));
    assert!(changed() > before);
    assert!(status().contains(&runs[2]), "{}", status());
    // More is asked for: events, details, nodes that run again.
    for more in [
        &["--json"][..],
        &["-v"],
        &["--force", "copied"],
        &["copied"],
    ] {
        assert!(!rested.is_glance(more), "{more:?}");
    }
}

#[test]
fn nothing_that_matters_escapes_the_glance() {
    let rested = Rested::new();
    let space = &rested.0;
    let withheld = space.path("cache/withheld");
    let marked = || {
        let entries = fs::read_dir(&withheld).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let markers = marked();
    assert!(!markers.is_empty(), "the pictures may be passed on");
    let mut receipts = rested.receipts();
    let restore = |receipts: &[(PathBuf, Vec<u8>)]| {
        let write = |(path, bytes): &(PathBuf, Vec<u8>)| fs::write(path, bytes).unwrap();
        receipts.iter().for_each(write);
    };
    // Each of these is done, seen, taken back, and then the glance holds again.
    let written = [
        ("in/a.txt", "One"),
        ("pictures/cat/c.png", "Three"),
        ("pictures/cat/d.png", "four"),
        ("flow.yaml", "ribflow: 1\nname: letters\nstages: {}\n"),
        (
            "flow.yaml.lock",
            "ribflow_lock: 1\ncheckpoints: []\nsources: []\n",
        ),
        ("out/letters/results.json", "{}"),
        ("out/letters/report.html", "nothing"),
    ];
    for (name, content) in written {
        let path = space.path(name);
        let before = fs::read(&path).ok();
        space.write(name, content);
        let runs = rested.runs();
        let mut command = space.command(&["run", "flow.yaml"]);
        let seen = space.finish(command.env("GREETING", "hello"));
        assert!(
            rested.runs() > runs || seen.code != Some(0),
            "{name} has escaped"
        );
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        // The report is that of the first run again.
        rested.run(&[]).ok();
        if name.starts_with("pictures") {
            // The markers of the other pictures stay, so this takes a receipt of its own.
            std::thread::sleep(Duration::from_millis(2100));
            rested.run(&[]).ok();
            receipts = rested.receipts();
        }
        restore(&receipts);
        assert!(rested.is_glance(&[]), "{name} is as it was");
    }
    let report = space.read("out/letters/report.html");
    fs::remove_dir_all(space.path("out")).unwrap();
    assert!(!rested.is_glance(&[]));
    assert_eq!(space.read("out/letters/report.html"), report);
    assert!(rested.is_glance(&[]), "the same report lies there again");

    let runs = rested.runs();
    rested.greeted("good day", &[]).ok();
    assert!(rested.runs() > runs, "the variable has escaped");
    rested.run(&[]).ok();
    restore(&receipts);
    assert!(rested.is_glance(&[]));

    // Markers that are gone are set again.
    fs::remove_dir_all(&withheld).unwrap();
    assert!(!rested.is_glance(&[]), "the markers have escaped");
    assert_eq!(marked(), markers);
    std::thread::sleep(Duration::from_millis(2100));
    rested.run(&[]).ok();
    assert!(rested.is_glance(&[]));

    // What takes back a record, or puts another beside it.
    assert!(!rested.is_glance(&["--force", "copied[part=a]"]));
    assert!(
        !rested.is_glance(&[]),
        "another record lies beside the first"
    );
    let records = space.path("cache/records");
    let first = fs::read_dir(&records).unwrap().next().unwrap().unwrap();
    fs::remove_dir_all(first.path()).unwrap();
    assert!(!rested.is_glance(&[]), "a record is gone");

    // A receipt that is torn, or whose run was cleaned away, is none.
    receipts
        .iter()
        .for_each(|(path, bytes)| fs::write(path, &bytes[..bytes.len() / 2]).unwrap());
    assert!(!rested.is_glance(&[]));
    fs::remove_dir_all(&records).unwrap();
    rested.run(&[]).ok();
    std::thread::sleep(Duration::from_millis(2100));
    rested.run(&[]).ok();
    assert!(rested.is_glance(&[]), "every record is alone again");

    // Keys that depend on the machine can't be told by what lies in a store that others share.
    let strict = WORKFLOW.replace("name: letters", "name: letters\ndeterminism: strict");
    space.write("flow.yaml", strict);
    rested.run(&[]).ok();
    std::thread::sleep(Duration::from_millis(2100));
    rested.run(&[]).ok();
    assert!(!rested.is_glance(&[]));
    space.write("flow.yaml", WORKFLOW);
    fs::remove_dir_all(space.path("cache/runs")).unwrap();
    rested.run(&[]).ok();
    assert_eq!(rested.runs(), 1);
}
