//! The examples in docs/engine.md are what the engine reads and writes.

use ribflow::digest::check::read_line;
use ribflow::engine::job::{Request, WorkerMessage};
use ribflow::engine::journal::{Entry, Header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The lines of the block that is fenced as `jsonl <name>`.
fn block(name: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/engine.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("```jsonl {name}\n")).unwrap();
    let (block, _) = rest.split_once("```").unwrap();
    block.lines().map(str::to_string).collect()
}

/// Reads a line and writes it again: nothing is lost on the way.
fn check<T: DeserializeOwned + Serialize>(line: &str) {
    let value: T = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let there: Value = serde_json::from_str(line).unwrap();
    assert_eq!(serde_json::to_value(value).unwrap(), there);
}

#[test]
fn the_documented_lines_are_read_and_written() {
    block("request")
        .iter()
        .for_each(|line| check::<Request>(line));
    block("message")
        .iter()
        .for_each(|line| check::<WorkerMessage>(line));
    let journal = block("journal").into_iter().map(|line| {
        let (text, checked) = read_line(line.as_bytes()).unwrap();
        assert!(checked, "{line}");
        String::from_utf8(text).unwrap()
    });
    let journal: Vec<String> = journal.collect();
    check::<Header>(&journal[0]);
    journal[1..].iter().for_each(|line| check::<Entry>(line));
}
