//! Which shell runs a line, and what of a line counts as a failure.

use ribflow::stages::task::TaskError;
use serde_json::{Value, json};

use super::{Bench, files, parse};
use crate::space::TestSpace;

fn outcome(bench: &mut Bench, run: &str, shell: Option<&str>) -> Result<(), TaskError> {
    let mut with = json!({ "run": run, "outputs": ["x"] });
    if let Some(shell) = shell {
        with["shell"] = Value::from(shell);
    }
    bench.run(with).map(drop)
}

#[test]
fn the_first_failure_of_a_script_is_a_failure_of_the_node() {
    let mut bench = Bench::new();
    for run in [
        "python3 missing.py > out/x\necho finished >> out/x",
        "false | tee out/x",
        "nosuchprogram | sort > out/x",
        "echo $UNDEFINED/data > out/x",
        "for i in 1 2; do (exit 3); echo $i >> out/x; done",
    ] {
        for shell in [None, Some("bash")] {
            let failed = outcome(&mut bench, run, shell).unwrap_err().to_string();
            assert!(
                failed.starts_with("the command ended with exit code"),
                "{failed}"
            );
        }
        // The words that ask for what there was before.
        outcome(&mut bench, run, Some("sh")).unwrap();
    }
    outcome(&mut bench, "a=(1 2); echo ${a[1]} > out/x", None).unwrap();
    let refused = outcome(&mut bench, "yes | head -1 > out/x", None).unwrap_err();
    assert!(
        refused.to_string().contains("wrote to a closed pipe"),
        "{refused}"
    );
}

/// The word is in the key, the program that is found is not.
#[test]
fn the_shell_is_in_the_key_and_its_program_in_the_record() {
    let with = |shell: &str| json!({ "run": "true > out/x", "outputs": ["x"], "shell": shell });
    assert_ne!(
        parse(&with("sh")).canonical(),
        parse(&with("bash")).canonical()
    );
    let plain = json!({ "run": "true > out/x", "outputs": ["x"] });
    assert_eq!(parse(&plain).canonical(), parse(&with("bash")).canonical());

    let mut bench = Bench::new();
    let outputs = bench.run(with("sh")).unwrap();
    assert_eq!(outputs.notes["shell"], "/bin/sh");
    let outputs = bench.run(with("bash")).unwrap();
    let program = outputs.notes["shell"].as_str().unwrap();
    assert!(program.ends_with("/bash"), "{program}");
    assert_eq!(files(&outputs, "x").len(), 1);
}

const BOTH: &str = "\
ribflow: 1
name: both
stages:
  first: { use: command, with: { run: \"touch ran; echo 1 > out/x\", outputs: [x], shell: sh } }
  second: { use: command, needs: { first: first }, with: { run: \"cat first/x > out/y\", outputs: [y] } }
";

/// `PATH` with everything of this one but `bash`.
fn without_bash(space: &TestSpace) -> String {
    let folder = space.path("programs");
    std::fs::create_dir_all(&folder).unwrap();
    for program in ["sh", "cat", "touch", "ls"] {
        std::os::unix::fs::symlink(format!("/bin/{program}"), folder.join(program)).unwrap();
    }
    folder.display().to_string()
}

#[test]
fn without_bash_nothing_starts_and_the_way_out_is_named() {
    let space = TestSpace::new();
    space.write("both.yaml", BOTH);
    let path = without_bash(&space);
    for command in [["plan", "both.yaml"], ["run", "both.yaml"]] {
        let mut command = space.command(&command);
        let outcome = space.finish(command.env("PATH", &path)).expect(2);
        assert!(outcome.stderr.contains("PATH has no `bash`"), "{outcome}");
        assert!(outcome.stderr.contains("stage `second`"), "{outcome}");
        assert!(outcome.stderr.contains("`shell: sh`"), "{outcome}");
    }
    // Nothing of it has run, and what has a record needs no shell.
    let plan = space.run(&["plan", "both.yaml", "--json"]).json();
    assert_eq!(plan["nodes"][0]["state"], "would_run");
    space.run(&["run", "both.yaml"]).ok();
    let mut reused = space.command(&["run", "both.yaml", "--json"]);
    space.finish(reused.env("PATH", &path)).ok();
    let mut forced = space.command(&["run", "both.yaml", "--force", "second"]);
    let forced = space.finish(forced.env("PATH", &path)).expect(2);
    assert!(forced.stderr.contains("`shell: sh`"), "{forced}");
}
