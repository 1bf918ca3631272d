//! Commands of workflows that came in a bundle: none runs before it is allowed, whatever is
//! changed, moved, killed or lacking in between.

mod imports;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::space::{Outcome, TestSpace};
use crate::zips::{Entry, about_with, archive, bundle};

/// A workflow whose command leaves the file `ran`, and the branch of which `branch` decides.
fn workflow(space: &TestSpace, branch: &str) -> String {
    let ran = space.path("ran").display().to_string();
    format!(
        "\
ribflow: 1
name: grid
params: {{ go: 0, word: one }}
profiles:
  off: {{ params: {{ go: 0 }} }}
stages:
  pool: {{ use: dataset, with: {{ builtin: mini-rib, domain: narrow, images: 20 }} }}
  shell:
{branch}
",
    )
    .replace(
        "$RUN",
        &format!("run: \"echo ${{params.word}} >> {ran}; echo 1 > out/x\""),
    )
}

const PLAIN: &str = "    use: command\n    with: { $RUN, outputs: [x] }";
const SKIPPED: &str =
    "    skip: params.go == 0\n    use: command\n    with: { $RUN, outputs: [x] }";
const CASES: &str = "    cases:
      - { when: params.go == 1, use: command, with: { $RUN, outputs: [x] } }
      - { when: params.go != 1, use: dataset, with: { builtin: mini-rib, domain: r } }";

fn imported(space: &TestSpace, text: &str) {
    space.write("grid.ribbundle", bundle(&[("grid.yaml", text)]));
    space.run(&["import", "grid.ribbundle", "-o", "got"]).ok();
}

/// Fails the test unless the command was refused, and did not run. Returns what was said.
#[track_caller]
fn off(space: &TestSpace, outcome: Outcome) -> String {
    let outcome = outcome.expect(1);
    assert!(outcome.stdout.contains("it runs a command"), "{outcome}");
    assert!(!space.path("ran").exists(), "{outcome}");
    outcome.stdout
}

fn ran(space: &TestSpace) -> String {
    let text = space.read("ran");
    fs::remove_file(space.path("ran")).unwrap();
    text
}

/// The digest that a refusal names.
fn digest(refusal: &str) -> String {
    let rest = refusal.split("trust allow ").nth(1).unwrap();
    rest.split('`').next().unwrap().to_string()
}

const RUN: [&str; 3] = ["run", "got/grid.yaml", "--json"];

#[test]
fn no_branch_profile_or_parameter_lets_a_command_run() {
    for branch in [PLAIN, SKIPPED, CASES] {
        let space = TestSpace::new();
        // One that skips a whole stage is imported as it was exported.
        let text = workflow(&space, branch);
        let more = match branch {
            SKIPPED => json!({ "overrides": ["params.go=1"] }),
            _ => Value::Null,
        };
        let about = about_with("grid.yaml", &[("grid.yaml", &text)], more);
        let entries = [about, Entry::new("workflow/grid.yaml", &text)];
        space.write("grid.ribbundle", archive(&entries));
        space.run(&["import", "grid.ribbundle", "-o", "got"]).ok();
        let forms: [&[&str]; 3] = [
            &["--set", "params.go=1"],
            &["--profile", "off", "--set", "params.go=1"],
            &["--set", "params.go=1", "--set", "params.word=two"],
        ];
        for form in forms {
            let words = [&RUN[..], form].concat();
            off(&space, space.run(&words));
        }
    }
}

#[test]
fn neither_an_edit_nor_another_place_lets_a_command_run() {
    let space = TestSpace::new();
    let text = workflow(&space, PLAIN);
    imported(&space, &text);
    off(&space, space.run(&RUN));
    // Edited where it is, by whatever program.
    for edited in [
        text.replace("word: one", "word: two"),
        text.replace("outputs: [x]", "outputs: [x], env: [HOME]"),
        format!("# mine\n{text}"),
    ] {
        space.write("got/grid.yaml", edited);
        off(&space, space.run(&RUN));
    }
    // Beside it, below it, by a link to it, in a copy of the folder, in the folder moved away.
    let edited = text.replace("word: one", "word: three");
    space.write("got/other.yaml", &edited);
    space.write("got/sub/sub/other.yaml", &edited);
    fs::create_dir(space.path("mine")).unwrap();
    symlink(space.path("got/other.yaml"), space.path("mine/link.yaml")).unwrap();
    symlink(space.path("got/sub"), space.path("mine/folder")).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-r").args([space.path("got"), space.path("copy")]);
    assert!(copy.status().unwrap().success());
    for file in [
        "got/other.yaml",
        "got/sub/sub/other.yaml",
        "mine/link.yaml",
        "mine/folder/sub/other.yaml",
        "copy/other.yaml",
    ] {
        off(&space, space.run(&["run", file, "--json"]));
    }
    fs::rename(space.path("got"), space.path("moved")).unwrap();
    off(&space, space.run(&["run", "moved/other.yaml", "--json"]));
    // The file alone, without the folder, as it came; and its command in another file.
    space.write("mine/grid.yaml", &text);
    off(&space, space.run(&["run", "mine/grid.yaml", "--json"]));
    off(
        &space,
        space.run(&[
            "run",
            "mine/grid.yaml",
            "--json",
            "--set",
            "params.word=two",
        ]),
    );
    space.write("mine/same.yaml", format!("# mine\n{text}"));
    off(&space, space.run(&["run", "mine/same.yaml", "--json"]));
    // What is one's own runs.
    space.write("mine/own.yaml", text.replace("word: one", "word: own"));
    space.run(&["run", "mine/own.yaml", "--json"]).ok();
    assert_eq!(ran(&space), "own\n");
}

