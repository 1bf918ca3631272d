//! Which workflow file a journal or a pin is of: workflows of one name in two folders are two, and
//! a store may be that of both.

use std::path::{Path, PathBuf};

use crate::digest::Digest;
use crate::engine::journal;
use crate::remote::home::Home;
use crate::remote::projects;
use crate::store::Store;

/// Remembers where the workflow file of a run or a pin is. Only ever a help to later messages, so
/// a folder that can't be written is no reason to stop.
pub fn note(store: &Store, workflow: &Path) {
    let Some(place) = journal::place(workflow, store) else {
        return;
    };
    let (Ok(home), Ok(path)) = (Home::of_user(), workflow.canonicalize()) else {
        return;
    };
    if let Err(error) = projects::note(&home, &place, &path) {
        tracing::debug!("the place of the workflow could not be kept: {error}");
    }
}

/// The workflow file that `place` stands for; `None` where this user has never used it.
pub fn file(store: &Store, place: &Digest) -> Option<PathBuf> {
    let path = projects::path(&Home::of_user().ok()?, place)?;
    // The note may have been changed by hand.
    (journal::place(&path, store) == Some(*place)).then_some(path)
}
