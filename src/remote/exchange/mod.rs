//! Sharing with other stores: looking for records, fetching blobs, pushing what was made here.
//!
//! Nothing that comes from a remote is believed: a record must hash to its name, fit its key, and
//! be signed by someone trusted; a blob must hash to its name. What does not is named and left.

mod agreement;
mod blobs;
pub(super) mod parallel;
mod parts;
mod push;
mod records;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::patience::Patient;
use super::signing::{PublicKey, SecretKey};
use super::trust::{Policy, Trust};
use crate::digest::Digest;

pub use agreement::{Agreement, same_bits, same_outcome};
pub use blobs::MOST_UNTOLD;
pub use push::{PushError, Pushed, Pushing};
pub use records::{Asked, Found, Refusal, Taken, Why};

/// Another store, and on what terms it is used.
pub struct Neighbour {
    /// As the user calls it.
    pub name: String,
    pub remote: Patient,
    pub policy: Policy,
    /// Whether what is made here is written there.
    pub writes: bool,
}

/// The remotes of one command, and whose word is taken.
pub struct Exchange {
    neighbours: Vec<Neighbour>,
    trust: Trust,
    /// What this lab signs with.
    key: Option<SecretKey>,
    /// What it signs or has signed with.
    own: BTreeSet<PublicKey>,
    /// Bytes that have come, and that have gone.
    received: AtomicU64,
    sent: AtomicU64,
    cancelled: AtomicBool,
    /// What was found wrong, to be told once.
    complaints: Mutex<BTreeSet<String>>,
    /// Keys that no neighbour has, so that none is asked twice in one run.
    absent: Mutex<BTreeSet<Digest>>,
}

impl Exchange {
    pub fn new(neighbours: Vec<Neighbour>, trust: Trust, key: Option<SecretKey>) -> Self {
        Self {
            own: key.iter().map(SecretKey::public).collect(),
            neighbours,
            trust,
            key,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            complaints: Mutex::default(),
            absent: Mutex::default(),
        }
    }

    /// The keys that were this lab's before: what they have signed was made here.
    pub fn with_own_keys(mut self, keys: impl Iterator<Item = PublicKey>) -> Self {
        self.own.extend(keys);
        self
    }

    pub fn neighbours(&self) -> &[Neighbour] {
        &self.neighbours
    }

    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Ends transfers as soon as possible.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Bytes that have come from remotes so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes that have gone to remotes so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What was found wrong with remotes since the last call, each thing once.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        std::mem::take(&mut *complaints).into_iter().collect()
    }

    /// Takes notice of something that is wrong with a remote, or with what it has.
    pub fn complain(&self, complaint: String) {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        // Enough to see what is going on, whatever a remote comes up with.
        if complaints.len() < 100 {
            complaints.insert(complaint);
        }
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self
            .neighbours
            .iter()
            .map(|one| one.name.as_str())
            .collect();
        write!(formatter, "Exchange({})", names.join(", "))
    }
}
