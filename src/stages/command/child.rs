//! The running line: a process group of its own, with a cleared environment, watched until it
//! ends or the node is cancelled.

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

pub(super) struct Child {
    process: std::process::Child,
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
        let threads = context.threads.to_string();
        let inherited = NECESSITIES.iter().filter_map(|name| {
            let value = std::env::var_os(name)?;
            Some((*name, value))
        });
        let process = Command::new("/bin/sh")
            .args(["-c", line])
            .current_dir(&space.folder)
            .env_clear()
            .envs(inherited)
            .envs([("LANG", "C.UTF-8"), ("TZ", "UTC")])
            .envs([("OMP_NUM_THREADS", &threads), ("RIBFLOW_THREADS", &threads)])
            .env("TMPDIR", &space.temporary)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(writer.try_clone().map_err(failed)?)
            .stderr(writer)
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let group = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let group = group.ok_or_else(|| failed(io::Error::other("no process id")))?;
        Ok(Self {
            process,
            group,
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
        // What the line left running in the background must neither outlive the node nor write on.
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.process.wait();
        self.pass_output(context);
        self.lines.finish(context);
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(TaskError::Failed(self.lines.describe(&status))),
            Err(error) => Err(TaskError::Failed(format!("/bin/sh: {error}"))),
        }
    }

    /// Whether the line has ended. It is not reaped yet, so its group's number stays its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    fn stop(&mut self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        let mut pause = Pause::default();
        while !self.has_ended() && Instant::now() < deadline {
            pause.take();
        }
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.process.wait();
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
        // On the way out of a panic nothing may be left running; after `wait` this does nothing.
        if let Ok(None) = self.process.try_wait() {
            let _ = kill_process_group(self.group, Signal::KILL);
            let _ = self.process.wait();
        }
    }
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
