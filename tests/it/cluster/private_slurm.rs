//! A Slurm of its own for one test (`tests/tools/slurm`), on the loopback, stopped with the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use ribflow::cluster::Programs;

use crate::servers::tool;
use crate::space::TestSpace;

pub struct PrivateSlurm {
    folder: PathBuf,
    _space: TestSpace,
}

impl Drop for PrivateSlurm {
    fn drop(&mut self) {
        self.control(&["stop"]);
    }
}

impl PrivateSlurm {
    /// Starts one; `None`, with a line, where Slurm is not installed or this is not root. Under
    /// `RIBFLOW_TEST_ALL` that is a failure. `settings`: those of `tests/tools/slurm`.
    pub fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let how = "apt-get install slurmctld slurmd slurm-client munge";
        for program in ["slurmctld", "slurmd", "sbatch", "munged"] {
            tool(&[program], how)?;
        }
        if !rustix::process::geteuid().is_root() {
            let all = std::env::var_os("RIBFLOW_TEST_ALL").is_some();
            assert!(!all, "a private Slurm needs root");
            println!("skipped: a private Slurm needs root");
            return None;
        }
        let space = TestSpace::new();
        // The name of a socket must be short.
        let folder = space.path("s");
        let slurm = Self {
            folder,
            _space: space,
        };
        slurm.control_with(&["start"], settings);
        Some(slurm)
    }

    /// A command of `tests/tools/slurm`.
    pub fn control(&self, words: &[&str]) {
        self.control_with(words, &[]);
    }

    fn control_with(&self, words: &[&str], settings: &[(&str, &str)]) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/slurm");
        // Daemons keep what they inherit open: no pipes.
        let log = self.folder.with_extension("log");
        let said = File::create(&log).unwrap();
        let (command, others) = words.split_first().unwrap();
        let status = Command::new(script)
            .arg(command)
            .arg(&self.folder)
            .args(others)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(said.try_clone().unwrap())
            .stderr(said)
            .status();
        let said = || std::fs::read_to_string(&log).unwrap();
        assert!(status.unwrap().success(), "slurm {words:?}: {}", said());
    }

    /// How the library finds it.
    pub fn programs(&self) -> Programs {
        Programs {
            limit: Duration::from_secs(30),
            variables: vec![("SLURM_CONF".into(), self.configuration().into())],
        }
    }

    pub fn configuration(&self) -> PathBuf {
        self.folder.join("slurm.conf")
    }

    /// The output of one of its programs.
    #[track_caller]
    pub fn ask(&self, program: &str, arguments: &[&str]) -> String {
        let output = Command::new(program)
            .args(arguments)
            .env("SLURM_CONF", self.configuration())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The jobs with this beginning of their names, each `NAME STATE NODE`, oldest first.
    pub fn jobs(&self, prefix: &str) -> Vec<String> {
        let format = "%j %T %N";
        let text = self.ask(
            "squeue",
            &["-h", "-r", "-t", "all", "-S", "i", "-o", format],
        );
        let lines = text.lines().filter(|line| line.starts_with(prefix));
        lines.map(|line| line.trim().to_string()).collect()
    }
}
