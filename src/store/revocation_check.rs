//! Records that somebody has taken back: the store stays with one only as long as there is no
//! other. Who has taken back what is not the store's business; it asks.

use std::fmt::Debug;
use std::sync::Arc;

use super::record::Accepted;
use super::{Store, StoreError};
use crate::digest::Digest;

/// Who knows what has been taken back.
pub trait RevocationCheck: Send + Sync + Debug {
    /// Whether nothing has been taken back at all, so that nobody need be asked.
    fn is_none(&self) -> bool;

    /// Whether a record has lost what spoke for it: somebody of `signers` has taken it back, and
    /// none of the others is trusted.
    fn is_taken_back(&self, record: &Digest, signers: &[Digest]) -> bool;
}

impl Store {
    /// From now on this is asked, in place of what was asked before.
    pub fn doubt(&self, doubt: Arc<dyn RevocationCheck>) {
        *self
            .revocations
            .lock()
            .unwrap_or_else(|held| held.into_inner()) = Some(doubt);
    }

    /// Whether a record, or one of an older version that it repeats, has been taken back by those
    /// who vouched for it.
    pub fn is_taken_back(&self, key: &Digest, record: &Digest) -> Result<bool, StoreError> {
        if self.doubts().is_none() {
            return Ok(false);
        }
        // One that can't be read is not used either.
        let stored = self.record(key, record).ok().flatten();
        let accepted = stored.map(|stored| stored.record.provenance.accepted);
        self.is_repetition_taken_back(key, record, &accepted.unwrap_or_default())
    }

    /// As [`Store::is_taken_back`], of a record that is known to repeat those of `accepted`.
    pub(super) fn is_repetition_taken_back(
        &self,
        key: &Digest,
        record: &Digest,
        accepted: &[Accepted],
    ) -> Result<bool, StoreError> {
        let Some(doubt) = self.doubts() else {
            return Ok(false);
        };
        let mut taken_back = doubt.is_taken_back(record, &self.signers(key, record)?);
        for one in accepted {
            taken_back |= doubt.is_taken_back(&one.record, &self.signers_of_accepted(one)?);
        }
        Ok(taken_back)
    }

    /// Who vouches for an accepted record: those who did when it was accepted, and those whose
    /// signatures have come since.
    pub fn signers_of_accepted(&self, accepted: &Accepted) -> Result<Vec<Digest>, StoreError> {
        let mut signers = self.signers(&accepted.key, &accepted.record)?;
        signers.extend(&accepted.signers);
        signers.sort_unstable();
        signers.dedup();
        Ok(signers)
    }

    fn doubts(&self) -> Option<Arc<dyn RevocationCheck>> {
        let doubt = self
            .revocations
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        doubt.clone().filter(|doubt| !doubt.is_none())
    }

    /// Those of `records` that nobody has taken back; all of them where there is no such one.
    pub(super) fn unrevoked(
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
