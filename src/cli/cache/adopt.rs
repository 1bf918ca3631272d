//! `ribflow cache adopt DIR`: marks a store from elsewhere, or from an earlier version, as the
//! user's own.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde_json::json;

use crate::cli::admission;
use crate::cli::call::Call;
use crate::cli::failure::{Exit, Failure};
use crate::cli::invocation::quoted;
use crate::cli::locations::shown;
use crate::digest::Digest;
use crate::store::{Identity, Store, StoreError, new_id};

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow cache adopt cache                   the store beside the workflow
  ribflow cache adopt /data/lab/cache         a store that a colleague created";

/// Mark a store from elsewhere as your own
///
/// A store found beside a workflow is used only if you created or adopted it. Otherwise a store
/// that came with a clone, an archive or an import could pass its records off as your results.
/// Adopt a store only if you would publish its results under your own name.
///
/// A store that you move or copy stays yours. A store from an earlier version must be adopted once,
/// which gives it an identity. `--store` and RIBFLOW_STORE use a store for one command without
/// adopting it.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct AdoptArguments {
    /// The folder of the store, which contains `store.json`
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

pub fn run(
    arguments: &AdoptArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let root = std::path::absolute(&arguments.folder).unwrap_or(arguments.folder.clone());
    let id = match Store::identity(&root) {
        Ok(Identity::Of(id)) => listed(&id).map(|()| id)?,
        Ok(Identity::NoStore) => return Err(no_store(arguments)),
        Ok(Identity::Unnamed) | Err(StoreError::DamagedDescription { .. }) => {
            let id = new_id()?;
            listed(&id)?;
            let given = Store::give_identity(&root, id)?;
            // Another process may have done it first.
            listed(&given)?;
            given
        }
        Err(error) => return Err(error.into()),
    };
    // Check that the store can be opened.
    let store = Store::open(&root)?;
    let keys = store.keys()?.len();
    if common.json {
        writeln!(output, "{}", json!({ "id": id, "keys": keys }))?;
    } else if !common.quiet {
        let root = shown(&root);
        writeln!(
            output,
            "{root} is yours now, wherever you move it: the results of {keys} keys count as your \
             own."
        )?;
    }
    Ok(Exit::Done)
}

fn listed(id: &Digest) -> Result<(), Failure> {
    admission::list(id).map_err(|why| {
        Failure::failed(format!("the list of your stores can't be written: {why}"))
            .hint("name the store for each command with `--store` or RIBFLOW_STORE instead")
    })
}

fn no_store(arguments: &AdoptArguments) -> Failure {
    let folder = &arguments.folder;
    let message = format!("there is no store at {}", folder.display());
    let inner = folder.join("cache");
    let failure = Failure::usage("no-store", message);
    match inner.join("store.json").exists() {
        true => failure.hint(format!(
            "`ribflow cache adopt {}`",
            quoted(&inner.display().to_string())
        )),
        false => failure.hint("the folder of a store contains a `store.json`"),
    }
}
