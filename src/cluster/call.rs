//! Calls of a scheduler's programs: within a time limit, without a terminal, and without variables
//! that change what they do.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::ClusterError;
use crate::process;

/// How programs are called.
#[derive(Clone, Debug)]
pub struct Programs {
    /// A program that runs for longer is ended.
    pub limit: Duration,
    /// Added to the environment.
    pub variables: Vec<(OsString, OsString)>,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            // A controller that does not answer holds `squeue` for 18 s.
            limit: Duration::from_secs(30),
            variables: Vec::new(),
        }
    }
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The program ended by itself.
    Ended {
        success: bool,
        output: String,
        errors: String,
    },
    /// The program was ended at the limit. What it asked for may have happened.
    TimedOut,
}

/// No answer is larger: 10,000 jobs are 2 MB.
const MOST_OUTPUT: u64 = 64 << 20;

impl Programs {
    /// Calls `program` and waits for its end.
    ///
    /// # Errors
    /// It can't be started.
    pub fn call<I: AsRef<OsStr>>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = I>,
    ) -> Result<Answer, ClusterError> {
        let failed = |source| ClusterError::Program {
            program: program.to_string(),
            source,
        };
        // Files: a pipe that a grandchild keeps open would have no end.
        let mut output = tempfile::tempfile().map_err(failed)?;
        let mut errors = tempfile::tempfile().map_err(failed)?;
        let mut command = self.command(program);
        command
            .args(arguments)
            .stdout(output.try_clone().map_err(failed)?)
            .stderr(errors.try_clone().map_err(failed)?);
        let start = process::start(|| command.spawn(), |child| Some(child.id()));
        let (mut child, _owned) = start.map_err(failed)?;
        let Some(success) = self.wait(&mut child).map_err(failed)? else {
            return Ok(Answer::TimedOut);
        };
        Ok(Answer::Ended {
            success,
            output: text(&mut output).map_err(failed)?,
            errors: text(&mut errors).map_err(failed)?,
        })
    }

    /// A command in a process group of its own, which Ctrl-C in a terminal does not reach: a
    /// submission is not cut off in the middle.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if misleads(&name) {
                command.env_remove(name);
            }
        }
        command
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .process_group(0);
        command
    }

    /// Whether it succeeded; `None`: it was ended at the limit.
    fn wait(&self, child: &mut Child) -> io::Result<Option<bool>> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status.success()));
            }
            if begun.elapsed() >= self.limit {
                end(child);
                return Ok(None);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}

/// Ends a child of [`Programs::command`] with its group.
pub fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        // It may have ended by itself.
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.take(MOST_OUTPUT).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Variables that a job of Slurm has (a coordinator may run in one), and those that change the options
/// and output of Slurm's programs. What names the cluster and the user's account stays.
fn misleads(name: &OsStr) -> bool {
    const KEPT: &[&str] = &[
        "SLURM_CONF",
        "SLURM_CONF_SERVER",
        "SLURM_CLUSTERS",
        "SLURM_JWT",
        "SBATCH_ACCOUNT",
        "SBATCH_CONSTRAINT",
        "SBATCH_PARTITION",
        "SBATCH_QOS",
        "SBATCH_RESERVATION",
    ];
    let name = name.to_string_lossy();
    let is_slurm = [
        "SLURM_",
        "SBATCH_",
        "SQUEUE_",
        "SACCT_",
        "SCONTROL_",
        "SCANCEL_",
    ]
    .iter()
    .any(|prefix| name.starts_with(prefix));
    is_slurm && !KEPT.contains(&name.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_hangs_is_ended_with_its_children() {
        let programs = Programs {
            limit: Duration::from_millis(300),
            variables: vec![("NUMBER".into(), "7".into())],
        };
        let script = "echo $NUMBER; echo no >&2; exit 3";
        let answer = programs.call("sh", ["-c", script]).unwrap();
        let expected = Answer::Ended {
            success: false,
            output: "7\n".to_string(),
            errors: "no\n".to_string(),
        };
        assert_eq!(answer, expected);
        let begun = Instant::now();
        let answer = programs.call("sh", ["-c", "sleep 60 & sleep 60"]).unwrap();
        assert_eq!(answer, Answer::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(30));
        let missing = programs.call("ribflow-no-such-program", [""; 0]);
        assert!(matches!(missing, Err(ClusterError::Program { .. })));
    }

    #[test]
    fn variables_of_a_job_do_not_reach_a_submission() {
        for (name, expected) in [
            ("SLURM_MEM_PER_NODE", true),
            ("SBATCH_WAIT", true),
            ("SQUEUE_STATES", true),
            ("SLURM_CONF", false),
            ("SBATCH_ACCOUNT", false),
            ("PATH", false),
        ] {
            assert_eq!(misleads(OsStr::new(name)), expected, "{name}");
        }
    }
}
