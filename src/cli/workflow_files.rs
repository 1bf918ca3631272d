//! Identifies the workflow file of a journal or a pin: two workflows with the same name in
//! different folders can share a store.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::engine::journal;
use crate::remote::home::Home;
use crate::remote::projects;
use crate::store::Store;

/// Remembers the path of the workflow file of a run or a pin. Only messages use it, so a failure to
/// write it is not an error.
pub fn note(store: &Store, workflow: &Path) {
    let Some(place) = journal::place(workflow, store) else {
        return;
    };
    let (Ok(home), Ok(path)) = (Home::of_user(), workflow.canonicalize()) else {
        return;
    };
    if let Err(error) = projects::note(&home, &place, &path) {
        tracing::debug!("the path of the workflow could not be saved: {error}");
    }
}

/// The workflow file that `place` identifies; `None` if this user has never used it.
pub fn file(store: &Store, place: &Digest) -> Option<PathBuf> {
    let path = projects::path(&Home::of_user().ok()?, place)?;
    // The file may have been edited by hand.
    (journal::place(&path, store) == Some(*place)).then_some(path)
}
