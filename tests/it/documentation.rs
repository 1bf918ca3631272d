//! The documentation, held to what the program does.

use std::path::{Path, PathBuf};

use crate::space::TestSpace;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<PathBuf> {
    let mut pages = [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
    ]
    .map(|page| root().join(page))
    .to_vec();
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    pages
}

/// The blocks of a page that are whole workflows.
fn workflows(page: &str) -> Vec<&str> {
    let blocks = page.split("```yaml\n").skip(1);
    let bodies = blocks.filter_map(|block| block.split("```").next());
    bodies
        .filter(|body| body.starts_with("ribflow: 1"))
        .collect()
}

#[test]
fn every_whole_workflow_in_the_documentation_is_valid() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for workflow in workflows(&text) {
            let space = TestSpace::new();
            space.write("documented.yaml", workflow);
            let outcome = space.run(&["validate", "documented.yaml"]);
            assert_eq!(
                outcome.code,
                Some(0),
                "{}\n{workflow}\n{outcome}",
                page.display()
            );
        }
    }
}

#[test]
fn links_between_pages_lead_somewhere() {
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap_or(Path::new("."));
        for part in text.split("](").skip(1) {
            let target = part.split([')', '#', ' ']).next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(
                folder.join(target).exists(),
                "{} links to {target}, which is not there",
                page.display()
            );
        }
    }
}

#[test]
fn every_test_that_a_guarantee_names_exists() {
    let page = root().join("docs/guarantees.md");
    let text = std::fs::read_to_string(page).unwrap();
    let named = quoted(&text).into_iter().filter(|name| is_test(name));
    let named: Vec<&str> = named.collect();
    assert!(named.len() > 20, "{named:?}");
    for name in named {
        assert!(test_exists(name), "`{name}` is not a test");
    }
}

#[test]
fn every_file_and_test_of_the_threat_model_exists() {
    let page = std::fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let (mut files, mut tests) = (0, 0);
    for name in quoted(&page) {
        if is_test(name) {
            assert!(test_exists(name), "`{name}` is not a test");
            tests += 1;
        } else if name.starts_with("src/") || name.starts_with("tests/") {
            assert!(root().join(name).is_file(), "there is no {name}");
            files += 1;
        }
    }
    assert!(files > 60 && tests > 40, "{files} files, {tests} tests");
    // A row without a test is a claim without one.
    let (_, parsers) = page.split_once("## Parsers of foreign bytes").unwrap();
    let (parsers, _) = parsers.split_once("\n## ").unwrap();
    let rows = parsers
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1);
    for row in rows {
        assert!(quoted(row).into_iter().any(is_test), "no test: {row}");
        assert!(row.contains("`src/"), "no file: {row}");
    }
}

/// Whether a text is the path of a test: `store::processes::killed_at_any_moment`.
fn is_test(text: &str) -> bool {
    let letters =
        |letter: char| letter.is_ascii_lowercase() || matches!(letter, '_' | ':' | '0'..='9');
    let last = text.rsplit("::").next().unwrap_or_default();
    text.contains("::") && text.chars().all(letters) && last.contains('_')
}

fn test_exists(name: &str) -> bool {
    let (module, function) = name.rsplit_once("::").expect("a path");
    let file = root().join("tests/it").join(module.replace("::", "/"));
    let mut files = [file.with_extension("rs"), file.join("mod.rs")].into_iter();
    files.any(|file| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.contains(&format!("fn {function}("))
    })
}

/// The texts in backticks of a page.
fn quoted(page: &str) -> Vec<&str> {
    page.lines()
        .filter(|line| !line.starts_with("```"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
        .collect()
}

/// Whether a file defines this function, type or trait.
fn defines(file: &Path, name: &str) -> bool {
    let Ok(text) = std::fs::read_to_string(file) else {
        return false;
    };
    let words: Vec<&str> = text
        .split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
        .collect();
    let definitions = ["fn", "struct", "enum", "trait"];
    words
        .windows(2)
        .any(|pair| definitions.contains(&pair[0]) && pair[1] == name)
}

#[test]
fn the_architecture_names_files_and_items_that_exist() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut checked = 0;
    for text in quoted(&page) {
        let (file, item) = match text.split_once(".rs: ") {
            Some((file, item)) => (format!("{file}.rs"), Some(item)),
            None if text.contains('/') && !text.contains(['<', ' ']) => (text.to_string(), None),
            None => continue,
        };
        let places = [root().join("src").join(&file), root().join(&file)];
        let place = places.iter().find(|place| place.exists());
        let is_made_later = ["cache/", "out/"].contains(&text);
        assert!(
            place.is_some() || is_made_later,
            "`{text}`: there is no {file}"
        );
        if let (Some(place), Some(item)) = (place, item) {
            assert!(defines(place, item), "`{text}`: {file} does not define it");
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

/// `NAME` stands for the name of what a recipe adds.
#[test]
fn the_recipes_name_files_that_exist() {
    let page = std::fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, recipes) = page.split_once("## Recipes").unwrap();
    let files = quoted(recipes).into_iter().filter(|text| {
        text.contains('/') && !text.contains([' ', '<', '"']) && !text.contains("NAME")
    });
    let files: Vec<&str> = files.collect();
    assert!(files.len() > 15, "{files:?}");
    for file in files {
        assert!(
            root().join(file).exists(),
            "CONTRIBUTING.md: `{file}` is not there"
        );
    }
}

#[test]
fn every_test_that_an_invariant_names_exists() {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let (_, invariants) = page.split_once("## Invariants").unwrap();
    let (invariants, _) = invariants.split_once("\n## ").unwrap();
    let mut checked = 0;
    for name in quoted(invariants) {
        let Some((module, test)) = name.rsplit_once("::") else {
            continue;
        };
        let file = root().join("tests/it").join(module.replace("::", "/"));
        let is_there = [file.with_extension("rs"), file.join("mod.rs")]
            .iter()
            .any(|file| defines(file, test));
        assert!(is_there, "there is no test `{name}`");
        checked += 1;
    }
    assert!(checked > 30, "{checked}");
}
