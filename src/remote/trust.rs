//! Whose word is taken: keys that the user has named, what they have taken back, and what a remote
//! must show before its records are used.

use std::collections::{BTreeMap, BTreeSet};

use super::signing::PublicKey;
use super::statement::{Revocation, Revoked};
use crate::digest::Digest;
use crate::store::RevocationCheck;

/// The signers that are believed, by name, and everything that is known to be taken back.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    signers: BTreeMap<PublicKey, String>,
    revoked_keys: BTreeMap<PublicKey, String>,
    /// Only who signed a record can take it back.
    revoked_records: BTreeMap<(PublicKey, Digest), String>,
}

/// What is thought of a signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// By its name.
    Trusted(String),
    Unknown,
    /// Why its owner took the key, or the record, back.
    Revoked(String),
}

impl Trust {
    /// Believes `key`, and calls it `name`.
    pub fn add(&mut self, name: &str, key: PublicKey) {
        self.signers.insert(key, name.to_string());
    }

    /// Takes notice of what `signer` takes back. The envelope has been checked.
    pub fn revoke(&mut self, signer: PublicKey, revocation: &Revocation) {
        let reason = revocation.reason.clone();
        match revocation.revoked {
            Revoked::Key => self.revoked_keys.insert(signer, reason),
            Revoked::Record(record) => self.revoked_records.insert((signer, record), reason),
        };
    }

    /// What is thought of `signer`'s word for `record`.
    pub fn standing(&self, signer: &PublicKey, record: &Digest) -> Standing {
        let record = || Some(self.revoked_records.get(&(*signer, *record))?.as_str());
        if let Some(reason) = self.taken_back(signer).or_else(record) {
            return Standing::Revoked(reason.to_string());
        }
        match self.signers.get(signer) {
            Some(name) => Standing::Trusted(name.clone()),
            None => Standing::Unknown,
        }
    }

    /// What a signer is called, if it is trusted.
    pub fn name(&self, signer: &PublicKey) -> Option<&str> {
        self.signers.get(signer).map(String::as_str)
    }

    /// Everybody who is trusted, with their names.
    pub fn signers(&self) -> impl Iterator<Item = (&PublicKey, &str)> {
        let signers = self.signers.iter();
        signers.map(|(key, name)| (key, name.as_str()))
    }

    /// Why its owner took the key back, if that is so.
    pub fn taken_back(&self, key: &PublicKey) -> Option<&str> {
        self.revoked_keys.get(key).map(String::as_str)
    }

    /// Who of `signers` has taken back a record, by name or else by key, and why.
    pub fn taken_back_by(&self, record: &Digest, signers: &[Digest]) -> Vec<(String, String)> {
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

    /// Whether nothing is known to be taken back.
    pub fn takes_all(&self) -> bool {
        self.revoked_keys.is_empty() && self.revoked_records.is_empty()
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.signers.is_empty()
    }
}

impl RevocationCheck for Trust {
    fn is_none(&self) -> bool {
        self.takes_all()
    }

    fn is_taken_back(&self, record: &Digest, signers: &[Digest]) -> bool {
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

/// What a remote's records must have to be taken.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Names of signers of whom one must have signed; empty: any that is trusted.
    pub require: BTreeSet<String>,
    /// So many labs must have come to the same outcome.
    pub quorum: usize,
    /// The share of reused nodes that is computed again and compared, 0 to 1.
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

/// A share as people write it: `5%` or `0.05`; from nothing to all.
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
    // What comes of dividing by a hundred is not shown.
    format!("{}%", (share * 1e8).round() / 1e6)
}

impl Policy {
    /// Whether the word of these signers, by name, is enough.
    pub fn accepts(&self, signers: &BTreeSet<String>) -> bool {
        let required = self.require.is_empty() || !self.require.is_disjoint(signers);
        required && signers.len() >= self.quorum.max(1)
    }
}
