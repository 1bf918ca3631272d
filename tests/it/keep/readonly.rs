//! A store that can only be read: what is there is reused and shown, and what has to run says why
//! it can't.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::servers::is_root;
use crate::space::{Outcome, TestSpace};
use crate::tools;

const WORKFLOW: &str = "\
ribflow: 1
name: small
axes: { n: [1, 2] }
stages:
  said: { each: [n], use: command, with: { run: \"echo ${n} > out/said\", outputs: [said] } }
";
/// A user without any rights of its own.
const NOBODY: u32 = 65534;

/// A space in which the workflow has run, with data in it.
fn space() -> TestSpace {
    let space = TestSpace::new();
    space.write("small.yaml", WORKFLOW);
    space.run(&["run", "small.yaml", "--quiet"]).ok();
    space
}

fn everything(folder: &Path) -> Vec<PathBuf> {
    let mut all = vec![folder.to_path_buf()];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(everything(&path)),
            false => all.push(path),
        }
    }
    all
}

/// Takes away the right to write from everybody but root.
fn seal(folder: &Path) {
    for path in everything(folder) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        let mode = mode & !0o222 | 0o444;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
}

fn unseal(folder: &Path) {
    for path in everything(folder) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o200)).unwrap();
    }
}

/// A place where `root` and the user can do what the test needs: the whole space belongs to the
/// user that runs the binary, and the store can't be written by them.
struct Sealed {
    space: TestSpace,
    program: PathBuf,
}

impl Sealed {
    fn new(space: TestSpace) -> Self {
        let root = space.root();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let program = space.program();
        if is_root() {
            for path in everything(&root) {
                let store = path.starts_with(root.join("cache"));
                let mode = fs::metadata(&path).unwrap().permissions().mode();
                match store {
                    true => fs::set_permissions(&path, fs::Permissions::from_mode(mode | 0o444))
                        .unwrap(),
                    false => chown(&path, Some(NOBODY), Some(NOBODY)).unwrap(),
                }
            }
        }
        seal(&root.join("cache"));
        Self { space, program }
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.space.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.space.path("home"))
            .env("COLUMNS", "100");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        self.space.finish(&mut command)
    }
}

impl Drop for Sealed {
    fn drop(&mut self) {
        unseal(&self.space.path("cache"));
    }
}

/// All that a store which can only be read must still do.
fn works(run: impl Fn(&[&str]) -> Outcome) {
    let ran = run(&["run", "small.yaml", "--json"]).expect(0);
    let lines = ran.json_lines();
    let summary = lines.last().unwrap();
    assert_eq!(
        (&summary["reused"], &summary["ran"]),
        (&2.into(), &0.into()),
        "{ran}"
    );
    let warnings: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["message"].as_str())
        .collect();
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("the run leaves no journal")),
        "{ran}"
    );
    let told = run(&["run", "small.yaml"]).expect(0);
    assert!(told.stderr.contains("the run leaves no journal"), "{told}");
    assert!(told.stdout.contains("2 reused"), "{told}");

    let plan = run(&["plan", "small.yaml", "--json"]).expect(0).json();
    let states: Vec<&str> = plan["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["reused", "reused"]);
    let status = run(&["status", "small.yaml"]).expect(0);
    assert!(status.stdout.contains("done"), "{status}");
    run(&["why", "small.yaml", "said[n=1]"]).ok();
    run(&["get", "small.yaml", "said[n=1]", "-o", "got"]).ok();
    for words in [
        &["cache", "verify"][..],
        &["cache", "ls"],
        &["cache", "du"],
        &["cache", "pins"],
    ] {
        let told = run(words).expect(0);
        assert_eq!(told.stderr, "", "{words:?}");
    }
    // What has to run says what is the matter.
    for words in [
        &["run", "small.yaml", "--force", "said[n=1]"][..],
        &["run", "small.yaml", "--set", "axes.n=[1, 2, 3]"],
    ] {
        let told = run(words).expect(1);
        assert!(told.stderr.contains("must run, and the store"), "{told}");
        assert!(told.stderr.contains("can't be written"), "{told}");
    }
}

#[test]
fn a_store_that_belongs_to_somebody_else_is_read() {
    let sealed = Sealed::new(space());
    works(|words| sealed.run(words));
    let text = fs::read_to_string(sealed.space.path("got/said"));
    assert_eq!(text.unwrap(), "1\n");
}

