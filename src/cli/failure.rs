//! Failures of commands: maps the errors of every module to a message, a hint and an exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::{Value, json};

use super::invocation::quoted;
use crate::cluster::{ClusterError, SiteError};
use crate::diag::{Diagnostic, Diagnostics};
use crate::engine::EngineError;
use crate::remote::config::ConfigError;
use crate::remote::keys::KeyError;
use crate::remote::lock::LockError;
use crate::remote::revocations::RevocationError;
use crate::remote::user_profile::UserProfileError;
use crate::report::ReportError;
use crate::store::{BlobError, ExportError};
use crate::ui::paint::Paint;
use crate::ui::streams;

/// The exit code of the process. Scripts rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// A node failed, or something outside the workflow.
    Failed,
    /// The workflow or the command line is invalid; nothing was started.
    Wrong,
    /// A published number or claim was not reproduced.
    Different,
    /// Nothing could be judged.
    Unjudged,
    Interrupted,
    /// That of a program that the user named.
    Program(u8),
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Wrong => 2,
            Self::Different => 3,
            Self::Unjudged => 4,
            Self::Interrupted => 130,
            Self::Program(code) => code,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The workflow or a selector on the command line is invalid.
    Workflow(Diagnostics),
    /// The command line, or a path or address in it, is invalid.
    Usage {
        code: &'static str,
        message: String,
        hint: Option<String>,
    },
    /// The command failed while it ran.
    Failed {
        message: String,
        hint: Option<String>,
    },
    /// Standard output could not be written. A closed pipe does not count as a failure.
    Output(io::Error),
}

impl Failure {
    pub fn usage(code: &'static str, message: impl Into<String>) -> Self {
        Self::Usage {
            code,
            message: message.into(),
            hint: None,
        }
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            hint: None,
        }
    }

    /// An error of a library, with its causes.
    pub fn from_error(error: &dyn std::error::Error) -> Self {
        Self::failed(with_causes(error))
    }

    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Usage { hint, .. } | Self::Failed { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Rewrites the message, for example to replace paths that the user has never seen.
    pub fn reworded(mut self, words: impl Fn(&str) -> String) -> Self {
        let change = |text: &mut String| *text = words(text);
        match &mut self {
            Self::Workflow(Diagnostics(problems)) => {
                for problem in problems {
                    change(&mut problem.file);
                    change(&mut problem.message);
                    problem.hint.as_mut().map(change);
                }
            }
            Self::Usage { message, hint, .. } | Self::Failed { message, hint } => {
                change(message);
                hint.as_mut().map(change);
            }
            Self::Output(_) => {}
        }
        self
    }

    /// The message as text.
    pub fn message(&self) -> String {
        match self {
            Self::Workflow(problems) => problems.render(false),
            Self::Usage { message, .. } | Self::Failed { message, .. } => message.clone(),
            Self::Output(error) => error.to_string(),
        }
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Workflow(_) | Self::Usage { .. } => Exit::Wrong,
            Self::Failed { .. } => Exit::Failed,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            Self::Output(_) => Exit::Failed,
        }
    }

    /// The problems as `--json` lists them; empty unless the exit code is 2.
    fn problems(&self) -> Vec<Diagnostic> {
        match self {
            Self::Workflow(Diagnostics(problems)) => problems.clone(),
            Self::Usage {
                code,
                message,
                hint,
            } => vec![Diagnostic {
                hint: hint.clone(),
                ..Diagnostic::nowhere(code, "", message.as_str())
            }],
            Self::Failed { .. } | Self::Output(_) => Vec::new(),
        }
    }

    /// `{"errors": […]}` for a command that prints one document and would otherwise print none. The
    /// message still goes to standard error.
    pub fn document(&self) -> Option<Value> {
        let Self::Failed { message, hint } = self else {
            return None;
        };
        let problem = Diagnostic {
            hint: hint.clone(),
            ..Diagnostic::nowhere("failed", "", message.as_str())
        };
        Some(json!({ "errors": [problem] }))
    }

    /// Reports the failure as text on standard error or, with `--json` and exit code 2, as
    /// `{"errors": […]}` on standard output.
    pub fn report(&self, json: bool) {
        // If standard error can't be written, there is nothing left to do.
        let _ = match self {
            Self::Workflow(_) | Self::Usage { .. } if json => print_problems(&self.problems()),
            Self::Workflow(problems) => {
                let color = Paint::for_stderr().color;
                streams::stderr().write_all(problems.render(color).as_bytes())
            }
            Self::Usage { message, hint, .. } | Self::Failed { message, hint } => {
                print_message(message, hint.as_deref())
            }
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Self::Output(error) => print_message(&format!("standard output: {error}"), None),
        };
    }
}

