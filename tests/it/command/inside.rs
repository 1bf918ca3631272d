//! Looking inside: logs, and the folder of a command that failed.

use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::space::TestSpace;

const WORKFLOW: &str = "\
ribflow: 1
name: inside
params: { fail: 'true' }
stages:
  given: { use: command, with: { run: 'echo given; echo 1 > out/x', outputs: [x] } }
  broken:
    use: command
    needs: { data: given.x }
    with: { run: 'echo half > out/y; printf \"seen\\x1b[2J\\n\"; ${params.fail}; exit 3', outputs: [y] }
";

#[test]
fn the_folder_of_a_failed_command_stays_until_the_next_run() {
    let space = TestSpace::new();
    space.write("inside.yaml", WORKFLOW);
    let failed = space.run(&["run", "inside.yaml"]).expect(1);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    let runs = std::fs::read_dir(space.path("cache/runs")).unwrap();
    let run = runs.map(|entry| entry.unwrap().path()).next().unwrap();
    let kept = run.join("failed/broken");
    assert_eq!(
        std::fs::read_to_string(kept.join("out/y")).unwrap(),
        "half\n"
    );
    assert_eq!(std::fs::read_to_string(kept.join("data")).unwrap(), "1\n");
    assert!(said.contains("its folder, until the next run: "), "{said}");
    let status = space
        .run(&["status", "inside.yaml", "--json"])
        .expect(0)
        .stdout;
    assert!(status.contains("failed/broken"), "{status}");

    let log = space
        .run(&["logs", "inside.yaml", "broken"])
        .expect(0)
        .stdout;
    assert_eq!(log, "seen[2J\n");
    let log = space
        .run(&["logs", "inside.yaml", "given", "--tail", "1"])
        .expect(0)
        .stdout;
    assert_eq!(log, "given\n");

    let again = ["run", "inside.yaml", "-q", "--set", "params.fail=exit 0"];
    space.run(&again).ok();
    assert!(!kept.exists());
    let log = space
        .run(&["logs", "inside.yaml", "given"])
        .expect(0)
        .stdout;
    assert_eq!(log, "given\n", "a reused node has its last log");
}

#[test]
fn a_log_is_followed_until_the_node_ends() {
    let space = TestSpace::new();
    space.write(
        "slow.yaml",
        "\
ribflow: 1
name: slow
stages:
  slow: { use: command, with: { run: 'echo one; while [ ! -e $TMPDIR/../../../../../go ]; do sleep 0.05; done; echo two; touch out/x', outputs: [x] } }
",
    );
    let mut run = space.command(&["run", "slow.yaml", "-q"]);
    let mut run = run
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while space.run(&["logs", "slow.yaml", "slow"]).stdout != "one\n" {
        assert!(started.elapsed() < Duration::from_secs(60), "no log");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut follow = space.command(&["logs", "slow.yaml", "slow", "--follow"]);
    let follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    space.write("go", "");
    assert!(run.wait().unwrap().success());
    let followed = follow.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(followed.stdout).unwrap(), "one\ntwo\n");
    let several = space.run(&["logs", "slow.yaml", "fast"]).expect(2).stderr;
    assert!(
        several.contains("no stage `fast`") || several.contains("fast"),
        "{several}"
    );
}
