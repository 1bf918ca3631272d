//! The running line: a member of the process group of a [guard](Guard), supervised until it ends or
//! the node is cancelled. Processes that have left the group are found by their ancestry
//! ([`crate::process`]).

use std::io::{self, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::super::task::{Context, TaskError};
use super::guard::Guard;
use super::isolation::Isolation;
use super::lines::{Lines, Secrets};
use super::shell::Shell;
use crate::process::{self, Family, OwnedChild};

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
    /// `None` once it is kept or has ended.
    guard: Option<Guard>,
    process: std::process::Child,
    id: Pid,
    family: Family,
    group: Pid,
    output: Output,
    lines: Lines,
    shell: Option<Shell>,
    /// The process still has to be waited for.
    _known: OwnedChild,
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
        let guard = Guard::take().map_err(failed)?;
        let group = guard.group();
        let errors = writer.try_clone().map_err(failed)?;
        command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .process_group(group.as_raw_nonzero().get());
        let started = process::start(|| command.spawn(), |child| Some(child.id()));
        // It holds the write end of the pipe, which must close when the program ends.
        drop(command);
        let (process, known) = match started {
            Ok(started) => started,
            Err(error) => {
                guard.keep();
                let refused = isolation.and_then(|isolation| isolation.refusal(&error));
                return Err(refused.unwrap_or_else(|| failed(error)));
            }
        };
        let id = Pid::from_child(&process);
        Ok(Self {
            id,
            group,
            family: Family::Line {
                group,
                child: id,
                guard: group,
            },
            guard: Some(guard),
            process,
            output: Output::new(output, id),
            lines: Lines::hiding(secrets),
            shell,
            _known: known,
        })
    }

    /// Forwards the output to the node's log until the line ends.
    ///
    /// A cancelled line, and everything that it started, receives SIGTERM and has `grace` to end.
    ///
    /// # Errors
    /// An exit code other than 0, with the last lines; cancellation, once nothing is left running.
    pub fn watch(mut self, context: &Context) -> Result<(), TaskError> {
        let mut deadline = None;
        while !self.is_over(deadline) {
            if !self.pass_output(context) {
                self.output.wait();
            }
            if deadline.is_none() && context.cancelled.load(Ordering::Relaxed) {
                self.ask_to_end();
                deadline = Some(Instant::now() + context.grace);
            }
        }
        let status = match deadline {
            None => self.end_quietly(),
            Some(_) => self.end(),
        };
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

    /// Ends a line that has ended by itself. If it has left nothing, its guard serves the next one.
    fn end_quietly(&mut self) -> io::Result<ExitStatus> {
        if !process::sees_all_children() {
            return self.end();
        }
        let status = self.process.wait();
        match process::has_no_child() {
            true => self.guard.take().into_iter().for_each(Guard::keep),
            false => {
                // The number of the line may be another process's by now, but what it started and
                // has left is an orphan.
                Family::Orphans.end(None);
                self.guard = None;
            }
        }
        status
    }

    /// Kills everything that is left of the line, so that no process outlives the node. The line
    /// and the guard are reaped last, so that their process ids can't be reused before.
    fn end(&mut self) -> io::Result<ExitStatus> {
        self.family.end(None);
        let _ = kill_process_group(self.group, Signal::KILL);
        let status = self.process.wait();
        self.guard = None;
        status
    }

    /// Logs the output so far, and returns whether there was any.
    fn pass_output(&mut self, context: &Context) -> bool {
        let mut buffer = [0; 16 << 10];
        let mut any = false;
        loop {
            match self.output.pipe.read(&mut buffer) {
                Ok(count) if count > 0 => self.lines.take(&buffer[..count], context),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return any,
                _ => {
                    self.output.is_over = true;
                    return any;
                }
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
        // After a panic, no process may be left running.
        if self.guard.is_some() {
            let _ = self.end();
        }
    }
}

/// The output of a line, and the end of the line.
struct Output {
    pipe: PipeReader,
    /// All writers have closed it.
    is_over: bool,
    /// Readable once the line has ended; `None` where the system has no such descriptor.
    end: Option<OwnedFd>,
}

/// The longest wait before the supervising loop looks whether the node is cancelled.
const LOOK: Duration = Duration::from_millis(50);
/// The wait where nothing tells that the line has ended.
const SHORT: Duration = Duration::from_millis(2);

impl Output {
    fn new(pipe: PipeReader, line: Pid) -> Self {
        #[cfg(target_os = "linux")]
        let end = rustix::process::pidfd_open(line, rustix::process::PidfdFlags::empty()).ok();
        #[cfg(not(target_os = "linux"))]
        let end = None;
        Self {
            pipe,
            is_over: false,
            end,
        }
    }

    /// Returns once there is output, or the line has ended, or a moment has passed.
    fn wait(&self) {
        let pipe = (!self.is_over).then(|| PollFd::new(&self.pipe, PollFlags::IN));
        let end = self.end.as_ref().map(|end| PollFd::new(end, PollFlags::IN));
        let longest = if end.is_some() { LOOK } else { SHORT };
        let mut both: Vec<PollFd> = pipe.into_iter().chain(end).collect();
        let timeout = Timespec::try_from(longest).ok();
        // A failure is as a wait that was too short.
        if poll(&mut both, timeout.as_ref()).is_err() {
            std::thread::sleep(SHORT);
        }
    }
}
