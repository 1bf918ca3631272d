//! Revoked records: the store uses one only if there is no other record of the key. The store does
//! not know the revocations; it asks a [`RevocationCheck`].

use std::fmt::Debug;
use std::sync::Arc;

use super::record::Accepted;
use super::{Store, StoreError};
use crate::digest::Digest;

/// Knows the revocations.
pub trait RevocationCheck: Send + Sync + Debug {
    /// Whether there are no revocations at all, so that no check is needed.
    fn is_none(&self) -> bool;

    /// Whether a record is revoked: one of `signers` has revoked it, and none of the others is
    /// trusted.
    fn is_revoked(&self, record: &Digest, signers: &[Digest]) -> bool;
}

impl Store {
    /// Sets the revocation check; replaces the former one.
    pub fn set_revocation_check(&self, check: Arc<dyn RevocationCheck>) {
        *self
            .revocations
            .lock()
            .unwrap_or_else(|held| held.into_inner()) = Some(check);
    }

    /// Whether a record, or one of an older version that it repeats, was revoked by its signers.
    pub fn is_revoked(&self, key: &Digest, record: &Digest) -> Result<bool, StoreError> {
        if self.revocation_check().is_none() {
            return Ok(false);
        }
        // A record that can't be read is not used either.
        let stored = self.record(key, record).ok().flatten();
        let accepted = stored.map(|stored| stored.record.provenance.accepted);
        self.is_repetition_revoked(key, record, &accepted.unwrap_or_default())
    }

    /// As [`Store::is_revoked`], for a record that repeats those of `accepted`.
    pub(super) fn is_repetition_revoked(
        &self,
        key: &Digest,
        record: &Digest,
        accepted: &[Accepted],
    ) -> Result<bool, StoreError> {
        let Some(check) = self.revocation_check() else {
            return Ok(false);
        };
        let mut revoked = check.is_revoked(record, &self.signers(key, record)?);
        for one in accepted {
            revoked |= check.is_revoked(&one.record, &self.signers_of_accepted(one)?);
        }
        Ok(revoked)
    }

    /// The signers of an accepted record: those at the time of acceptance, and those whose
    /// signatures were added since.
    pub fn signers_of_accepted(&self, accepted: &Accepted) -> Result<Vec<Digest>, StoreError> {
        let mut signers = self.signers(&accepted.key, &accepted.record)?;
        signers.extend(&accepted.signers);
        signers.sort_unstable();
        signers.dedup();
        Ok(signers)
    }

    fn revocation_check(&self) -> Option<Arc<dyn RevocationCheck>> {
        let check = self
            .revocations
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        check.clone().filter(|check| !check.is_none())
    }

    /// Those of `records` that are not revoked; all of them if every record is revoked.
    pub(super) fn unrevoked(
        &self,
        key: &Digest,
        records: &[Digest],
    ) -> Result<Vec<Digest>, StoreError> {
        let mut stand = Vec::new();
        for record in records {
            if !self.is_revoked(key, record)? {
                stand.push(*record);
            }
        }
        match stand.is_empty() {
            true => Ok(records.to_vec()),
            false => Ok(stand),
        }
    }
}
