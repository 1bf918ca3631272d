//! A scratch store beside another store: writes go into the scratch store, and blobs that it lacks
//! are read from the other one. So nodes can run again without changing the store.

use std::path::Path;
use std::sync::Arc;

use super::artifact::Blobs;
use super::layout::{STAT_INDEX, TREE_INDEX};
use super::{BlobRequest, BlobSource, ForeignRecord, Record, Store, StoreError};
use crate::digest::Digest;
use crate::fsx::{self, calls};

/// Provides the blobs of another store.
#[derive(Debug)]
pub struct FromStore(pub Arc<Store>);

impl BlobSource for FromStore {
    fn fetch(&self, store: &Store, wanted: &[BlobRequest]) {
        self.0.obtain(wanted);
        for BlobRequest { digest, .. } in wanted {
            // `path` verifies the blob. One that the other store lacks is missing here, too.
            let Ok(path) = self.0.path(digest) else {
                continue;
            };
            if let Err(error) = bring(store, &path, digest) {
                tracing::warn!("{}: {error}", path.display());
            }
        }
    }
}

/// Adds the blob in the file `path` to `store`, by a hard link if possible.
fn bring(store: &Store, path: &Path, digest: &Digest) -> Result<(), StoreError> {
    let folder = store.scratch()?;
    let link = folder.path().join("blob");
    let linked = link_or_copy(path, &link).map_err(StoreError::io(&link));
    linked.and_then(|()| Ok(store.take_in(&link, digest)?))
}

/// A file of another user may be readable although it can't be linked.
fn link_or_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    calls::hard_link(from, to).or_else(|_| calls::copy(from, to).map(|_| ()))
}

/// A store in the `tmp/` of another one, removed on drop.
#[derive(Debug)]
pub struct ScratchStore {
    store: Arc<Store>,
    _folder: fsx::DraftFolder,
}

impl ScratchStore {
    /// A store beside `other`, with these of its records and its indexes of outside files.
    pub fn beside(
        other: &Arc<Store>,
        records: impl Iterator<Item = Record>,
    ) -> Result<Self, StoreError> {
        let folder = other.scratch()?;
        let store = Arc::new(Store::open_with(
            folder.path(),
            None,
            Some(other.claims_form()),
        )?);
        for index in [STAT_INDEX, TREE_INDEX] {
            copy_index(&other.root.join(index), &store.root.join(index));
        }
        let records: Vec<ForeignRecord> = records
            .map(|record| ForeignRecord {
                record,
                signatures: Vec::new(),
            })
            .collect();
        store.adopt(&records)?;
        store.set_blob_source(Arc::new(FromStore(Arc::clone(other))));
        Ok(Self {
            store,
            _folder: folder,
        })
    }

    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }
}

/// Copies the files of an index, which only saves time. Index files are replaced as a whole and
/// never changed, so a link is enough.
fn copy_index(from: &Path, to: &Path) {
    let Ok(entries) = calls::read_dir(from) else {
        return;
    };
    if calls::create_dir_all(to).is_ok() {
        for entry in entries.flatten() {
            let _ = link_or_copy(&entry.path(), &to.join(entry.file_name()));
        }
    }
}
