//! `ribflow worker --join RUN`: takes part in a run. Without `--join` it executes jobs for the process
//! that started it, which is internal.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, Args};

use super::call::Call;
use super::failure::{Exit, Failure};
use super::join::{self, JoinArguments};
use super::locations::StoreLocation;
use super::sharing;
use super::stores;
use crate::fetch::web::silence::{self, Verdicts};
use crate::store::{FromStore, Store};
use crate::{engine, stages};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow run grid.yaml --store /shared/cache --executor joined   on one machine: it waits
  ribflow worker --store /shared/cache --join                     on others: joins the newest run
  ribflow worker --store /shared/cache --join 20261130-101500-123-ab12cd --cpus 8 --time 4h

All machines must see the store, and the data of the nodes that they run, under the same paths.
Ctrl-C ends a worker: its nodes run again elsewhere. SIGUSR1 lets it finish its nodes and leave.

Exit codes: 0 it has left, even if a node failed, which the run reports; 1 no run came within
`--idle`, or the worker failed; 2 the command is not valid; 130 it was stopped.";

/// Take part in a run as a further worker, on this machine or another one
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WorkerArguments {
    #[command(flatten)]
    pub join: JoinArguments,

    /// Another store to read blobs from
    #[arg(long, value_name = "DIR", hide = true)]
    pub beside: Option<PathBuf>,

    /// A folder on this machine's own disk
    #[arg(long, value_name = "DIR", hide = true)]
    pub local: Option<PathBuf>,

    /// A remote to fetch missing blobs from
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append, hide = true)]
    pub remotes: Vec<String>,

    /// A server that has answered in this run: it gets more time
    #[arg(long, value_name = "SERVER", action = ArgAction::Append, hide = true)]
    pub answered: Vec<String>,

    /// A server that has not answered in this run: it is not contacted again
    #[arg(long, value_name = "SERVER", action = ArgAction::Append, hide = true)]
    pub silent: Vec<String>,
}

pub fn run(
    arguments: &WorkerArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    if arguments.join.join.is_some() {
        return join::run(&arguments.join, call, output);
    }
    if io::stdin().is_terminal() {
        return Err(Failure::usage(
            "command-line",
            "a worker needs the run that it takes part in",
        )
        .hint("`--join RUN`, or `--join` alone for the newest run of the store"));
    }
    let root = call.common.store.as_ref().ok_or_else(|| {
        Failure::usage(
            "command-line",
            "a worker needs the `--store` that it works for",
        )
    })?;
    // The parent process has checked that the store is the user's.
    let store = stores::open_store(&StoreLocation::named(root))?;
    silence::learn(&Verdicts {
        answered: arguments.answered.clone(),
        silent: arguments.silent.clone(),
    });
    match &arguments.beside {
        None => look_at_remotes(&store, &arguments.remotes)?,
        Some(beside) => {
            let beside = stores::open_store(&StoreLocation::named(beside))?;
            look_at_remotes(&beside, &arguments.remotes)?;
            store.set_blob_source(Arc::new(FromStore(Arc::new(beside))));
        }
    }
    if let Some(folder) = &arguments.local {
        store.work_locally(folder)?;
    }
    match engine::serve_worker(&store, &stages::registry()) {
        true => Ok(Exit::Done),
        false => Ok(Exit::Failed),
    }
}

fn look_at_remotes(store: &Store, remotes: &[String]) -> Result<(), Failure> {
    if !remotes.is_empty() {
        store.set_blob_source(Arc::new(sharing::exchange(remotes, store)?));
    }
    Ok(())
}
