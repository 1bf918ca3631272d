//! docs/cli.md shows each command's help as the program prints it.
//!
//! After a change of the help texts: `RIBFLOW_UPDATE_DOCS=1 cargo test --release cli_docs`.

use std::path::Path;

use crate::space::TestSpace;

const MARK: &str = "<!-- help:";

#[test]
fn the_reference_shows_the_real_help() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let fresh = with_help(&page);
    if std::env::var_os("RIBFLOW_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    } else {
        let line = page
            .lines()
            .zip(fresh.lines())
            .position(|(old, new)| old != new);
        assert!(
            page == fresh,
            "docs/cli.md differs from the help at line {}: see the head of this test",
            line.map_or(0, |line| line + 1)
        );
    }
}

/// The page with a fresh block of help after each mark.
fn with_help(page: &str) -> String {
    let space = TestSpace::new();
    let mut fresh = String::new();
    let mut parts = page.split(MARK);
    fresh.push_str(parts.next().unwrap_or_default());
    for part in parts {
        let (name, rest) = part.split_once("-->").expect("a mark ends");
        let words: Vec<&str> = name.split_whitespace().collect();
        let help = space
            .run(&[&words[..], &["--help"]].concat())
            .expect(0)
            .stdout;
        fresh.push_str(&format!(
            "{MARK}{name}-->\n\n```text\n{}\n```\n",
            help.trim_end()
        ));
        // What follows the old block, up to the next mark.
        let after = rest.find("\n## ").map_or("", |at| &rest[at..]);
        fresh.push_str(after);
    }
    fresh
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
            page.contains(&format!("{MARK} {name} -->")),
            "`{name}` is missing"
        );
    }
}
