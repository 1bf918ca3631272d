//! Opens the store of a command: to write, or only to look.

use std::io::Write;
use std::sync::Arc;

use super::admission::admitted;
use super::common::Common;
use super::failure::Failure;
use super::places::{StorePlace, shown};
use super::standing;
use crate::store::Store;

/// Opens the store, making it where there is none.
pub fn open_store(place: &StorePlace) -> Result<Store, Failure> {
    let store = admitted(place)?;
    standing::tell(&store)?;
    Ok(store)
}

/// A store to look at. Where there is none yet, an empty one elsewhere that is gone afterwards, so
/// that looking leaves nothing behind.
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

/// Opens the store for a command that only looks.
pub fn look_at_store(place: &StorePlace, common: &Common) -> Result<ReadOnlyStore, Failure> {
    if place.exists() || place.is_other() {
        return Ok(ReadOnlyStore {
            store: Arc::new(open_store(place)?),
            _passing: None,
        });
    }
    if !common.quiet {
        // A note that can't be shown is no reason to stop.
        let _ = writeln!(
            crate::ui::streams::stderr(),
            "note: there is no store at {} yet",
            shown(&place.root)
        );
    }
    let passing = tempfile::tempdir()
        .map_err(|error| Failure::failed(format!("no temporary folder: {error}")))?;
    let store = Store::open(passing.path())?;
    standing::tell(&store)?;
    Ok(ReadOnlyStore {
        store: Arc::new(store),
        _passing: Some(passing),
    })
}
