//! Trust: the keys that the user trusts, their revocations, and the policy for the records of a
//! remote.

use std::collections::{BTreeMap, BTreeSet};

use super::signing::PublicKey;
use super::statement::{Revocation, Revoked};
use crate::digest::Digest;
use crate::store::RevocationCheck;

/// The trusted signers by name, and all known revocations.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    signers: BTreeMap<PublicKey, String>,
    revoked_keys: BTreeMap<PublicKey, String>,
    /// Only a signer of a record can revoke it.
    revoked_records: BTreeMap<(PublicKey, Digest), String>,
}

/// The trust in a signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Trusted, under this name.
    Trusted(String),
    Unknown,
    /// The owner revoked the key or the record, for this reason.
    Revoked(String),
}

impl Trust {
    /// Trusts `key` under the name `name`.
    pub fn add(&mut self, name: &str, key: PublicKey) {
        self.signers.insert(key, name.to_string());
    }

    /// Adds a revocation of `signer`. The caller has verified the envelope.
    pub fn revoke(&mut self, signer: PublicKey, revocation: &Revocation) {
        let reason = revocation.reason.clone();
        match revocation.revoked {
            Revoked::Key => self.revoked_keys.insert(signer, reason),
            Revoked::Record(record) => self.revoked_records.insert((signer, record), reason),
        };
    }

    /// The trust in `signer`'s statement about `record`.
    pub fn standing(&self, signer: &PublicKey, record: &Digest) -> Standing {
        let record = || Some(self.revoked_records.get(&(*signer, *record))?.as_str());
        if let Some(reason) = self.revocation_of(signer).or_else(record) {
            return Standing::Revoked(reason.to_string());
        }
        match self.signers.get(signer) {
            Some(name) => Standing::Trusted(name.clone()),
            None => Standing::Unknown,
        }
    }

    /// The name of a signer, if it is trusted.
    pub fn name(&self, signer: &PublicKey) -> Option<&str> {
        self.signers.get(signer).map(String::as_str)
    }

    /// All trusted signers, with their names.
    pub fn signers(&self) -> impl Iterator<Item = (&PublicKey, &str)> {
        let signers = self.signers.iter();
        signers.map(|(key, name)| (key, name.as_str()))
    }

    /// Why the owner revoked the key, if it is revoked.
    pub fn revocation_of(&self, key: &PublicKey) -> Option<&str> {
        self.revoked_keys.get(key).map(String::as_str)
    }

    /// Those of `signers` who revoked a record, by name or else by key, with their reasons.
    pub fn revoked_by(&self, record: &Digest, signers: &[Digest]) -> Vec<(String, String)> {
        let signers = signers.iter().map(PublicKey::from_name);
        let revoked = signers.filter_map(|signer| match self.standing(&signer, record) {
            Standing::Revoked(reason) => {
                let name = self.name(&signer).map(str::to_string);
                Some((name.unwrap_or_else(|| signer.to_string()), reason))
            }
            _ => None,
        });
        revoked.collect()
    }

    /// Whether there are no known revocations.
    pub fn has_no_revocations(&self) -> bool {
        self.revoked_keys.is_empty() && self.revoked_records.is_empty()
    }

    /// Whether no signer is trusted.
    pub fn is_empty(&self) -> bool {
        self.signers.is_empty()
    }
}

impl RevocationCheck for Trust {
    fn is_none(&self) -> bool {
        self.has_no_revocations()
    }

    fn is_revoked(&self, record: &Digest, signers: &[Digest]) -> bool {
        let signers = signers.iter().map(PublicKey::from_name);
        let standings: Vec<Standing> = signers
            .map(|signer| self.standing(&signer, record))
            .collect();
        let stands = standings
            .iter()
            .any(|one| matches!(one, Standing::Trusted(_)));
        let revoked = standings
            .iter()
            .any(|one| matches!(one, Standing::Revoked(_)));
        revoked && !stands
    }
}

/// The conditions for taking a remote's records.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// One of these signers must have signed; empty: any trusted one.
    pub require: BTreeSet<String>,
    /// The number of labs that must have the same outcome.
    pub quorum: usize,
    /// The share of reused nodes to recompute and compare, 0 to 1.
    pub recheck: f64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            require: BTreeSet::new(),
            quorum: 1,
            recheck: 0.0,
        }
    }
}

/// Parses a share: `5%` or `0.05`, from 0 to 1.
pub fn share(text: &str) -> Option<f64> {
    let number = |text: &str| text.trim_end().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent)? / 100.0,
        None => number(text)?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

/// `5%`, as [`share`] reads it.
pub fn shown_share(share: f64) -> String {
    // Hides the rounding error of the division by a hundred.
    format!("{}%", (share * 1e8).round() / 1e6)
}

impl Policy {
    /// Whether signatures of these signers, by name, suffice.
    pub fn accepts(&self, signers: &BTreeSet<String>) -> bool {
        let required = self.require.is_empty() || !self.require.is_disjoint(signers);
        required && signers.len() >= self.quorum.max(1)
    }
}