#[test]
fn no_home_and_another_home_let_no_command_run() {
    let space = TestSpace::new();
    imported(&space, &workflow(&space, PLAIN));
    let with = |names: &[(&str, &str)], without: &[&str], file: &str| {
        // The default store is one's own by the home folder, too; one that is named needs none.
        let mut command = space.command(&["run", file, "--json", "--store", "store"]);
        command.envs(names.iter().map(|(name, path)| (name, space.path(path))));
        for name in without {
            command.env_remove(name);
        }
        space.finish(&mut command)
    };
    let got = "got/grid.yaml";
    off(&space, with(&[], &["HOME"], got));
    off(&space, with(&[("HOME", "other")], &[], got));
    off(&space, with(&[("XDG_DATA_HOME", "other")], &[], got));
    off(&space, with(&[("XDG_CONFIG_HOME", "other")], &[], got));
    off(
        &space,
        with(
            &[("XDG_DATA_HOME", "a"), ("XDG_CONFIG_HOME", "b")],
            &["HOME"],
            got,
        ),
    );
    // Without a home nobody knows what is one's own.
    space.write("own.yaml", workflow(&space, PLAIN).replace("one", "own"));
    let refused = off(&space, with(&[], &["HOME"], "own.yaml"));
    assert!(refused.contains("set HOME"), "{refused}");
    with(&[], &[], "own.yaml").ok();
    assert_eq!(ran(&space), "own\n");
    // A list that is damaged says nothing of what is missing from it.
    let list = "home/.local/share/ribflow/imported";
    let text = space.read(list);
    space.write(list, text.replacen(|it: char| it.is_ascii_digit(), "a", 1));
    space.write("own.yaml", workflow(&space, PLAIN).replace("one", "mine"));
    let refused = off(&space, with(&[], &[], "own.yaml"));
    assert!(refused.contains("is damaged"), "{refused}");
}

