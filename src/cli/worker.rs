//! `ribflow worker --store DIR`: executes jobs for the process that started it. Not for people.

use std::process::ExitCode;

use super::arguments::Common;
use super::failure::Failure;
use super::places;
use crate::{engine, stages};

pub fn run(common: &Common) -> Result<ExitCode, Failure> {
    let root = common.store.as_ref().ok_or_else(|| {
        Failure::usage(
            "command-line",
            "a worker needs the `--store` that it works for",
        )
    })?;
    let store = places::open_store(root)?;
    Ok(engine::serve_worker(&store, &stages::registry()))
}
