//! Records with withheld content inline: a cache for `Store::may_share`, for records that are
//! requested often.

use std::io;
use std::sync::{Arc, Mutex};

use super::MOST_REMEMBERED;
use crate::digest::Digest;
use crate::store::{Recent, Record, Store};

/// The inline artifacts of the records that were read.
#[derive(Debug)]
pub struct InlineCache(Mutex<Recent<Digest, Arc<[Digest]>>>);

impl Default for InlineCache {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(MOST_REMEMBERED)))
    }
}

impl InlineCache {
    /// Whether the record `digest`, whose bytes `read` returns, may be shared.
    pub fn may_share(
        &self,
        store: &Store,
        digest: &Digest,
        read: impl FnOnce() -> io::Result<Option<Vec<u8>>>,
    ) -> io::Result<bool> {
        let held = self.of(store, digest, read)?;
        // Check each time: what may be shared can change, the content of a record can't.
        Ok(!held.iter().any(|artifact| store.is_withheld(artifact)))
    }

    fn of(
        &self,
        store: &Store,
        digest: &Digest,
        read: impl FnOnce() -> io::Result<Option<Vec<u8>>>,
    ) -> io::Result<Arc<[Digest]>> {
        let lock = || self.0.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(known) = lock().get(digest) {
            return Ok(known);
        }
        let Some(bytes) = read()? else {
            return Ok(Arc::new([]));
        };
        // Bytes that are not this record are not served either.
        let record = serde_json::from_slice::<Record>(&bytes);
        let Some(record) = record.ok().filter(|_| Digest::of(&bytes) == *digest) else {
            return Ok(Arc::new([]));
        };
        let inline: Arc<[Digest]> = store.holding(&record).collect();
        lock().insert(*digest, inline.clone());
        Ok(inline)
    }
}