#[test]
fn what_is_allowed_is_the_line_its_files_and_its_variables() {
    let space = TestSpace::new();
    let ran_at = space.path("ran").display().to_string();
    let text = "\
ribflow: 1
name: grid
stages:
  shell:
    use: command
    with: { run: \"sh count.sh && echo 1 > out/x\", files: [tools/count.sh], outputs: [x] }
";
    let script = format!("echo ran >> {ran_at}\n");
    let files = [("grid.yaml", text), ("tools/count.sh", script.as_str())];
    space.write("grid.ribbundle", bundle(&files));
    space.run(&["import", "grid.ribbundle", "-o", "got"]).ok();
    let allow = |refusal: String| space.run(&["trust", "allow", &digest(&refusal)]).ok();
    let run = || space.run(&[&RUN[..], &["--force", "shell"]].concat());
    allow(off(&space, run()));
    run().ok();
    assert_eq!(ran(&space), "ran\n");
    // Each of these is another command.
    space.write("got/tools/count.sh", format!("{script}# more\n"));
    let first = off(&space, run());
    space.write(
        "got/grid.yaml",
        text.replace("outputs", "env: [PATH], outputs"),
    );
    let second = off(&space, run());
    space.write("got/grid.yaml", text.replace("&& echo", "; echo"));
    let third = off(&space, run());
    let digests = [digest(&first), digest(&second), digest(&third)];
    assert!(digests[0] != digests[1] && digests[1] != digests[2]);
    // As it was allowed.
    space.write("got/grid.yaml", text);
    space.write("got/tools/count.sh", &script);
    run().ok();
    assert_eq!(ran(&space), "ran\n");
    // A file of an imported folder makes a command of one's own one from elsewhere.
    space.write(
        "own.yaml",
        text.replace("tools/", "got/tools/").replace("&&", ";"),
    );
    off(&space, space.run(&["run", "own.yaml", "--json"]));
}

#[test]
fn every_command_is_shown_before_all_are_allowed() {
    let space = TestSpace::new();
    let text = workflow(&space, CASES);
    let text = text.replace(
        "  shell:\n",
        "  other: { use: command, with: { run: \"echo a\\u202e\\e[2J > out/y\", outputs: [y], env: [PATH] } }\n  shell:\n",
    );
    imported(&space, &text);
    let allow = |more: &[&str]| {
        space.run(&[&["trust", "allow", "--all", "got/grid.yaml"][..], more].concat())
    };
    let asked = allow(&[]).expect(2);
    assert!(
        asked.stdout.contains(r"echo a\u{202e}\u{1b}[2J > out/y"),
        "{asked}"
    );
    assert!(asked.stdout.contains("variables: PATH"), "{asked}");
    assert!(
        !asked.stdout.contains("params.word") && !asked.stdout.contains(">> "),
        "{asked}"
    );
    assert!(asked.stderr.contains("--yes"), "{asked}");
    let run = || space.run(&[&RUN[..], &["--set", "params.go=1"]].concat());
    off(&space, run());
    // Those that only an override leads to are allowed with that override.
    allow(&["--yes"]).ok();
    off(&space, run());
    let all = allow(&["--set", "params.go=1", "--yes", "--json"])
        .expect(0)
        .json();
    assert_eq!(all["commands"].as_array().map(Vec::len), Some(2), "{all}");
    assert_eq!(
        all["newly_allowed"].as_array().map(Vec::len),
        Some(1),
        "{all}"
    );
    run().ok();
    assert_eq!(ran(&space), "one\n");
    let again = allow(&["--set", "params.go=1"]).expect(0);
    assert!(
        again.stdout.contains("newly allowed: 0 commands"),
        "{again}"
    );

    drop(space.run(&["trust", "allow"]).expect(2));
    drop(
        space
            .run(&["trust", "allow", &"ab".repeat(32), "--all", "x"])
            .expect(2),
    );
    drop(
        space
            .run(&["trust", "allow", &"ab".repeat(32), "--yes"])
            .expect(2),
    );
}

/// Runs the program it is given on a terminal, and types the first word.
const TERMINAL: &str = "\
import os, pty, sys
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
os.write(terminal, sys.argv[1].encode() + b'\\n')
said = b''
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    said += more
sys.stdout.write(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";

#[test]
fn a_terminal_is_asked_once() {
    let space = TestSpace::new();
    imported(&space, &workflow(&space, PLAIN));
    let answered = |word: &str| {
        let ribflow = env!("CARGO_BIN_EXE_ribflow");
        let mut command = Command::new("python3");
        command
            .args(["-c", TERMINAL, word, ribflow])
            .args(["trust", "allow", "--all", "got/grid.yaml"])
            .current_dir(space.root())
            .env("HOME", space.path("home"));
        space.finish(&mut command)
    };
    for word in ["n", "", "maybe"] {
        let refused = answered(word).expect(1);
        assert!(refused.stdout.contains("[y/N]"), "{refused}");
        assert!(refused.stdout.contains("nothing was allowed"), "{refused}");
        off(&space, space.run(&RUN));
    }
    let allowed = answered("y").expect(0);
    assert_eq!(allowed.stdout.matches("[y/N]").count(), 1, "{allowed}");
    space.run(&RUN).ok();
    assert_eq!(ran(&space), "one\n");
}

/// The folder of an import is foreign, and the project that the bundle was made of is not.
#[test]
fn a_bundle_of_ones_own_makes_nothing_else_foreign() {
    let space = TestSpace::new();
    let text = "ribflow: 1\nname: own\nstages:\n  a: { use: command, with: { run: \"sh tool.sh\", \
                files: [tool.sh], outputs: [x] } }\n";
    space.write("own/grid.yaml", text);
    space.write("own/tool.sh", "echo 1 > out/x\n");
    let export = |file: &str, bundle: &str| {
        space.run(&["export", "bundle", file, "-o", bundle]).ok();
    };
    space.run(&["key", "generate", "--name", "me"]).ok();
    let forced = |file: &'static str| ["run", file, "--force", "a", "--json"];
    space.run(&forced("own/grid.yaml")).ok();
    export("own/grid.yaml", "own.ribbundle");
    space.run(&["import", "own.ribbundle", "-o", "got"]).ok();
    space.run(&forced("own/grid.yaml")).ok();
    off(&space, space.run(&forced("got/grid.yaml")));

    // Another user's stays foreign, also once it was packed here, allowed or not.
    space.write("tool.sh", "echo 2 > out/x\n");
    let theirs = text.replace("name: own", "name: theirs");
    let files = [
        ("grid.yaml", theirs.as_str()),
        ("tool.sh", "echo 2 > out/x\n"),
    ];
    space.write("theirs.ribbundle", bundle(&files));
    space
        .run(&["import", "theirs.ribbundle", "-o", "theirs"])
        .ok();
    let refusal = off(&space, space.run(&forced("theirs/grid.yaml")));
    space.run(&["trust", "allow", &digest(&refusal)]).ok();
    export("theirs/grid.yaml", "again.ribbundle");
    space.run(&["trust", "disallow", &digest(&refusal)]).ok();
    space
        .run(&["import", "again.ribbundle", "-o", "again"])
        .ok();
    for copied in ["grid.yaml", "tool.sh"] {
        fs::create_dir_all(space.path("moved")).unwrap();
        fs::copy(
            space.path("theirs").join(copied),
            space.path("moved").join(copied),
        )
        .unwrap();
    }
    off(&space, space.run(&forced("moved/grid.yaml")));
}
