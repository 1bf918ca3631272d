//! `ribflow cache …`: manages the store, with one file for each subcommand. `store` decides what is
//! collected, checked or chosen; these files parse and print.

mod adopt;
mod choose;
mod claims;
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

use clap::Args;

use super::call::{Call, subcommands};
use super::common::Common;
use super::failure::{Exit, Failure};
use super::locations::{self, Locations};
use super::stores::ReadOnlyStore;
use super::workflow_files;
use crate::cli::stores;
use crate::diag::listed;
use crate::digest::Digest;
use crate::store::{Store, StoreError};
use crate::ui::text::printable;

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache gc --dry-run                  show what would be removed
  ribflow cache gc --max-size 500GB           remove until the store fits
  ribflow cache pin grid.yaml --name paper    keep these results
  ribflow cache verify                        check everything against its digest
  ribflow cache du                            show disk usage

The store is that of the current folder or of the workflow, or the one given by --store.";

/// Manage the store
///
/// The store is a folder of records, which describe results, and of blobs, which records name.
/// Nothing is removed automatically. `gc` cleans the store and never removes what a pin, an active
/// run or a kept run needs.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct CacheArguments {
    #[command(subcommand)]
    pub command: CacheCommand,
}

subcommands! {
    CacheCommand {
        Adopt(adopt::AdoptArguments) => adopt::run,
        Gc(gc::GcArguments) => gc::run,
        Verify(verify::CheckArguments) => verify::run,
        Pin(pins::PinArguments) => pins::pin,
        Unpin(pins::UnpinArguments) => pins::unpin,
        Pins(pins::PinsArguments) => pins::list,
        Ls(ls::LsArguments) => ls::run,
        Du(du::DuArguments) => du::run,
        Forget(forget::ForgetArguments) => forget::run,
        Choose(choose::ChooseArguments) => choose::run,
        Claims(claims::ClaimsArguments) => claims::run,
        Release(pins::ReleaseArguments) => pins::release,
        Stats(stats::StatsArguments) => stats::run,
    }
}

pub fn run(
    arguments: &CacheArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    arguments.command.run(call, output)
}

/// The store of `workflow`, or of the current folder without one.
fn locations_of(workflow: Option<&Path>, common: &Common) -> Locations {
    Locations::of(workflow.unwrap_or(Path::new("workflow.yaml")), common)
}

/// The workflow file that `place` identifies, as a user would type it.
fn file_of(store: &Store, place: &Digest) -> Option<String> {
    let file = workflow_files::file(store, place)?;
    Some(printable(&locations::shown(&file)))
}

/// The workflow file or, if it is unknown here, a short identifier.
fn workflow_label(store: &Store, place: &Digest) -> String {
    let unknown = || format!("not known here, {}", place.short());
    file_of(store, place).unwrap_or_else(unknown)
}

/// Opens a store that exists: a mistyped `--store` must not be created and then cleaned.
pub fn existing(workflow: Option<&Path>, common: &Common) -> Result<Store, Failure> {
    let place = locations_of(workflow, common).store;
    if !place.exists() && !place.is_other() {
        let message = format!("there is no store at {}", locations::shown(&place.root));
        let hint = "choose another store with `--store` or RIBFLOW_STORE";
        return Err(Failure::usage("no-store", message).hint(hint));
    }
    stores::open_store(&place)
}

pub fn existing_read_only(
    workflow: Option<&Path>,
    common: &Common,
) -> Result<ReadOnlyStore, Failure> {
    stores::open_read_only(&locations_of(workflow, common).store, common)
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Pinned { pin, .. } => Self::usage("pinned", error.to_string())
                .hint(format!("remove the pin with `ribflow cache unpin {pin}`")),
            StoreError::SeveralPins { labels, .. } => {
                let labels = listed(labels.iter().map(String::as_str));
                Self::usage("ambiguous-pin", error.to_string()).hint(format!(
                    "use one of {labels}; `ribflow cache pins` shows their workflow files"
                ))
            }
            StoreError::InUse { .. } => claims::in_use(&error),
            StoreError::PinName(_) => Self::usage("pin-name", error.to_string()),
            StoreError::NothingToPin { id } => Self::usage("nothing-to-pin", error.to_string())
                .hint(format!("compute it with `ribflow run FILE '{id}'`")),
            _ => Self::from_error(&error),
        }
    }
}
