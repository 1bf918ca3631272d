//! `ribflow shell FILE NODE`: opens a shell in the folder of a command, laid out as a run would.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::{Args, ValueHint};

use super::call::Call;
use super::command_permissions;
use super::failure::{Exit, Failure};
use super::invocation::quoted;
use super::load;
use super::locations::Locations;
use super::stores;
use super::target::{TargetArguments, WorkflowArguments};
use crate::engine::{self, EnterError};
use crate::process;
use crate::stages;
use crate::stages::command::{Session, SessionError};
use crate::workflow::kind::Meaning;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow shell grid.yaml 'tuned[method=mine,seed=0]'    a shell where its line would run
  ribflow shell grid.yaml prepare -- python3 -i          another program there
  ribflow shell grid.yaml prepare --keep debug           the folder stays as `debug`

The folder has the node's inputs, its `files`, `params.json` and an empty `out/`. The environment
is cleared as in a run; its `runner` and its isolation apply.";

/// Open a shell where a command would run
///
/// Lays out the folder of a `command` node as a run would, opens your shell there, and removes the
/// folder when it ends. Nothing is recorded. The inputs of the node must have results.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShellArguments {
    #[command(flatten)]
    pub workflow: WorkflowArguments,

    /// The node: 'tuned[method=mine,seed=0]'
    #[arg(value_name = "NODE")]
    pub node: String,

    /// Move the folder to this new place at the end instead of removing it
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub keep: Option<PathBuf>,

    /// A program with its arguments, instead of your shell; its exit code is passed on
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

pub fn run(
    arguments: &ShellArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let registry = stages::registry();
    let target = TargetArguments {
        workflow: arguments.workflow.clone(),
        targets: vec![arguments.node.clone()],
    };
    let graph = load::graph(&target, common, &registry)?;
    let node = load::one_node(&graph, &arguments.node)?;
    let at = &graph.dag[node];
    if at.kind.meaning() != Meaning::Program {
        let message = format!("{} is a node of `{}`", at.id, at.kind.name());
        let hint = "a shell can be opened for nodes of `command`";
        return Err(Failure::usage("not-a-command", message).hint(hint));
    }
    // The environment of a runner is built by programs of the file's author.
    let mut refused = command_permissions::refused(&graph, common)?.into_iter();
    if let Some((_, why)) = refused.find(|(refused, _)| *refused == node) {
        return Err(Failure::failed(format!("{}: {why}", at.id)));
    }
    let keep = arguments.keep.as_deref().map(std::path::absolute);
    let keep = keep
        .transpose()
        .map_err(|error| Failure::from_error(&error))?;
    if let Some(place) = keep.as_ref().filter(|place| place.exists()) {
        let message = format!("{} exists already", place.display());
        return Err(Failure::usage("place-taken", message));
    }
    let locations = Locations::of(&arguments.workflow.file, common);
    let store = Arc::new(stores::open_store(&locations.store)?);
    let root = std::path::absolute(&locations.store.root);
    let root = root.map_err(|error| Failure::from_error(&error))?;
    if let Some(place) = keep.as_ref().filter(|place| place.starts_with(&root)) {
        let message = format!("{} is inside the store", place.display());
        return Err(Failure::usage("place-taken", message).hint("name a place beside the store"));
    }
    let session = Session {
        command: arguments.command.clone(),
        keep: keep.clone(),
        cancelled: process::note_end_signals(),
    };
    // What the session leaves behind when it is asked to end is found among the descendants.
    process::adopt_orphans();
    let cores = at.resources.cpus.map_or(1, |cpus| cpus as usize);
    let entered = engine::enter(
        &graph,
        &store,
        &registry,
        node,
        cores.clamp(1, common.threads()),
        &session,
        |layout| {
            if !common.quiet {
                // Failing to print must not stop the session.
                let _ = write!(crate::ui::streams::stderr(), "{layout}");
            }
        },
    );
    let interrupted = || session.cancelled.load(Ordering::SeqCst);
    let status = match entered {
        Err(_) if interrupted() => return Ok(Exit::Interrupted),
        entered => entered.map_err(|error| failure(error, arguments))?,
    };
    if let Some(place) = keep {
        writeln!(output, "{}", place.display())?;
    }
    // The exit code of a shell is that of whatever was typed last.
    Ok(match arguments.command.is_empty() {
        _ if interrupted() => Exit::Interrupted,
        true => Exit::Done,
        false => Exit::Program(code(status)),
    })
}

/// The exit code of a program as shells give it: 128 and the number of the signal that killed it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

fn failure(error: EnterError, arguments: &ShellArguments) -> Failure {
    let failure = Failure::from_error(&error);
    match &error {
        EnterError::NoResult(id) => {
            let workflow = arguments.workflow.typed();
            failure.hint(format!(
                "`ribflow run {workflow} {}` computes it",
                quoted(id)
            ))
        }
        EnterError::Session(SessionError::NotKept(_)) => {
            failure.hint("name a place beside the store")
        }
        _ => failure,
    }
}
