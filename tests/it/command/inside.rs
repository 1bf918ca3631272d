//! Looking inside: logs, and the folder of a command that failed.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::space::TestSpace;

const WORKFLOW: &str = "\
ribflow: 1
name: inside
params: { fail: 'true' }
stages:
  given: { use: command, with: { run: 'echo given; echo 1 > out/x', outputs: [x] } }
  tree: { use: command, with: { run: 'mkdir -p out/t/u; echo 1 > out/t/u/x', outputs: [t] } }
  broken:
    use: command
    needs: { data: given.x, tree: tree.t }
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

/// A session of `broken` in which bash runs `line`.
fn session(line: &str) -> [&str; 8] {
    [
        "shell",
        "inside.yaml",
        "broken",
        "-q",
        "--",
        "bash",
        "-c",
        line,
    ]
}

/// The processes whose command line has `word`.
fn alive(word: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|it| std::fs::read(it.path().join("cmdline")).ok());
    let lines = lines.map(|line| String::from_utf8_lossy(&line).into_owned());
    lines.filter(|line| line.contains(word)).count()
}

/// SIGTERM as from a scheduler, SIGHUP as from a terminal that closes; also for a program that ignores
/// both, and with a child of its own.
#[test]
fn a_session_that_is_ended_leaves_no_process_and_no_folder() {
    let space = TestSpace::new();
    space.write("inside.yaml", WORKFLOW);
    let _ = space
        .run(&["run", "inside.yaml", "given", "tree"])
        .expect(0);
    let left = || {
        let folder = std::fs::read_dir(space.path("cache/tmp"));
        folder.map_or(0, Iterator::count)
    };
    for (number, signal) in ["TERM", "HUP", "TERM"].iter().enumerate() {
        let trap = if number == 2 { "trap '' TERM HUP;" } else { "" };
        // A number that no other process has in its command line.
        let seconds = format!("86{}{number}", std::process::id());
        let started = space.path(&format!("started{number}"));
        let line = format!("{trap} sleep {seconds} & touch {}; wait", started.display());
        let mut command = space.command(&session(&line));
        let mut running = command.stderr(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while !started.exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "not started");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(left() > 0 && alive(&seconds) > 0);
        let kill = std::process::Command::new("kill")
            .args([format!("-{signal}"), running.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        assert_eq!(running.wait().unwrap().code(), Some(130), "{signal}");
        assert_eq!((left(), alive(&seconds)), (0, 0), "{signal}");
    }
}

#[test]
fn the_exit_code_of_a_program_in_a_session_is_passed_on() {
    let space = TestSpace::new();
    space.write("inside.yaml", WORKFLOW);
    let _ = space
        .run(&["run", "inside.yaml", "given", "tree"])
        .expect(0);
    for (line, code) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)] {
        let _ = space.run(&session(line)).expect(code);
    }
}

/// The hint has the options of the call, and `why` knows how the last attempt ended.
#[test]
fn hints_and_reasons_are_those_of_this_call() {
    let space = TestSpace::new();
    space.write("inside.yaml", WORKFLOW);
    let set = ["--set", "params.fail=exit 1"];
    let shell = [&["shell", "inside.yaml", "broken"], &set[..]].concat();
    let hint = "`ribflow run inside.yaml --set 'params.fail=exit 1' given` computes it";
    let early = space.run(&shell).expect(1).stderr;
    assert!(early.contains(hint), "{early}");
    let _ = space.run(&["run", "inside.yaml"]).expect(1);
    let why = space
        .run(&["why", "inside.yaml", "broken"])
        .expect(0)
        .stdout;
    assert!(
        why.contains("unchanged, and its last attempt failed"),
        "{why}"
    );
    let why = space.run(&[&["why", "inside.yaml", "broken"], &set[..]].concat());
    assert!(!why.stdout.contains("unchanged"), "{why}");
}

/// The inputs of a command are read-only, but not once the user has the folder.
#[test]
fn a_folder_that_is_kept_can_be_removed() {
    let space = TestSpace::new();
    space.write("inside.yaml", WORKFLOW);
    let _ = space.run(&["run", "inside.yaml"]).expect(1);
    let keep = [
        "shell",
        "inside.yaml",
        "broken",
        "-q",
        "--keep",
        "kept",
        "--",
        "true",
    ];
    let _ = space.run(&keep).expect(0);
    let runs = std::fs::read_dir(space.path("cache/runs")).unwrap();
    let run = runs.map(|entry| entry.unwrap().path()).next().unwrap();
    for folder in [space.path("kept"), run.join("failed/broken")] {
        let inside = walk(&folder);
        assert!(inside.len() >= 4, "{inside:?}");
        for folder in inside {
            let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o700, 0o700, "{}", folder.display());
        }
    }
}

/// A folder and those below it.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let inner = entries
        .map(|it| it.unwrap().path())
        .filter(|it| it.is_dir());
    let mut found: Vec<PathBuf> = inner.flat_map(|it| walk(&it)).collect();
    found.push(folder.to_path_buf());
    found
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
