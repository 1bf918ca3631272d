//! Opens the store of a command, for writing or read-only.

use std::io::Write;
use std::sync::Arc;

use super::admission::admitted;
use super::common::Common;
use super::failure::Failure;
use super::locations::{StoreLocation, shown};
use super::record_standing;
use crate::store::Store;

/// Opens the store and creates it if it does not exist.
pub fn open_store(place: &StoreLocation) -> Result<Store, Failure> {
    let store = admitted(place)?;
    record_standing::load_revocations(&store)?;
    Ok(store)
}

/// A read-only store. If the store does not exist, this is an empty temporary one, so that reading
/// creates nothing.
pub struct ReadOnlyStore {
    store: Arc<Store>,
    _passing: Option<tempfile::TempDir>,
}

impl ReadOnlyStore {
    pub fn shared(&self) -> &Arc<Store> {
        &self.store
    }
}

impl std::ops::Deref for ReadOnlyStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Opens the store for a command that only reads.
pub fn open_read_only(place: &StoreLocation, common: &Common) -> Result<ReadOnlyStore, Failure> {
    if place.exists() || place.is_other() {
        return Ok(ReadOnlyStore {
            store: Arc::new(open_store(place)?),
            _passing: None,
        });
    }
    if !common.quiet {
        // Failing to print a note must not stop the command.
        let _ = writeln!(
            crate::ui::streams::stderr(),
            "note: there is no store at {} yet",
            shown(&place.root)
        );
    }
    let passing = tempfile::tempdir()
        .map_err(|error| Failure::failed(format!("can't create a temporary folder: {error}")))?;
    let store = Store::open(passing.path())?;
    record_standing::load_revocations(&store)?;
    Ok(ReadOnlyStore {
        store: Arc::new(store),
        _passing: Some(passing),
    })
}
