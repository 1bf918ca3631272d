//! `ribflow worker --store DIR`: executes jobs for the process that started it. Internal.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{ArgAction, Args};

use super::call::Call;
use super::failure::{Exit, Failure};
use super::locations::StoreLocation;
use super::sharing;
use super::stores;
use crate::fetch::web::silence::{self, Verdicts};
use crate::store::{FromStore, Store};
use crate::{engine, stages};

/// Execute nodes for the parent process
#[derive(Clone, Debug, Args)]
#[command(hide = true)]
pub struct WorkerArguments {
    /// Another store to read blobs from
    #[arg(long, value_name = "DIR")]
    pub beside: Option<PathBuf>,

    /// A remote to fetch missing blobs from
    #[arg(long = "remote", value_name = "NAME", action = ArgAction::Append)]
    pub remotes: Vec<String>,

    /// A server that has answered in this run: it gets more time
    #[arg(long, value_name = "SERVER", action = ArgAction::Append)]
    pub answered: Vec<String>,

    /// A server that has not answered in this run: it is not contacted again
    #[arg(long, value_name = "SERVER", action = ArgAction::Append)]
    pub silent: Vec<String>,
}

pub fn run(arguments: &WorkerArguments, call: &Call, _: &mut dyn Write) -> Result<Exit, Failure> {
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
