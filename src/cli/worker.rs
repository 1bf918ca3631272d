//! `ribflow worker --store DIR`: executes jobs for the process that started it. Not for people.

use std::process::ExitCode;
use std::sync::Arc;

use super::arguments::{Common, WorkerArguments};
use super::failure::Failure;
use super::places::{self, StorePlace};
use super::sharing;
use crate::remote::web::silence::{self, Verdicts};
use crate::store::{Beside, Store};
use crate::{engine, stages};

pub fn run(arguments: &WorkerArguments, common: &Common) -> Result<ExitCode, Failure> {
    let root = common.store.as_ref().ok_or_else(|| {
        Failure::usage(
            "command-line",
            "a worker needs the `--store` that it works for",
        )
    })?;
    // Whoever started the worker has taken the store.
    let store = places::open_store(&StorePlace::named(root))?;
    silence::learn(&Verdicts {
        answered: arguments.answered.clone(),
        silent: arguments.silent.clone(),
    });
    match &arguments.beside {
        None => look_at_remotes(&store, &arguments.remotes)?,
        Some(beside) => {
            let beside = places::open_store(&StorePlace::named(beside))?;
            look_at_remotes(&beside, &arguments.remotes)?;
            store.look_elsewhere(Arc::new(Beside(Arc::new(beside))));
        }
    }
    Ok(engine::serve_worker(&store, &stages::registry()))
}

fn look_at_remotes(store: &Store, remotes: &[String]) -> Result<(), Failure> {
    if !remotes.is_empty() {
        store.look_elsewhere(Arc::new(sharing::exchange(remotes, store)?));
    }
    Ok(())
}
