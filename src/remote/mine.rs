//! The stores that are this user's: made here, or adopted. One empty file for each, named by the
//! store's identity, so that any number of processes may add some at once.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::home::Home;
use crate::digest::Digest;
use crate::fsx;

/// The list can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct MineError {
    path: PathBuf,
    source: io::Error,
}

/// Whether the store of this identity is the user's.
pub fn knows(home: &Home, id: &Digest) -> Result<bool, MineError> {
    let path = home.stores().join(id.to_hex());
    match fs::symlink_metadata(&path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(MineError { path, source }),
    }
}

/// From now on the store of this identity is the user's; durable once it returns.
pub fn add(home: &Home, id: &Digest) -> Result<(), MineError> {
    let folder = home.stores();
    let path = folder.join(id.to_hex());
    let failed = |source| MineError {
        path: path.clone(),
        source,
    };
    fs::create_dir_all(&folder).map_err(failed)?;
    // It may be there already.
    fsx::create_durably(&path, &folder, fsx::SHARED, b"").map_err(failed)?;
    Ok(())
}

/// Takes a store off the list that could not be made.
pub fn remove(home: &Home, id: &Digest) {
    // One that stays on the list names no store.
    let _ = fs::remove_file(home.stores().join(id.to_hex()));
}
