//! A place of its own for every test of the binary: an empty folder, a cleared environment, a
//! fixed width, and output in which the folder and times have fixed names.
//!
//! ```ignore
//! let space = TestSpace::new();
//! space.write("grid.yaml", "ribflow: 1\n…");
//! let outcome = space.run(&["validate", "grid.yaml"]);
//! insta::assert_snapshot!(outcome);
//! ```

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Runs `grid.yaml` of a space with the store `store`.
pub const RUN: [&str; 4] = ["run", "grid.yaml", "--store", "store"];

/// A folder that is removed at the end of the test.
pub struct TestSpace {
    folder: tempfile::TempDir,
}

impl TestSpace {
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("ribflow-test-").tempdir();
        Self {
            folder: folder.expect("a temporary folder"),
        }
    }

    /// The folder, without symbolic links.
    pub fn root(&self) -> PathBuf {
        self.folder
            .path()
            .canonicalize()
            .expect("the test's folder")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Writes a file, making the folders above it.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        let folder = path.parent().expect("a name inside the space");
        fs::create_dir_all(folder).expect("a folder for the file");
        fs::write(&path, content).expect("a file in the test's folder");
        path
    }

    pub fn read(&self, name: &str) -> String {
        let path = self.path(name);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The binary with these arguments, to be started in the space by hand: nothing of the
    /// caller's environment, no terminal.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_ribflow")), arguments)
    }

    /// The same with another program.
    pub fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.root())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root().join("home"))
            .envs(std::env::var_os("RIBFLOW_CLAIMS").map(|form| ("RIBFLOW_CLAIMS", form)))
            .env("COLUMNS", "100")
            .envs(std::env::var_os("RIBFLOW_ISA").map(|cap| ("RIBFLOW_ISA", cap)))
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.finish(&mut self.command(arguments))
    }

    /// Runs a command that [`TestSpace::command`] prepared.
    pub fn finish(&self, command: &mut Command) -> Outcome {
        let output = command.output().expect("the binary starts");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output in UTF-8");
        Outcome {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            root: self.root(),
        }
    }

    /// A copy of the binary that every user can run: the build may be where only its owner can go.
    /// `cp` writes it. A descriptor of this process would be inherited by the commands that other
    /// tests start meanwhile, and a program that is open for writing can't be run.
    pub fn program(&self) -> PathBuf {
        let program = self.path("ribflow-copy");
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_ribflow"))
            .arg(&program)
            .status();
        assert!(copied.expect("cp").success());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    /// Keeps the folder, to be looked at after the test, and says where it is.
    #[allow(dead_code, reason = "for whoever debugs a test")]
    pub fn eject(self) -> PathBuf {
        let path = self.folder.keep();
        eprintln!("kept {}", path.display());
        path
    }
}

/// How a command ended and what it said. Printed with the folder as `$SPACE` and times as `[time]`.
#[must_use]
pub struct Outcome {
    /// `None`: ended by a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    root: PathBuf,
}

impl Outcome {
    /// Fails the test unless the command ended with this exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "\n{self}");
        self
    }

    /// Fails the test unless the command did its job.
    #[track_caller]
    pub fn ok(self) {
        drop(self.expect(0));
    }

    /// Standard output as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        self.stdout
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&normalised(&self.stdout, &self.root))?;
        if !self.stderr.is_empty() {
            write!(
                formatter,
                "--- stderr\n{}",
                normalised(&self.stderr, &self.root)
            )?;
        }
        match self.code {
            Some(0) => Ok(()),
            Some(code) => write!(formatter, "[exit code {code}]"),
            None => write!(formatter, "[ended by a signal]"),
        }
    }
}

fn normalised(text: &str, root: &Path) -> String {
    let text = text.replace(&root.display().to_string(), "$SPACE");
    text.lines()
        .map(|line| without_run(&without_times(line)) + "\n")
        .collect()
}

/// `3.21 s` and `2 min 05 s` become `[time]`.
fn without_times(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split(' ') {
        let letters = word.trim_end_matches([',', '.', ')', ';', ':']);
        let is_unit = matches!(letters, "ms" | "s" | "min" | "h");
        let number = words.last().filter(|last| last.parse::<f64>().is_ok());
        if is_unit && number.is_some() {
            words.pop();
            words.pop_if(|word| word == "[time]");
            words.push(format!("[time]{}", &word[letters.len()..]));
        } else {
            words.push(word.to_string());
        }
    }
    words.join(" ")
}

/// `20261123-203541-127-1a2b3c`, the name of a run, becomes `[run]`.
fn without_run(line: &str) -> String {
    let is_run = |word: &str| {
        let lengths: Vec<usize> = word.split('-').map(str::len).collect();
        lengths == [8, 6, 3, 6] && word.starts_with("20")
    };
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    line.split(|letter| !is_part(letter))
        .filter(|word| is_run(word))
        .fold(line.to_string(), |text, run| text.replace(run, "[run]"))
}

#[test]
fn times_are_normalised() {
    assert_eq!(without_times("done  x  3.21 s"), "done  x  [time]");
    assert_eq!(
        without_times("12 ran in 2 min 05 s: x"),
        "12 ran in [time]: x"
    );
    assert_eq!(without_times("is 4 steps"), "is 4 steps");
    let log = "log: runs/20261123-203541-127-1a2b3c/logs/a.log";
    assert_eq!(without_run(log), "log: runs/[run]/logs/a.log");
}
