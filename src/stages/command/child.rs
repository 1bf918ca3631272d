//! The running line: a process group with a cleared environment, supervised until it ends or the
//! node is cancelled.
//!
//! The leader of the group is a guard, a second shell that waits for the end of a pipe that only
//! this process holds open. However this process dies, even by SIGKILL, the guard kills the group.
//! Processes that have left the group are found by their ancestry ([`crate::process`]).

use std::io::{self, PipeReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::super::task::{Context, TaskError};
use super::isolation::Isolation;
use super::lines::{Lines, Secrets};
use super::shell::Shell;
use crate::process::{self, Family, OwnedChild};

/// The script of the guard: `0` is its own group, whose other signals it survives. It prints a line
/// once it is ready, so that no signal arrives too early.
const GUARD: &str = "trap '' HUP INT QUIT TERM; echo; read -r _; kill -9 0";
/// The exit code that a shell reports for a program killed by SIGPIPE.
const BROKEN_PIPE: i32 = 141;

/// A program to start and supervise.
pub(super) struct Start<'a> {
    pub command: Command,
    /// For messages.
    pub program: &'a Path,
    pub shell: Option<Shell>,
    /// Values that must not be shown.
    pub secrets: Secrets,
    pub isolation: Option<&'a Isolation>,
}

pub(super) struct Child {
    /// Its standard input holds the pipe open.
    guard: std::process::Child,
    process: std::process::Child,
    id: Pid,
    family: Family,
    group: Pid,
    output: PipeReader,
    lines: Lines,
    shell: Option<Shell>,
    /// Whether both processes still have to be waited for.
    _known: [OwnedChild; 2],
}

impl Child {
    pub fn start(start: Start) -> Result<Self, TaskError> {
        let Start {
            mut command,
            program,
            shell,
            secrets,
            isolation,
        } = start;
        let program = program.display();
        let failed = |error: io::Error| TaskError::Failed(format!("{program}: {error}"));
        // One pipe for both, so that the log keeps their order.
        let (output, writer) = io::pipe().map_err(failed)?;
        // The supervising loop polls several things, so none may block it.
        fcntl_setfl(&output, OFlags::NONBLOCK).map_err(|error| failed(error.into()))?;
        let (mut guard, guard_known) = guard().map_err(failed)?;
        let errors = writer.try_clone().map_err(failed)?;
        command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .process_group(guard.id() as i32);
        let started = process::start(|| command.spawn(), |child| Some(child.id()));
        // It holds the write end of the pipe, which must close when the program ends.
        drop(command);
        let (process, known) = match started {
            Ok(started) => started,
            Err(error) => {
                let _ = guard.kill();
                let _ = guard.wait();
                let refused = isolation.and_then(|isolation| isolation.refusal(&error));
                return Err(refused.unwrap_or_else(|| failed(error)));
            }
        };
        let id = Pid::from_child(&process);
        let group = Pid::from_child(&guard);
        Ok(Self {
            id,
            group,
            family: Family::Line {
                group,
                child: id,
                guard: group,
            },
            guard,
            process,
            output,
            lines: Lines::hiding(secrets),
            shell,
            _known: [guard_known, known],
        })
    }

    /// Forwards the output to the node's log until the line ends.
    ///
    /// A cancelled line, and everything that it started, receives SIGTERM and has `grace` to end.
    ///
    /// # Errors
    /// An exit code other than 0, with the last lines; cancellation, once nothing is left running.
    pub fn watch(mut self, context: &Context) -> Result<(), TaskError> {
        let mut pause = Pause::default();
        let mut deadline = None;
        while !self.is_over(deadline) {
            match self.pass_output(context) {
                true => pause = Pause::default(),
                false => pause.take(),
            }
            if deadline.is_none() && context.cancelled.load(Ordering::Relaxed) {
                self.ask_to_end();
                deadline = Some(Instant::now() + context.grace);
            }
        }
        let status = self.end();
        self.pass_output(context);
        self.lines.finish(context);
        if deadline.is_some() {
            return Err(TaskError::Cancelled);
        }
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(TaskError::Failed(self.describe(&status))),
            Err(error) => Err(TaskError::Failed(format!(
                "lost track of the command: {error}"
            ))),
        }
    }

    /// Whether there is nothing more to wait for. A cancelled line is over once all its processes
    /// have ended: the shell may end at once while its children are still saving.
    fn is_over(&self, deadline: Option<Instant>) -> bool {
        match deadline {
            None => self.has_ended(),
            Some(deadline) => {
                Instant::now() >= deadline || (self.has_ended() && !self.family.is_alive())
            }
        }
    }

    /// Whether the line has ended, without reaping it.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.id), options), Ok(None))
    }

    fn ask_to_end(&self) {
        let _ = kill_process_group(self.group, Signal::TERM);
        // A second signal would interrupt the cleanup of processes that already have the first.
        self.family.signal_outside(self.group, Signal::TERM);
    }

    /// Kills everything that is left of the line, so that no process outlives the node. The line
    /// and the guard are reaped last, so that their process ids can't be reused before.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.family.end(None);
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.process.wait();
        let _ = self.guard.wait();
        status
    }

    /// Logs the output so far, and returns whether there was any.
    fn pass_output(&mut self, context: &Context) -> bool {
        let mut buffer = [0; 16 << 10];
        let mut any = false;
        loop {
            match self.output.read(&mut buffer) {
                Ok(count) if count > 0 => self.lines.take(&buffer[..count], context),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // No output now, or end of output.
                _ => return any,
            }
            any = true;
        }
    }

    fn describe(&self, status: &ExitStatus) -> String {
        let mut text = match (status.code(), status.signal()) {
            (Some(code), _) => format!("the command ended with exit code {code}"),
            (None, Some(signal)) => format!("the command was killed by signal {signal}"),
            (None, None) => "the command failed".to_string(),
        };
        if self.lines.tail().len() == 0 {
            text += "; it printed nothing";
        }
        for line in self.lines.tail() {
            text += "\n  ";
            text += line;
        }
        if self.shell == Some(Shell::Bash) && status.code() == Some(BROKEN_PIPE) {
            text += "\n141 means that a program wrote to a closed pipe (`… | head`): write `(… || true) | \
             head`, or use `shell: sh`";
        }
        text
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // After a panic, no process may be left running. Otherwise this does nothing.
        if let Ok(None) = self.guard.try_wait() {
            let _ = self.end();
        }
    }
}

/// Starts a guard, and returns once it ignores the signals that its group may receive.
fn guard() -> io::Result<(std::process::Child, OwnedChild)> {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", GUARD])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let (mut guard, known) = process::start(|| command.spawn(), |child| Some(child.id()))?;
    if let Some(mut output) = guard.stdout.take() {
        let mut ready = [0];
        output.read_exact(&mut ready)?;
    }
    Ok((guard, known))
}

/// A back-off from 1 to 50 milliseconds.
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
