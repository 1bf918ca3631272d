//! Records that hold themselves what a licence withholds: `Store::may_share`, of records that are
//! asked for again and again.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use crate::digest::Digest;
use crate::store::{Record, Store};

/// What stands in which records, as far as they have been read.
#[derive(Debug, Default)]
pub struct Inline(Mutex<HashMap<Digest, Arc<[Digest]>>>);

impl Inline {
    /// Whether the record `digest`, whose bytes `read` gives, may be passed on.
    pub fn may_go(
        &self,
        store: &Store,
        digest: &Digest,
        read: impl FnOnce() -> io::Result<Option<Vec<u8>>>,
    ) -> io::Result<bool> {
        let held = self.of(store, digest, read)?;
        // Asked anew each time: what may be passed on can change, what a record holds can't.
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
            return Ok(known.clone());
        }
        let Some(bytes) = read()? else {
            return Ok(Arc::new([]));
        };
        // What is no record, or not this one, is not handed out whole either.
        let record = serde_json::from_slice::<Record>(&bytes);
        let Some(record) = record.ok().filter(|_| Digest::of(&bytes) == *digest) else {
            return Ok(Arc::new([]));
        };
        let inline: Arc<[Digest]> = store.holding(&record).collect();
        lock().insert(*digest, inline.clone());
        Ok(inline)
    }
}
