//! The user's own stores: created or adopted. Each is an empty file named by the store's identity,
//! so that any number of processes can add entries concurrently.

use std::io;
use std::path::PathBuf;

use super::home::Home;
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls;

/// The list can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct OwnStoresError {
    path: PathBuf,
    source: io::Error,
}

/// Whether the store with this identity belongs to the user.
pub fn knows(home: &Home, id: &Digest) -> Result<bool, OwnStoresError> {
    let path = home.stores().join(id.to_hex());
    match calls::symlink_metadata(&path) {
        Ok(metadata) => Ok(metadata.is_file()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(OwnStoresError { path, source }),
    }
}

/// Adds the store with this identity. Durable on return.
pub fn add(home: &Home, id: &Digest) -> Result<(), OwnStoresError> {
    let folder = home.stores();
    let path = folder.join(id.to_hex());
    let failed = |source| OwnStoresError {
        path: path.clone(),
        source,
    };
    calls::create_dir_all(&folder).map_err(failed)?;
    // It may exist already.
    fsx::create_durably(&path, &folder, fsx::SHARED, b"").map_err(failed)?;
    Ok(())
}

/// Removes a store that could not be created.
pub fn remove(home: &Home, id: &Digest) {
    // A leftover entry is harmless: it matches no store.
    let _ = calls::remove_file(home.stores().join(id.to_hex()));
}
