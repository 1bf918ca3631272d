//! Credentials: refused where they would enter a key, handed on where they do not, shown nowhere.

use serde_json::json;

use super::{parse, problems};
use crate::space::TestSpace;

const TOKEN: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";

#[test]
fn what_looks_like_a_credential_is_refused_where_its_value_enters_the_key() {
    let refused = |names: &[&str]| {
        let with = json!({ "run": "x", "outputs": ["x"], "env": names });
        problems(with, &[]).len()
    };
    assert_eq!(
        refused(&["TOKENIZERS_PARALLELISM", "MONKEY", "KEYBOARD_LAYOUT"]),
        0
    );
    assert_eq!(
        refused(&["PASSWD", "GH_PAT", "DATABASE_URL", "HF_TOKEN"]),
        4
    );
    let both = json!({ "run": "x", "outputs": ["x"], "env": ["A"], "pass": ["A", "B-C"] });
    let found = problems(both, &[]);
    assert_eq!(found.len(), 2, "{found:?}");
    // What is handed on is in no key.
    let plain = json!({ "run": "x", "outputs": ["x"] });
    let passing = json!({ "run": "x", "outputs": ["x"], "pass": ["GH_PAT"] });
    assert_eq!(parse(&plain).canonical(), parse(&passing).canonical());
    assert!(parse(&passing).sources().is_empty());
}

#[test]
fn a_value_that_looks_like_a_credential_is_refused_and_not_shown() {
    let space = TestSpace::new();
    for (field, reference) in [
        ("env: [SETTING]", "true"),
        ("env: []", "echo ${env.SETTING}"),
    ] {
        space.write(
            "w.yaml",
            format!(
                "ribflow: 1\nname: w\nstages:\n  a: {{ use: command, with: {{ run: \"{reference}\", \
                 outputs: [x], {field} }} }}\n"
            ),
        );
        for value in [TOKEN, "postgres://lab:hunter2@db/results"] {
            let mut command = space.command(&["run", "w.yaml"]);
            let refused = space.finish(command.env("SETTING", value)).expect(2);
            assert!(refused.stderr.contains("`SETTING` holds"), "{refused}");
            assert!(!refused.stderr.contains(value), "{refused}");
            assert!(!refused.stderr.contains("hunter2"), "{refused}");
        }
        let mut command = space.command(&["validate", "w.yaml"]);
        space.finish(command.env("SETTING", "8")).ok();
    }
}

/// Every file under a folder.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[test]
fn a_passed_variable_reaches_the_line_and_nothing_else() {
    let space = TestSpace::new();
    let workflow = |end: &str| {
        format!(
            "ribflow: 1\nname: w\nstages:\n  a:\n    use: command\n    with:\n      run: |\n        \
             test ${{#GH_PAT}} = 40\n        echo \"the token is $GH_PAT\"\n        \
             printf '%s' \"$GH_PAT\" | fold -w 40 >&2\n        echo ok > out/x\n        {end}\n      \
             outputs: [x]\n      pass: [GH_PAT]\n"
        )
        .replace("${#", "$${#")
    };
    space.write("w.yaml", workflow("true"));
    let run = |arguments: &[&str]| {
        let mut command = space.command(arguments);
        space.finish(command.env("GH_PAT", TOKEN))
    };
    run(&["run", "w.yaml", "-v"]).ok();
    // Another value is the same key, and none is asked for where there is a record.
    let mut other = space.command(&["run", "w.yaml", "--json"]);
    let other = space.finish(other.env("GH_PAT", "other")).expect(0);
    assert_eq!(other.json_lines().pop().unwrap()["reused"], 1);
    space.run(&["run", "w.yaml"]).ok();

    space.write("w.yaml", workflow("echo \"failed with $GH_PAT\"; exit 7"));
    let failed = run(&["run", "w.yaml", "--json"]).expect(1);
    assert!(failed.stdout.contains("failed with ***"), "{failed}");
    let why = run(&["why", "w.yaml", "a", "-v"]).expect(0);
    for text in [&failed.stdout, &failed.stderr, &why.stdout, &why.stderr] {
        assert!(!text.contains(TOKEN), "{text}");
    }
    let mut logs = 0;
    for file in files(&space.root()) {
        let bytes = std::fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(TOKEN), "{}", file.display());
        logs += usize::from(text.contains("the token is ***"));
    }
    assert!(logs >= 2, "{logs}");

    let missing = space.run(&["run", "w.yaml"]).expect(1);
    assert!(missing.stderr.contains("`GH_PAT`"), "{missing}");
}

/// What a line makes of a value may be part of a name that a message of ours repeats.
#[test]
fn messages_of_ours_do_not_repeat_a_passed_value() {
    for line in [
        "ln -s /etc/$GH_PAT out/r",
        "mkdir out/r && touch out/extra_$GH_PAT && false",
        "touch out/r out/extra_$GH_PAT",
        "mkdir out/r && touch \"$(printf 'out/r/%s\\377' $GH_PAT)\"",
    ] {
        let space = TestSpace::new();
        let workflow = format!(
            "ribflow: 1\nname: passed\nstages:\n  made:\n    use: command\n    with:\n      run: {}\n      \
             pass: [GH_PAT]\n      outputs: [r]\n",
            json!(line)
        );
        space.write("passed.yaml", workflow);
        let mut command = space.command(&["run", "passed.yaml"]);
        let outcome = space.finish(command.env("GH_PAT", TOKEN));
        assert!(!outcome.stderr.contains(TOKEN), "{line}: {outcome}");
        assert!(!outcome.stdout.contains(TOKEN), "{line}: {outcome}");
        for file in files(&space.path("cache/runs")) {
            let bytes = std::fs::read(&file).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains(TOKEN), "{line}: {}", file.display());
        }
    }
}
