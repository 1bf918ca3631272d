//! docs/cli.md shows the common options once and each command's help without them; docs/kinds.md
//! shows each kind and each preset, as the program prints them. `.ci/refresh` brings both pages up to date.

use std::path::Path;

use ribflow::ml::data::presets::{ObjectnetLabels, Preset};
use ribflow::ml::declaration::Declared;
use ribflow::ml::ot::distance::DistanceOptions;
use ribflow::ml::train::method::MethodOptions;

use crate::space::TestSpace;

const HELP: &str = "<!-- help:";
const COMMON: &str = "<!-- common options";
const KIND: &str = "<!-- ribflow kinds";
const PRESETS: &str = "<!-- presets -->\n\n";

#[test]
fn the_reference_shows_the_real_help() {
    let common = common_options(&help(""));
    let own = |name: &str| {
        let own = help(name).replace(&format!("\n\nOptions:\n{common}"), "");
        own.replace(&format!("\n\n{common}"), "")
    };
    hold("docs/cli.md", |page| {
        let page = with_sections(page, HELP, "ribflow ", &commands(""));
        let page = with_blocks(&page, COMMON, |_| format!("Options:\n{common}"));
        with_blocks(&page, HELP, own)
    });
}

fn help(name: &str) -> String {
    let words: Vec<&str> = name.split_whitespace().chain(["--help"]).collect();
    TestSpace::new().run(&words).expect(0).stdout
}

/// The options at the end of every command's options, which the page shows once.
fn common_options(help: &str) -> String {
    let start = help
        .find("  -h, --help\n")
        .expect("the help has an option --help");
    let lines: Vec<&str> = help[start..].lines().collect();
    let heading = lines.iter().position(|line| *line == "Common options:");
    let after = heading.expect("the help has common options") + 1;
    let count = lines[after..]
        .iter()
        .take_while(|line| line.is_empty() || line.starts_with(' '))
        .count();
    lines[..after + count].join("\n").trim_end().to_string()
}

/// Commands that can be run begin two columns in, in every help text.
#[test]
fn examples_are_aligned() {
    for name in commands("") {
        let help = help(&name);
        let examples = help
            .lines()
            .filter(|line| line.trim_start().starts_with("ribflow "));
        let mut odd = examples.filter(|line| !line.starts_with("  ribflow "));
        assert_eq!(odd.next(), None, "{name}");
    }
}

#[test]
fn the_reference_shows_the_real_kinds() {
    let json = TestSpace::new().run(&["kinds", "--json"]).expect(0).json();
    let kinds = json["kinds"].as_array().unwrap().iter();
    let kinds: Vec<String> = kinds
        .map(|kind| kind["name"].as_str().unwrap().to_string())
        .collect();
    assert!(kinds.len() > 8, "{kinds:?}");
    let printed = |name: &str| {
        let words = ["kinds", name.trim()];
        TestSpace::new().run(&words).expect(0).stdout
    };
    hold("docs/kinds.md", |page| {
        let page = with_sections(page, KIND, "", &kinds);
        with_presets(&with_blocks(&page, KIND, printed))
    });
}

/// Formula and source of a method or a distance are written by hand.
#[test]
fn the_reference_has_a_row_for_every_method_and_distance() {
    let page = include_str!("../../docs/kinds.md");
    let methods = <dyn MethodOptions>::list().all.iter().map(|it| it.name);
    let distances = <dyn DistanceOptions>::list().all.iter().map(|it| it.name);
    let listed = methods.map(|name| ("method", name));
    for (list, name) in listed.chain(distances.map(|name| ("distance", name))) {
        let (_, table) = page.split_once(&format!("\n| `{list}` |")).unwrap();
        let (table, _) = table.split_once("\n\n").unwrap();
        assert!(
            table.contains(&format!("\n| `{name}` |")),
            "docs/kinds.md: the table of `{list}` needs a row \"| `{name}` | … |\""
        );
    }
}

/// Every command below `parent`, with the commands below it.
fn commands(parent: &str) -> Vec<String> {
    let words: Vec<&str> = parent.split_whitespace().chain(["-h"]).collect();
    let help = TestSpace::new().run(&words).expect(0).stdout;
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !["", "help"].contains(name));
    names
        .flat_map(|name| {
            let name = format!("{parent} {name}").trim().to_string();
            let below = commands(&name);
            std::iter::once(name).chain(below)
        })
        .collect()
}

/// Compares a page with what `refreshed` makes of it, or writes that.
pub fn hold(page: &str, refreshed: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let old = std::fs::read_to_string(&path).unwrap();
    let fresh = refreshed(&old);
    if std::env::var_os("RIBFLOW_UPDATE_DOCS").is_some() {
        std::fs::write(&path, &fresh).unwrap();
        return;
    }
    let mut lines = old.lines().chain([""]).zip(fresh.lines()).enumerate();
    if let Some((line, (old, fresh))) = lines.find(|(_, (old, fresh))| old != fresh) {
        panic!(
            "{page} is out of date at line {}:\n  page:    {old}\n  program: {fresh}\nrun .ci/refresh",
            line + 1
        );
    }
    assert_eq!(old, fresh, "{page} is out of date: run .ci/refresh");
}

/// The page with a section for each name that has none: below those of its command, or at the end.
fn with_sections(page: &str, mark: &str, title: &str, names: &[String]) -> String {
    let mut page = page.to_string();
    for name in names {
        let mark = format!("{mark} {name} -->\n");
        if page.contains(&mark) {
            continue;
        }
        let command = name.split(' ').next().unwrap_or_default();
        let place = page
            .rfind(&format!("\n## {title}{command}"))
            .and_then(|last| Some(last + 1 + page[last + 1..].find("\n## ")?));
        let section = format!("\n## {title}{name}\n\n{mark}");
        page.insert_str(place.unwrap_or(page.len()), &section);
    }
    page
}

/// The page with a fresh table of the presets.
fn with_presets(page: &str) -> String {
    let (before, rest) = page.split_once(PRESETS).expect("the page has the presets");
    let (_, after) = rest.split_once("\n\n").expect("a table ends");
    let mut table = "| `preset` | below `root` | class folders | images |\n".to_string();
    table.push_str("|---|---|---|---|");
    for preset in Preset::all() {
        let facts = preset.facts();
        let places: Vec<String> = facts.places.iter().map(|it| format!("`{it}`")).collect();
        let folders = preset.folders(ObjectnetLabels::Intended);
        let row = format!(
            "\n| `{}` | {} | {} | {}{} |",
            facts.name,
            places.join(", "),
            folders.len(),
            facts.images,
            if facts.by_parts { " per part" } else { "" }
        );
        table.push_str(&row);
    }
    format!("{before}{PRESETS}{table}\n\n{after}")
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
