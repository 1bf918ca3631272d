//! Every file in `tests/bad` is wrong in one way or several; its snapshot is what the user reads.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use ribflow::diag::Diagnostics;
use ribflow::workflow::{LoadOptions, load};

use super::{file, kinds::test_kinds};

/// What the first line of a file, `# run with …`, asks for.
fn options_of(text: &str) -> LoadOptions {
    let mut options = LoadOptions::default();
    let first = text.lines().next().unwrap_or("");
    let words = first.strip_prefix("# run with ").unwrap_or("");
    let words: Vec<&str> = words.split_whitespace().collect();
    for pair in words.chunks(2) {
        let value = pair[1].to_string();
        match pair[0] {
            "--profile" => options.profiles.push(value),
            "--set" => options.sets.push(value),
            "--target" => options.targets.push(value),
            "--limit-nodes" => options.limits.nodes = value.parse().unwrap(),
            "--limit-bytes" => options.limits.bytes = value.parse().unwrap(),
            other => panic!("`{other}` is not an option of these tests"),
        }
    }
    options
}

/// What `load` says about a wrong file, with paths relative to `tests`.
fn problems(path: &PathBuf) -> Diagnostics {
    let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
    match load(path, &options_of(&text), &test_kinds()) {
        Ok(_) => panic!("{} is not wrong", path.display()),
        Err(problems) => problems,
    }
}

fn bad_files() -> Vec<PathBuf> {
    let entries = fs::read_dir(file("bad")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_bad_file_is_refused_with_its_words() {
    let files = bad_files();
    assert!(files.len() >= 45, "only {} files", files.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(file("bad/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let folder = file("").display().to_string();
    let failed: Vec<String> = files
        .iter()
        .filter_map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let check = || {
                let text = problems(path).render(false).replace(&folder, "");
                settings.bind(|| insta::assert_snapshot!(name, text));
            };
            catch_unwind(AssertUnwindSafe(check))
                .err()
                .map(|_| name.to_string())
        })
        .collect();
    assert!(failed.is_empty(), "these differ: {failed:?}");
}
