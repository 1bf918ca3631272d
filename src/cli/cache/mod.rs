//! `ribflow cache …`: looking after the store, one file for each subcommand. What is collected, checked
//! or chosen is decided in `store`; here it is asked for and printed.

mod adopt;
pub mod arguments;
mod choose;
mod du;
mod forget;
mod gc;
mod labels;
mod ls;
mod owners;
mod pins;
mod stats;
mod verify;

use std::io::Write;
use std::path::Path;

use self::arguments::{CacheArguments, CacheCommand};
use super::arguments::Common;
use super::failure::{Exit, Failure};
use super::places::{self, Places, ReadOnlyStore};
use super::projects;
use crate::diag::listed;
use crate::digest::Digest;
use crate::store::{Store, StoreError};
use crate::ui::words::printable;

pub fn run(
    arguments: &CacheArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    match &arguments.command {
        CacheCommand::Adopt(arguments) => adopt::run(arguments, common, output),
        CacheCommand::Gc(arguments) => gc::run(arguments, common, output),
        CacheCommand::Verify(arguments) => verify::run(arguments, common, output),
        CacheCommand::Pin(arguments) => pins::pin(arguments, common, output),
        CacheCommand::Unpin(arguments) => pins::unpin(arguments, common, output),
        CacheCommand::Pins => pins::list(common, output),
        CacheCommand::Ls(arguments) => ls::run(arguments, common, output),
        CacheCommand::Du => du::run(common, output),
        CacheCommand::Forget(arguments) => forget::run(arguments, common, output),
        CacheCommand::Choose(arguments) => choose::run(arguments, common, output),
        CacheCommand::Release(arguments) => pins::release(arguments, common, output),
        CacheCommand::Stats => stats::run(common, output),
    }
}

/// The store of `workflow`, or where there is none, of the current folder.
fn places_of(workflow: Option<&Path>, common: &Common) -> Places {
    Places::of(workflow.unwrap_or(Path::new("workflow.yaml")), common)
}

/// The workflow file that `place` stands for, as a person at the prompt would write it.
fn file_of(store: &Store, place: &Digest) -> Option<String> {
    let file = projects::file(store, place)?;
    Some(printable(&places::shown(&file)))
}

/// The same, or what tells it from others where it is not known here.
fn whose(store: &Store, place: &Digest) -> String {
    let unknown = || format!("not known here, {}", place.short());
    file_of(store, place).unwrap_or_else(unknown)
}

/// A store that is there: a mistyped `--store` must not be made and then cleaned.
pub fn existing(workflow: Option<&Path>, common: &Common) -> Result<Store, Failure> {
    let place = places_of(workflow, common).store;
    if !place.exists() {
        let message = format!("there is no store at {}", places::shown(&place.root));
        let hint = "`--store` or RIBFLOW_STORE names another";
        return Err(Failure::usage("no-store", message).hint(hint));
    }
    places::open_store(&place)
}

fn looked_at(workflow: Option<&Path>, common: &Common) -> Result<ReadOnlyStore, Failure> {
    places::look_at_store(&places_of(workflow, common).store, common)
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Pinned { pin, .. } => Self::usage("pinned", error.to_string())
                .hint(format!("`ribflow cache unpin {pin}` takes the pin away")),
            StoreError::SeveralPins { labels, .. } => {
                let labels = listed(labels.iter().map(String::as_str));
                Self::usage("ambiguous-pin", error.to_string()).hint(format!(
                    "one of {labels}; `ribflow cache pins` says whose they are"
                ))
            }
            StoreError::PinName(_) => Self::usage("pin-name", error.to_string()),
            StoreError::NothingToPin { id } => Self::usage("nothing-to-pin", error.to_string())
                .hint(format!("`ribflow run FILE '{id}'` makes it")),
            _ => Self::from_error(&error),
        }
    }
}
