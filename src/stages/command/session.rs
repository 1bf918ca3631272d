//! A program of the user in the place of a line: the same folder, environment and limits, with the
//! caller's terminal.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use rustix::process::Signal;

use serde_json::Value;

use super::Command;
use super::isolation::Isolation;
use super::line::Line;
use super::runner::Prefix;
use super::work_dir::WorkDir;
use crate::process::{self, Family};
use crate::stages::task::{Context, TaskError};
use crate::workflow::kind::ParameterProblem;

/// The time that a program has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);
/// The time to wait for killed processes. One that hangs in the kernel ends later.
const DEATH: Duration = Duration::from_secs(5);
/// The pause between two looks at the request to end.
const LOOK: Duration = Duration::from_millis(50);

/// What to run instead of the line.
#[derive(Clone, Debug)]
pub struct Session {
    /// The program with its arguments; empty: the user's shell.
    pub command: Vec<OsString>,
    /// Where the folder goes at the end; `None`: it is removed.
    pub keep: Option<PathBuf>,
    /// Set when the session must end.
    pub cancelled: &'static AtomicBool,
}

/// A node as it was laid out.
pub struct Layout<'a> {
    pub folder: &'a Path,
    pub line: &'a str,
    /// What differs from a run.
    pub differences: Vec<&'static str>,
}

/// What differs from a run in every session.
const ALWAYS: [&str; 2] = [
    "the terminal is yours: the run has no standard input, and keeps the output in a log",
    "nothing is checked, recorded or kept in the store",
];
const OF_A_SHELL: &str = "TERM is set, and your shell reads its own start-up files";

/// Whether the folder was kept as asked for.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error("the folder can't be moved to {}: it must be a new name on the store's file system", .0.display())]
    NotKept(PathBuf),
}

impl Session {
    /// Lays out the node with the parameters `with`, shows it, and runs the session's program until
    /// it ends. Once `cancelled` is set, the program is ended as by a terminal that is closed.
    pub fn run(
        &self,
        with: &Value,
        context: &Context,
        show: impl FnOnce(&Layout),
    ) -> Result<ExitStatus, SessionError> {
        let stage: Command = ParameterProblem::typed(with).map_err(|problems| {
            let words = problems.into_iter().map(|problem| problem.message);
            TaskError::Failed(words.collect::<Vec<String>>().join("; "))
        })?;
        let program = stage.shell.program();
        let program = program.ok_or_else(|| super::no_program(stage.shell))?;
        let space = WorkDir::lay_out(&stage.params, context)?;
        let prefix = stage.runner.prepare(&space, context)?;
        let isolation = stage.isolation(&program, &space, prefix.as_ref())?;
        let line = Line {
            program: &program,
            shell: stage.shell,
            text: &stage.run,
            prefix: prefix.as_ref(),
            variables: super::variables(context)?,
            secrets: stage.secrets()?,
            isolation: isolation.as_ref(),
        };
        let mut differences = ALWAYS.to_vec();
        differences.extend(self.command.is_empty().then_some(OF_A_SHELL));
        show(&Layout {
            folder: &space.folder,
            line: &stage.run,
            differences,
        });
        let refused = |target: &&PathBuf| !space.can_keep(target);
        if let Some(target) = self.keep.as_ref().filter(refused) {
            return Err(SessionError::NotKept(target.clone()));
        }
        let status = self.wait(&line, &space, context, isolation.as_ref())?;
        match &self.keep {
            Some(target) if !space.keep(target) => Err(SessionError::NotKept(target.clone())),
            _ => Ok(status),
        }
    }

    fn wait(
        &self,
        line: &Line,
        space: &WorkDir,
        context: &Context,
        isolation: Option<&Isolation>,
    ) -> Result<ExitStatus, TaskError> {
        let shell = || vec![users_shell(line.prefix)];
        let words = match self.command.is_empty() {
            true => shell(),
            false => self.command.clone(),
        };
        let (program, arguments) = (&words[0], words[1..].iter().map(OsString::as_os_str));
        let mut command = line.process(program, arguments, space, context.threads);
        if self.command.is_empty()
            && let Some(terminal) = std::env::var_os("TERM")
        {
            command.env("TERM", terminal);
        }
        context.check_cancelled()?;
        let name = Path::new(program).display().to_string();
        let failed = |error: std::io::Error| TaskError::Failed(format!("{name}: {error}"));
        let started = process::start(|| command.spawn(), |child| Some(child.id()));
        let (mut child, _known) = started.map_err(|error| {
            let refused = isolation.and_then(|isolation| isolation.refusal(&error));
            refused.unwrap_or_else(|| failed(error))
        })?;
        process::leave_interrupts_to_child();
        let (running, ended) = mpsc::channel::<()>();
        let status = std::thread::scope(|scope| {
            scope.spawn(move || end_when_asked(self.cancelled, &ended));
            let status = child.wait();
            drop(running);
            status
        });
        if self.cancelled.load(Ordering::SeqCst) {
            Family::Mine.end(Some(DEATH));
        }
        status.map_err(failed)
    }
}

/// Ends the program once `cancelled` is set, unless it has `ended`. An interactive shell ignores
/// SIGTERM, and passes SIGHUP on to its jobs.
fn end_when_asked(cancelled: &AtomicBool, ended: &Receiver<()>) {
    let runs = |time| ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
    while !cancelled.load(Ordering::SeqCst) {
        if !runs(LOOK) {
            return;
        }
    }
    for signal in [Signal::TERM, Signal::HUP, Signal::CONT] {
        Family::Mine.signal(signal);
    }
    if runs(GRACE) {
        Family::Mine.end(Some(DEATH));
    }
}

/// The shell of the user; that of an image in a container.
fn users_shell(prefix: Option<&Prefix>) -> OsString {
    let usual = OsString::from("/bin/sh");
    match prefix {
        Some(prefix) if prefix.in_container => usual,
        _ => {
            let shell = std::env::var_os("SHELL").filter(|shell| !shell.is_empty());
            shell.unwrap_or(usual)
        }
    }
}

impl fmt::Display for Layout<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "folder: {}", self.folder.display())?;
        writeln!(f, "its line:")?;
        for line in self.line.trim_end().split('\n') {
            writeln!(f, "    {line}")?;
        }
        writeln!(f, "other than in a run:")?;
        for difference in &self.differences {
            writeln!(f, "  - {difference}")?;
        }
        Ok(())
    }
}
