//! The running line: a process group of its own, with a cleared environment, watched until it
//! ends or the node is cancelled.
//!
//! The group is led by a guard, a second shell that waits for the end of a pipe which only this
//! process holds open. However this process dies, by SIGKILL too, the guard ends the group.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::super::task::{Context, TaskError};
use super::space::Space;

/// What a program needs in order to be found and to find itself at home. Everything else is
/// cleared: what a line may depend on is in its key.
const NECESSITIES: [&str; 6] = [
    "PATH",
    "LD_LIBRARY_PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "CUDA_VISIBLE_DEVICES",
];
/// Between asking a cancelled line to end and ending it.
const GRACE: Duration = Duration::from_secs(5);
/// How many last lines an error shows.
const TAIL: usize = 20;
/// A line of output that is longer is cut into several.
const LONGEST_LINE: usize = 64 << 10;

/// What the guard runs: `0` is its own group.
const GUARD: &str = "read -r _; kill -9 0";

pub(super) struct Child {
    /// Holds the pipe's end as its standard input.
    guard: std::process::Child,
    process: std::process::Child,
    id: Pid,
    group: Pid,
    output: PipeReader,
    lines: Lines,
}

impl Child {
    pub fn start(
        line: &str,
        space: &Space,
        variables: &[(String, String)],
        context: &Context,
    ) -> Result<Self, TaskError> {
        let failed = |error: io::Error| TaskError::Failed(format!("/bin/sh: {error}"));
        // One pipe for both, so that the log keeps their order.
        let (output, writer) = io::pipe().map_err(failed)?;
        // The watcher has several things to look at, so none may block it.
        fcntl_setfl(&output, OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        let mut guard = Command::new("/bin/sh")
            .args(["-c", GUARD])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let errors = writer.try_clone().map_err(failed)?;
        let started = command(line, space, variables, context.threads)
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .process_group(guard.id() as i32)
            .spawn();
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                let _ = guard.kill();
                let _ = guard.wait();
                return Err(failed(error));
            }
        };
        Ok(Self {
            id: Pid::from_child(&process),
            group: Pid::from_child(&guard),
            guard,
            process,
            output,
            lines: Lines::default(),
        })
    }

    /// Passes the output on to the node's log until the line ends.
    ///
    /// # Errors
    /// An exit code other than 0, with the last lines; cancellation, once nothing is left running.
    pub fn watch(mut self, context: &Context) -> Result<(), TaskError> {
        let mut pause = Pause::default();
        while !self.has_ended() {
            match self.pass_output(context) {
                true => pause = Pause::default(),
                false => pause.take(),
            }
            if context.cancelled.load(Ordering::Relaxed) {
                self.stop();
                return Err(TaskError::Cancelled);
            }
        }
        let status = self.end_group();
        self.pass_output(context);
        self.lines.finish(context);
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(TaskError::Failed(self.lines.describe(&status))),
            Err(error) => Err(TaskError::Failed(format!("/bin/sh: {error}"))),
        }
    }

    /// Whether the line has ended; leaves it to be waited for.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.id), options), Ok(None))
    }

    fn stop(&mut self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        let mut pause = Pause::default();
        while !self.has_ended() && Instant::now() < deadline {
            pause.take();
        }
        let _ = self.end_group();
    }

    /// Ends whatever is left of the group: nothing that the line left running may outlive the
    /// node. The guard is waited for last, so that until then the group's number is its own.
    fn end_group(&mut self) -> io::Result<ExitStatus> {
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.process.wait();
        let _ = self.guard.wait();
        status
    }

    /// Logs what has been written so far; whether there was anything.
    fn pass_output(&mut self, context: &Context) -> bool {
        let mut buffer = [0; 16 << 10];
        let mut any = false;
        loop {
            match self.output.read(&mut buffer) {
                Ok(count) if count > 0 => self.lines.take(&buffer[..count], context),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Nothing now, or nothing more.
                _ => return any,
            }
            any = true;
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // On the way out of a panic nothing may be left running; once all is over, nothing is.
        if let Ok(None) = self.guard.try_wait() {
            let _ = self.end_group();
        }
    }
}

/// The line with its folder and environment.
fn command(line: &str, space: &Space, variables: &[(String, String)], threads: usize) -> Command {
    let threads = threads.to_string();
    let inherited = NECESSITIES.iter().filter_map(|name| {
        let value = std::env::var_os(name)?;
        Some((*name, value))
    });
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", line])
        .current_dir(&space.folder)
        .env_clear()
        .envs(inherited)
        .envs([("LANG", "C.UTF-8"), ("TZ", "UTC")])
        .envs([("OMP_NUM_THREADS", &threads), ("RIBFLOW_THREADS", &threads)])
        .env("TMPDIR", &space.temporary)
        .envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

/// Waits a little longer each time, from 1 to 50 milliseconds.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_millis(1))
    }
}

impl Pause {
    fn take(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(50));
    }
}

/// Output as lines, and the last of them.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
    tail: VecDeque<String>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8], context: &Context) {
        for byte in bytes {
            match byte {
                b'\n' => self.close(context),
                byte => self.open.push(*byte),
            }
            if self.open.len() >= LONGEST_LINE {
                self.close(context);
            }
        }
    }

    fn finish(&mut self, context: &Context) {
        if !self.open.is_empty() {
            self.close(context);
        }
    }

    fn close(&mut self, context: &Context) {
        let line = String::from_utf8_lossy(&self.open);
        // A progress bar redraws its line after `\r`: the last state is the one that stays.
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or_default().to_string();
        self.open.clear();
        context.progress.log(&line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    fn describe(&self, status: &ExitStatus) -> String {
        let mut text = match (status.code(), status.signal()) {
            (Some(code), _) => format!("the command ended with exit code {code}"),
            (None, Some(signal)) => format!("the command was ended by signal {signal}"),
            (None, None) => "the command failed".to_string(),
        };
        if self.tail.is_empty() {
            text += "; it printed nothing";
        }
        for line in &self.tail {
            text += "\n  ";
            text += line;
        }
        text
    }
}
