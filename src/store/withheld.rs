//! What may not be passed on: markers for blobs that hold pixels of a dataset whose licence
//! forbids it, or what was made of them. Whatever hands out bytes asks here first.

use std::fs;

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx;

/// The folder of the markers: an empty file for each blob.
pub(super) const WITHHELD: &str = "withheld";

impl Store {
    /// Whether the blob `digest` must stay in this store.
    pub fn is_withheld(&self, digest: &Digest) -> bool {
        self.marker(digest).exists()
    }

    /// From now on these blobs stay in this store, whether they are here yet or not.
    pub fn withhold(&self, digests: &[Digest]) -> Result<(), StoreError> {
        for digest in digests {
            let marker = self.marker(digest);
            if !marker.exists() {
                let tmp = self.session_folder()?;
                fsx::replace(&marker, &tmp, fsx::SEALED, b"").map_err(StoreError::io(&marker))?;
            }
        }
        Ok(())
    }

    /// Takes a marker away: the blob may be passed on after all.
    pub fn release(&self, digest: &Digest) -> Result<(), StoreError> {
        let marker = self.marker(digest);
        match fs::remove_file(&marker) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(StoreError::io(&marker)(error))
            }
            _ => Ok(()),
        }
    }

    fn marker(&self, digest: &Digest) -> std::path::PathBuf {
        let hex = digest.to_hex();
        self.root().join(WITHHELD).join(&hex[..2]).join(&hex[2..])
    }
}