#[test]
fn a_store_on_a_read_only_file_system_is_read() {
    let space = space();
    // Mounts of this process alone: with the rights of root, or in a user namespace.
    let mut unshare = vec!["unshare", "--mount"];
    if !is_root() {
        unshare.extend(["--user", "--map-root-user"]);
    }
    let script = "mount --bind cache cache && mount -o remount,bind,ro cache && exec \"$@\"";
    let within = |words: &[&str]| {
        let mut command = Command::new(unshare[0]);
        command
            .args(&unshare[1..])
            .args(["sh", "-c", script, "sh"])
            .args(words)
            .current_dir(space.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", space.path("home"))
            .env("COLUMNS", "100");
        command
    };
    let touched = within(&["touch", "cache/x"]).output();
    let text = touched.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    if !text
        .as_ref()
        .is_ok_and(|text| text.contains("Read-only file system"))
    {
        println!("skipped: no read-only mount can be made here ({text:?})");
        return;
    }
    let program = env!("CARGO_BIN_EXE_ribflow");
    works(|words| space.finish(&mut within(&[&[program], words].concat())));
}

/// No report can be written beside it either; the results are told all the same.
#[test]
fn a_whole_project_that_can_only_be_read_tells_its_results() {
    let sealed = Sealed::new(space());
    let out = sealed.space.path("out");
    fs::remove_dir_all(&out).unwrap();
    let root = sealed.space.root();
    if is_root() {
        chown(&root, Some(0), Some(0)).unwrap();
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o555)).unwrap();
    let told = sealed.run(&["run", "small.yaml"]);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
    let told = told.expect(0);
    assert!(told.stdout.contains("2 reused"), "{told}");
    assert!(
        told.stderr.contains("the report could not be written"),
        "{told}"
    );
}

/// A file system on which nothing can be locked.
#[test]
fn a_store_without_locks_is_read() {
    let space = space();
    let Some(shim) = tools::preloaded(&space) else {
        return;
    };
    let run = |words: &[&str]| {
        let mut command = space.command(words);
        command
            .env("LD_PRELOAD", &shim)
            .env("RIBFLOW_TEST_NO_FLOCK", "1");
        space.finish(&mut command)
    };
    let told = run(&["run", "small.yaml"]).expect(0);
    assert!(told.stdout.contains("2 reused"), "{told}");
    assert!(told.stderr.contains("the run leaves no journal"), "{told}");
    let told = run(&["run", "small.yaml", "--force", "said[n=1]"]).expect(1);
    assert!(told.stderr.contains("must run, and the store"), "{told}");
    run(&["plan", "small.yaml"]).ok();
    run(&["status", "small.yaml"]).ok();
}

/// A disk that takes no byte more.
#[test]
fn a_full_disk_does_not_keep_results_from_being_reused() {
    let space = space();
    let Some(shim) = tools::preloaded(&space) else {
        return;
    };
    let run = |words: &[&str]| {
        let mut command = space.command(words);
        command
            .env("LD_PRELOAD", &shim)
            .env("RIBFLOW_TEST_FULL", space.path("cache"));
        space.finish(&mut command)
    };
    let told = run(&["run", "small.yaml"]).expect(0);
    assert!(told.stdout.contains("2 reused"), "{told}");
    assert!(told.stderr.contains("the run leaves no journal"), "{told}");
    let told = run(&["run", "small.yaml", "--force", "said[n=1]"]).expect(1);
    assert!(told.stderr.contains("No space left"), "{told}");
    run(&["plan", "small.yaml"]).ok();
}

/// `ulimit -f`: writes fail as on a full disk, and the process goes on.
#[test]
fn a_limit_on_the_size_of_files_is_reported_like_a_full_disk() {
    let space = space();
    let limited = |script: &str, words: &[&str]| {
        let mut command = space.command(words);
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("{script}; exec \"$@\""), "sh"])
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(space.root())
            .env_clear();
        let variables = command.get_envs();
        shell.envs(variables.filter_map(|(name, value)| Some((name, value?))));
        command = shell;
        space.finish(&mut command)
    };
    let told = limited("ulimit -f 0", &["run", "small.yaml"]).expect(0);
    assert!(told.stdout.contains("2 reused"), "{told}");
    assert!(told.stderr.contains("the run leaves no journal"), "{told}");
    let force = ["run", "small.yaml", "--force", "said[n=1]"];
    let told = limited("ulimit -f 0", &force).expect(1);
    assert!(told.stderr.contains("File too large"), "{told}");
    limited("ulimit -f 0", &["plan", "small.yaml"]).ok();
    let other = space.path("other");
    let fresh = ["run", "small.yaml", "--store", other.to_str().unwrap()];
    let told = limited("ulimit -f 0", &fresh).expect(2);
    assert!(told.stderr.contains("File too large"), "{told}");
}

/// What the commands of nodes do at the limit is theirs to decide, also where ribflow was started
/// with the signal ignored.
#[test]
fn commands_have_the_default_of_the_signal_of_that_limit() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: limit\nstages:\n  a: { use: command, with: { run: \"grep -E \
         '^Sig(Ign|Cgt|Blk)' /proc/self/status > out/x\", outputs: [x] } }\n",
    );
    let program = env!("CARGO_BIN_EXE_ribflow");
    for trap in ["true", "trap '' XFSZ"] {
        let mut shell = Command::new("sh");
        let script = format!(
            "rm -f got; {trap}; \"$1\" run w.yaml --force a && \"$1\" get w.yaml a.x -o got -q && cat got"
        );
        shell
            .args(["-c", &script, "sh", program])
            .current_dir(space.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", space.path("home"));
        let told = space.finish(&mut shell).expect(0);
        // SIGXFSZ is number 25.
        let masks = told.stdout.lines().filter(|line| line.starts_with("Sig"));
        let masks: Vec<u64> = masks
            .map(|line| u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap())
            .collect();
        assert_eq!(masks.len(), 3, "{told}");
        assert!(masks.iter().all(|mask| mask & (1 << 24) == 0), "{told}");
    }
}
