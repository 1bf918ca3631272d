//! `ribflow cache adopt DIR`: a store that came from elsewhere, or from an earlier ribflow, is the
//! user's own from now on.

use std::io::Write;

use serde_json::json;

use super::arguments::AdoptArguments;
use crate::cli::admission;
use crate::cli::again::quoted;
use crate::cli::arguments::Common;
use crate::cli::failure::{Exit, Failure};
use crate::cli::places::shown;
use crate::digest::Digest;
use crate::store::{Identity, Store, StoreError, new_id};

pub fn run(
    arguments: &AdoptArguments,
    common: &Common,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let root = std::path::absolute(&arguments.folder).unwrap_or(arguments.folder.clone());
    let id = match Store::identity(&root) {
        Ok(Identity::Of(id)) => listed(&id).map(|()| id)?,
        Ok(Identity::NoStore) => return Err(no_store(arguments)),
        Ok(Identity::Unnamed) | Err(StoreError::DamagedDescription { .. }) => {
            let id = new_id()?;
            listed(&id)?;
            let given = Store::give_identity(&root, id)?;
            // Another process may have been faster.
            listed(&given)?;
            given
        }
        Err(error) => return Err(error.into()),
    };
    // Whether it can be used at all.
    let store = Store::open(&root)?;
    let keys = store.keys()?.len();
    if common.json {
        writeln!(output, "{}", json!({ "id": id, "keys": keys }))?;
    } else if !common.quiet {
        let root = shown(&root);
        writeln!(
            output,
            "{root} is yours from now on, wherever it is moved: the results of {keys} keys count \
             as your own."
        )?;
    }
    Ok(Exit::Done)
}

fn listed(id: &Digest) -> Result<(), Failure> {
    admission::list(id).map_err(|why| {
        Failure::failed(format!("the list of your stores can't be written: {why}"))
            .hint("without it, `--store` or RIBFLOW_STORE names the store for each command")
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
        false => failure.hint("the folder of a store holds a `store.json`"),
    }
}
