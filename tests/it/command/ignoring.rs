//! What a folder under `files` leaves out, and files that are missing.

use std::fs;

use serde_json::{Value, json};

use super::{Bench, parse, problems};
use crate::space::TestSpace;

const FILES: [&str; 7] = [
    "code/a.py",
    "code/data/raw/y",
    "code/data/z",
    "code/deep/x.log",
    "code/__pycache__/a.pyc",
    "code/.git/HEAD",
    "code/deep/old.pyc",
];

fn with(ignore: Value) -> Value {
    json!({
        "run": "find code -type f | sort > out/x",
        "outputs": ["x"],
        "files": [{ "path": "code", "ignore": ignore }],
    })
}

#[test]
fn a_folder_leaves_out_what_tools_write_and_what_is_named() {
    let listed = |ignore: Value| {
        let mut bench = Bench::new();
        for file in FILES {
            bench.write(file, "");
        }
        let outputs = bench.run(with(ignore)).unwrap();
        let files = super::files(&outputs, "x");
        use ribflow::store::artifact::Blobs;
        String::from_utf8(bench.store.read(&files[""]).unwrap()).unwrap()
    };
    let usual = "code/a.py\ncode/data/raw/y\ncode/data/z\ncode/deep/x.log\n";
    assert_eq!(listed(json!([])), usual);
    assert_eq!(
        listed(json!(["*.log", "data/raw/"])),
        "code/a.py\ncode/data/z\n"
    );
    // A name of its own is not left out.
    let named = json!({ "run": "true", "outputs": ["x"], "files": ["code/__pycache__"] });
    assert_eq!(parse(&named).sources()[0].name, "files/__pycache__");
    assert_eq!(
        problems(with(json!(["[a"])), &[]),
        ["files.0.ignore.0: `[a` is not a valid pattern: invalid range pattern"]
    );
}

/// Python writes its caches when the script is run outside of a workflow.
#[test]
fn what_is_left_out_is_in_no_key_and_in_no_bundle() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\nstages:\n  a: { use: command, with: { files: [{ path: code, ignore: ['*.log'] }], \
         run: ls code > out/x, outputs: [x] } }\n",
    );
    space.write("code/a.py", "");
    space.run(&["run", "w.yaml", "-q"]).ok();
    for file in FILES {
        space.write(file, "later");
    }
    fs::remove_dir_all(space.path("code/data")).unwrap();
    space.write("code/a.py", "");
    let again = space.run(&["run", "w.yaml"]).expect(0);
    assert!(again.to_string().contains("1 reused"), "{again}");
    space.run(&["key", "generate"]).ok();
    space
        .run(&["export", "bundle", "w.yaml", "-o", "w.zip", "-q"])
        .ok();
    space.run(&["import", "w.zip", "-o", "there", "-q"]).ok();
    let there = fs::read_dir(space.path("there/code")).unwrap();
    let there: Vec<_> = there.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(there, ["a.py"]);
}

#[test]
fn validate_reports_files_that_are_missing() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\naxes: { n: [1, 2] }\nstages:\n  a:\n    each: [n]\n    use: command\n    with:\n      \
         files: [there.py, { path: 'data/${n}.csv' }]\n      runner: [uv, run, --locked]\n      run: echo \
         ${n}\n      outputs: [x]\n",
    );
    let project = "[project]\nname = \"p\"\nversion = \"0\"\n";
    for (file, text) in [
        ("there.py", ""),
        ("data/1.csv", ""),
        ("pyproject.toml", project),
    ] {
        space.write(file, text);
    }
    let shown = space.run(&["validate", "w.yaml"]).expect(2).stderr;
    assert!(shown.contains("`data/2.csv` does not exist"), "{shown}");
    assert!(shown.contains("w.yaml:9:25"), "{shown}");
    let lock = "`uv.lock` does not exist (in a[n=1] and another node)\n  --> w.yaml:10:16";
    assert!(shown.contains(lock), "{shown}");
    assert!(
        shown.contains("hint: `uv lock` writes `uv.lock`"),
        "{shown}"
    );
    for command in ["plan", "run"] {
        assert_eq!(space.run(&[command, "w.yaml"]).expect(2).stderr, shown);
    }
    assert!(!shown.contains("there.py` does"), "{shown}");
    for file in ["data/2.csv", "uv.lock"] {
        space.write(file, "");
    }
    space.run(&["validate", "w.yaml"]).ok();
    let local = "version = 1\n[[package]]\nname = \"mine\"\nversion = \"1\"\nsource = { editable = \"../mine\" }\n";
    space.write("uv.lock", local);
    for command in ["validate", "plan", "run"] {
        let shown = space.run(&[command, "w.yaml"]).expect(2).stderr;
        let line = "package `mine` is installed from `../mine`";
        assert!(shown.contains(line), "{command}: {shown}");
        assert!(shown.contains("w.yaml:10:15"), "{command}: {shown}");
    }
    // What has results needs no files.
    fs::remove_file(space.path("there.py")).unwrap();
    space.run(&["graph", "w.yaml"]).ok();
}

/// Patterns that can match nothing, and folders without anything left.
#[test]
fn patterns_without_effect_are_refused() {
    for pattern in ["./a", "../x", "!x", "*", "data//z"] {
        let found = problems(with(json!([pattern])), &[]);
        assert_eq!(found.len(), 1, "{pattern}: {found:?}");
        let start = format!("files.0.ignore.0: `{pattern}` is not a valid pattern: ");
        assert!(found[0].starts_with(&start), "{found:?}");
    }
    let space = TestSpace::new();
    space.write("code/data/z.log", "");
    let check = |path: &str, pattern: &str, command: &str, exit: i32| {
        space.write(
            "w.yaml",
            format!(
                "ribflow: 1\nname: w\nstages:\n  a: {{ use: command, with: {{ files: [{{ path: {path}, ignore: \
                 ['{pattern}'] }}], run: ls code > out/x, outputs: [x] }} }}\n"
            ),
        );
        space.run(&[command, "w.yaml"]).expect(exit).to_string()
    };
    let own = check("code", "code/data", "validate", 2);
    assert!(
        own.contains("`code/data` matches nothing: paths start inside `code`"),
        "{own}"
    );
    assert!(
        own.contains("hint: write `/data`") && own.contains("w.yaml:4:61"),
        "{own}"
    );
    let file = check("code/data/z.log", "*.py", "validate", 2);
    let line = "`ignore` is for folders, and `code/data/z.log` is a file";
    assert!(file.contains(line), "{file}");
    let nothing = check("code", "*.log", "run", 1);
    let line = "contains no files besides those that `ignore` and the usual patterns";
    assert!(nothing.contains(line), "{nothing}");
    // A folder in the folder may have its name.
    space.write("code/code/data/z.log", "");
    let _ = check("code", "code/data", "validate", 0);
}
