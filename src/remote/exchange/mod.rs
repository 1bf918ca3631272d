//! Sharing with other stores: finds records, fetches blobs, pushes what was made here.
//!
//! Nothing from a remote is used unverified: a record must hash to its name, fit its key and be signed
//! by a trusted key; a blob must hash to its name. Anything else is reported and ignored. It does not
//! know nodes or workflows, only keys.

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
pub struct Peer {
    /// As the user calls it.
    pub name: String,
    pub remote: Patient,
    pub policy: Policy,
    /// Whether what is made here is written there.
    pub writes: bool,
}

/// The remotes of one command, and whose word is taken.
pub struct Exchange {
    neighbours: Vec<Peer>,
    trust: Trust,
    /// What this lab signs with.
    key: Option<SecretKey>,
    /// What it signs or has signed with.
    own: BTreeSet<PublicKey>,
    /// Bytes that have come, and that have gone.
    received: AtomicU64,
    sent: AtomicU64,
    cancelled: AtomicBool,
    /// What was found wrong, to be told once, and how much more that was than is kept.
    complaints: Mutex<(BTreeSet<String>, usize)>,
    /// Keys that no neighbour has, so that none is asked twice in one run.
    absent: Mutex<BTreeSet<Digest>>,
    /// Blobs that a neighbour has and that are not what their name says.
    refused: Mutex<BTreeSet<(String, Digest)>>,
    /// What a neighbour has been found to have whole.
    whole: Mutex<BTreeSet<(String, String)>>,
    /// A neighbour did not answer as one does.
    failed: AtomicBool,
}

impl Exchange {
    pub fn new(neighbours: Vec<Peer>, trust: Trust, key: Option<SecretKey>) -> Self {
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
            refused: Mutex::default(),
            whole: Mutex::default(),
            failed: AtomicBool::new(false),
        }
    }

    /// The keys that were this lab's before: what they have signed was made here.
    pub fn with_own_keys(mut self, keys: impl Iterator<Item = PublicKey>) -> Self {
        self.own.extend(keys);
        self
    }

    pub fn neighbours(&self) -> &[Peer] {
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

    /// Whether a neighbour could not say what it has.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether a neighbour gave something else for a blob.
    pub fn was_refused(&self, neighbour: &str, digest: &Digest) -> bool {
        held(&self.refused).contains(&(neighbour.to_string(), *digest))
    }

    /// Whether any neighbour gave something else for a blob.
    pub fn refuses(&self, digest: &Digest) -> bool {
        held(&self.refused)
            .iter()
            .any(|(_, refused)| refused == digest)
    }

    fn note_refused(&self, neighbour: &str, digest: Digest) {
        held(&self.refused).insert((neighbour.to_string(), digest));
    }

    fn is_known_whole(&self, name: &(String, String)) -> bool {
        held(&self.whole).contains(name)
    }

    fn note_whole(&self, name: (String, String)) {
        held(&self.whole).insert(name);
    }

    /// What was found wrong with remotes since the last call, each thing once.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        let (complaints, more) = std::mem::take(&mut *complaints);
        let more = (more > 0).then(|| format!("and {more} further complaints of this kind"));
        complaints.into_iter().chain(more).collect()
    }

    /// Takes notice of something that is wrong with a remote, or with what it has.
    pub fn complain(&self, complaint: String) {
        let mut complaints = self
            .complaints
            .lock()
            .unwrap_or_else(|held| held.into_inner());
        // Enough to see what is going on, whatever a remote comes up with.
        match complaints.0.len() < 100 || complaints.0.contains(&complaint) {
            true => drop(complaints.0.insert(complaint)),
            false => complaints.1 += 1,
        }
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}

/// Puts digests into an order that nobody can know before.
pub(super) fn shuffle(digests: &mut [Digest]) {
    shuffle_by(digests, |digest| *digest);
}

fn shuffle_by<T>(items: &mut [T], digest: impl Fn(&T) -> Digest) {
    let mut salt = [0; 32];
    // Without random numbers the order can be known, which only helps who floods a list.
    let _ = getrandom::fill(&mut salt);
    items.sort_by_key(|item| *blake3::keyed_hash(&salt, digest(item).as_bytes()).as_bytes());
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
