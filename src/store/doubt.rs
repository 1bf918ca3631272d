//! Records that somebody has taken back: the store stays with one only as long as there is no
//! other. Who has taken back what is not the store's business; it asks.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Store, StoreError};
use crate::digest::Digest;

/// Who knows what has been taken back.
pub trait Doubt: Send + Sync + Debug {
    /// Whether nothing has been taken back at all, so that nobody need be asked.
    fn is_none(&self) -> bool;

    /// Whether a record has lost what spoke for it: somebody of `signers` has taken it back, and
    /// none of the others is trusted.
    fn is_taken_back(&self, record: &Digest, signers: &[Digest]) -> bool;
}

impl Store {
    /// From now on this is asked, in place of what was asked before.
    pub fn doubt(&self, doubt: Arc<dyn Doubt>) {
        *self.doubt.lock().unwrap_or_else(|held| held.into_inner()) = Some(doubt);
    }

    /// Whether a record has been taken back by those who vouched for it.
    pub fn is_taken_back(&self, key: &Digest, record: &Digest) -> Result<bool, StoreError> {
        let doubt = self.doubt.lock().unwrap_or_else(|held| held.into_inner());
        let doubt = doubt.clone().filter(|doubt| !doubt.is_none());
        match doubt {
            None => Ok(false),
            Some(doubt) => Ok(doubt.is_taken_back(record, &self.signers(key, record)?)),
        }
    }

    /// Those of `records` that nobody has taken back; all of them where there is no such one.
    pub(super) fn undoubted(
        &self,
        key: &Digest,
        records: &[Digest],
    ) -> Result<Vec<Digest>, StoreError> {
        let mut stand = Vec::new();
        for record in records {
            if !self.is_taken_back(key, record)? {
                stand.push(*record);
            }
        }
        match stand.is_empty() {
            true => Ok(records.to_vec()),
            false => Ok(stand),
        }
    }
}
