//! docs/cli.md shows each command's help, and docs/kinds.md each kind, as the program prints it.
//!
//! After a change of those texts: `RIBFLOW_UPDATE_DOCS=1 cargo test --release cli_docs`.

use std::path::Path;

use crate::space::TestSpace;

const HELP: &str = "<!-- help:";
const KIND: &str = "<!-- ribflow kinds";

#[test]
fn the_reference_shows_the_real_help() {
    let help = |name: &str| {
        let words: Vec<&str> = name.split_whitespace().chain(["--help"]).collect();
        TestSpace::new().run(&words).expect(0).stdout
    };
    hold("docs/cli.md", HELP, help);
}

#[test]
fn the_reference_shows_the_real_kinds() {
    hold("docs/kinds.md", KIND, |name| {
        TestSpace::new()
            .run(&["kinds", name.trim()])
            .expect(0)
            .stdout
    });
}

/// Compares the blocks after each mark of a page with what is printed, or brings them up to date.
fn hold(page: &str, mark: &str, printed: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let old = std::fs::read_to_string(&path).unwrap();
    let fresh = with_blocks(&old, mark, printed);
    if std::env::var_os("RIBFLOW_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
        return;
    }
    let mut lines = old.lines().zip(fresh.lines());
    let line = lines.position(|(old, fresh)| old != fresh);
    assert!(
        old == fresh,
        "{page} differs from what is printed at line {}: see the head of this test",
        line.map_or(0, |line| line + 1)
    );
}

/// The page with a fresh block after each mark.
fn with_blocks(page: &str, mark: &str, printed: impl Fn(&str) -> String) -> String {
    const FENCE: &str = "\n```\n";
    let mut parts = page.split(mark);
    let mut fresh = parts.next().unwrap_or_default().to_string();
    for part in parts {
        let (name, rest) = part.split_once("-->").expect("a mark ends");
        let block = printed(name);
        let block = block.trim_end();
        fresh.push_str(&format!("{mark}{name}-->\n\n```text\n{block}{FENCE}"));
        let after = match rest.strip_prefix("\n\n```text\n") {
            Some(old) => old.split_once(FENCE).expect("a block ends").1,
            None => rest.strip_prefix('\n').unwrap_or(rest),
        };
        fresh.push_str(after);
    }
    fresh
}

#[test]
fn every_kind_stands_in_the_reference() {
    let kinds = TestSpace::new().run(&["kinds", "--json"]).expect(0).json();
    let page = include_str!("../../docs/kinds.md");
    let kinds = kinds["kinds"].as_array().unwrap();
    assert!(kinds.len() > 8);
    for kind in kinds {
        let name = kind["name"].as_str().unwrap();
        assert!(
            page.contains(&format!("{KIND} {name} -->")),
            "`{name}` is missing"
        );
    }
}

#[test]
fn every_command_stands_in_the_reference() {
    let help = TestSpace::new().run(&["--help"]).expect(0).stdout;
    let page = include_str!("../../docs/cli.md");
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands: Vec<&str> = commands
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.len() > 8, "{commands:?}");
    for name in commands {
        assert!(
            page.contains(&format!("{HELP} {name} -->")),
            "`{name}` is missing"
        );
    }
}
