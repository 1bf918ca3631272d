//! Sharing with other stores: finds records, fetches blobs, pushes own results.
//!
//! Nothing from a remote is used unverified: a record must hash to its name, fit its key and be
//! signed by a trusted key; a blob must hash to its name. Anything else is reported and ignored. It
//! knows keys, but neither nodes nor workflows.

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
pub use blobs::MOST_UNKNOWN_SIZE;
pub use push::{PushError, PushOptions, PushReport};
pub use records::{LookupResult, RecordQuery, Refusal, RefusalReason, TrustedOutcomes};

/// Another store, and the terms of its use.
pub struct Peer {
    /// The user's name for it.
    pub name: String,
    pub remote: Patient,
    pub policy: Policy,
    /// Whether own results are written there.
    pub writes: bool,
}

/// The remotes of one command, and the trusted signers.
pub struct Exchange {
    peers: Vec<Peer>,
    trust: Trust,
    /// The signing key of this lab.
    key: Option<SecretKey>,
    /// The current and former signing keys of this lab.
    own: BTreeSet<PublicKey>,
    /// Bytes received and sent.
    received: AtomicU64,
    sent: AtomicU64,
    cancelled: AtomicBool,
    /// Complaints, to be reported once, and the number of complaints beyond the limit.
    complaints: Mutex<(BTreeSet<String>, usize)>,
    /// Keys that no peer has, so that each is looked up once in a run.
    absent: Mutex<BTreeSet<Digest>>,
    /// Blobs of a peer whose content does not match their name.
    refused: Mutex<BTreeSet<(String, Digest)>>,
    /// Objects that are known to be intact at a peer.
    whole: Mutex<BTreeSet<(String, String)>>,
    /// Whether a peer failed to respond correctly.
    failed: AtomicBool,
}

impl Exchange {
    pub fn new(peers: Vec<Peer>, trust: Trust, key: Option<SecretKey>) -> Self {
        Self {
            own: key.iter().map(SecretKey::public).collect(),
            peers,
            trust,
            key,
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            complaints: Mutex::default(),
            absent: Mutex::default(),
            refused: Mutex::default(),
            whole: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// Adds the lab's former keys: results that they signed are own results.
    pub fn with_own_keys(mut self, keys: impl Iterator<Item = PublicKey>) -> Self {
        self.own.extend(keys);
        self
    }

    pub fn peers(&self) -> &[Peer] {
        &self.peers
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

    /// Bytes received from remotes so far.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes sent to remotes so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Whether a lookup at a peer failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether a peer sent wrong content for a blob.
    pub fn was_refused(&self, peer: &str, digest: &Digest) -> bool {
        held(&self.refused).contains(&(peer.to_string(), *digest))
    }

    /// Whether any peer sent wrong content for a blob.
    pub fn refuses(&self, digest: &Digest) -> bool {
        held(&self.refused)
            .iter()
            .any(|(_, refused)| refused == digest)
    }

    fn note_refused(&self, peer: &str, digest: Digest) {
        held(&self.refused).insert((peer.to_string(), digest));
    }

    fn is_known_whole(&self, name: &(String, String)) -> bool {
        held(&self.whole).contains(name)
    }

    fn note_whole(&self, name: (String, String)) {
        held(&self.whole).insert(name);
    }

    /// The complaints about remotes since the last call, without duplicates.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let (complaints, more) = std::mem::take(&mut *complaints);
        let more = (more > 0).then(|| format!("and {more} more complaints like these"));
        complaints.into_iter().chain(more).collect()
    }

    /// Records a complaint about a remote or its content.
    pub fn complain(&self, complaint: String) {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        // The limit keeps a misbehaving remote from flooding the output.
        match complaints.0.len() < 100 || complaints.0.contains(&complaint) {
            true => drop(complaints.0.insert(complaint)),
            false => complaints.1 += 1,
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}

/// Shuffles digests into an unpredictable order.
pub(super) fn shuffle(digests: &mut [Digest]) {
    shuffle_by(digests, |digest| *digest);
}

fn shuffle_by<T>(items: &mut [T], digest: impl Fn(&T) -> Digest) {
    let mut salt = [0; 32];
    // Without random numbers the order is predictable, which only helps an attacker who floods a
    // list.
    let _ = getrandom::fill(&mut salt);
    items.sort_by_key(|item| *blake3::keyed_hash(&salt, digest(item).as_bytes()).as_bytes());
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.peers.iter().map(|one| one.name.as_str()).collect();
        write!(formatter, "Exchange({})", names.join(", "))
    }
}