/// `{"errors": […]}`, as `validate --json` prints it.
fn print_problems(problems: &[Diagnostic]) -> io::Result<()> {
    writeln!(streams::stdout(true), "{}", json!({ "errors": problems }))
}

fn print_message(message: &str, hint: Option<&str>) -> io::Result<()> {
    let paint = Paint::for_stderr();
    let mut stderr = streams::stderr();
    writeln!(stderr, "{} {message}", paint.red("error:"))?;
    match hint {
        Some(hint) => writeln!(stderr, "{} {hint}", paint.green("hint:")),
        None => Ok(()),
    }
}

/// The error's message, followed by the messages of causes that it does not already contain.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    message
}

impl From<Diagnostics> for Failure {
    fn from(problems: Diagnostics) -> Self {
        Self::Workflow(problems)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match &error {
            EngineError::Cluster(cluster) => cluster.into(),
            EngineError::Device(device) => {
                Self::usage("device", device.to_string()).hint("`--device cpu` always works")
            }
            _ => Self::from_error(&error),
        }
    }
}

impl From<ReportError> for Failure {
    fn from(error: ReportError) -> Self {
        Self::from_error(&error).hint("choose another folder for reports with `--out`")
    }
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        match &error {
            ExportError::Exists(_) => Self::usage("output-exists", error.to_string())
                .hint("`-o` expects a new or empty folder"),
            ExportError::Blob(BlobError::Missing(_) | BlobError::Damaged(_)) => {
                Self::from_error(&error)
                    .hint("`ribflow run FILE NODE --force NODE` computes it again")
            }
            _ => Self::from_error(&error),
        }
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        let hint = match &error {
            LockError::Later { .. } => "a later version of ribflow wrote it".to_string(),
            LockError::Io { path, .. } | LockError::Format { path, .. } => {
                let workflow = quoted(&path.with_extension("").display().to_string());
                format!("`ribflow lock {workflow} --update` rewrites it")
            }
        };
        Self::usage("lock", error.to_string()).hint(hint)
    }
}

impl From<&ClusterError> for Failure {
    fn from(error: &ClusterError) -> Self {
        Self::from_error(error).hint(error.hint())
    }
}

impl From<ClusterError> for Failure {
    fn from(error: ClusterError) -> Self {
        (&error).into()
    }
}

impl From<SiteError> for Failure {
    fn from(error: SiteError) -> Self {
        match error {
            SiteError::Wrong(problems) => problems.into(),
            SiteError::Io { .. } => Self::from_error(&error),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Wrong(problems) => problems.into(),
            ConfigError::Io { .. } => Self::from_error(&error),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let failure = Self::usage("key", error.to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<UserProfileError> for Failure {
    fn from(error: UserProfileError) -> Self {
        let hint = error.hint();
        let failure = match error {
            UserProfileError::Config(error) => return error.into(),
            UserProfileError::Key(error) => return error.into(),
            error => Self::usage("remote", error.to_string()),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<RevocationError> for Failure {
    fn from(error: RevocationError) -> Self {
        Self::from_error(&error)
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        ExportError::from(error).into()
    }
}

/// Commands print with `?`, so a bare I/O error comes from standard output. All others are wrapped
/// in an error of their module.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Output(error.into())
    }
}
