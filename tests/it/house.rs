//! The plan of the house: imports go one way only.

use std::fs;
use std::path::{Path, PathBuf};

/// Top-level modules, lowest first; on one line, a module may import those to its left.
const FLOORS: &[&[&str]] = &[
    &["ml", "rng", "isa", "ot"],
    &["digest", "fsx", "process", "memory", "diag"],
    &["yaml"],
    &["workflow"],
    &["store"],
    &["remote"],
    &["stages"],
    &["engine"],
    &["bench"],
    &["report", "ui"],
    &["cli"],
];

fn place(module: &str) -> Option<(usize, usize)> {
    FLOORS.iter().enumerate().find_map(|(floor, rooms)| {
        rooms
            .iter()
            .position(|room| *room == module)
            .map(|room| (floor, room))
    })
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn imports_go_one_way() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&source).unwrap();
        let first = relative.components().next().unwrap().as_os_str();
        let module = first.to_str().unwrap().trim_end_matches(".rs");
        // A package of its own: the compiler sees to it that it imports nothing of ours.
        if ["lib", "main", "ml"].contains(&module) {
            continue;
        }
        let here = place(module).unwrap_or_else(|| panic!("`{module}` has no place in FLOORS"));
        for (number, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for rest in line.split("crate::").skip(1) {
                let name: String = rest
                    .chars()
                    .take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_')
                    .collect();
                if name != module && place(&name).is_some_and(|there| there > here) {
                    wrong.push(format!("{}:{}: {name}", relative.display(), number + 1));
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports that run upwards:\n{}",
        wrong.join("\n")
    );
}

/// What strangers write is YAML, too, and serde_yaml's parser is unsafe code without a maintainer:
/// one module calls it, behind the other reader, whose limits hold for every text.
#[test]
fn one_module_calls_the_readers_of_yaml() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    let mut callers: Vec<(&str, String)> = Vec::new();
    for file in files {
        let relative = file.strip_prefix(&source).unwrap().display().to_string();
        let text = fs::read_to_string(&file).unwrap();
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code: String = code.collect();
        for reader in ["serde_yaml", "saphyr", "yaml_rust", "unsafe_libyaml"] {
            if code.contains(reader) {
                callers.push((reader, relative.clone()));
            }
        }
    }
    callers.sort();
    let allowed = [
        ("saphyr", "yaml/outline.rs"),
        ("serde_yaml", "yaml/tree_tests.rs"),
        ("serde_yaml", "yaml/values.rs"),
    ];
    let callers: Vec<(&str, &str)> = callers.iter().map(|(a, b)| (*a, b.as_str())).collect();
    assert_eq!(callers, allowed);
}
