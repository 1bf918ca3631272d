//! Write-back: sends new results to the writable remotes while a run is active.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use crate::digest::Digest;
use crate::remote::Exchange;
use crate::remote::exchange::{PushOptions, PushReport};
use crate::store::{Store, StoredRecord};

/// The number of records in a batch.
const BATCH: usize = 64;

/// Pushes new records on a separate thread.
pub struct WriteBack {
    keys: Sender<Digest>,
    pushes: JoinHandle<Written>,
}

/// What was written, and the problems.
#[derive(Debug, Default)]
pub struct Written {
    pub pushed: PushReport,
    pub problems: BTreeSet<Problem>,
}

/// Why a remote did not accept new results.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub remote: String,
    pub message: String,
}

impl WriteBack {
    /// `None` if no remote is writable.
    pub fn start(exchange: &Arc<Exchange>, store: &Arc<Store>) -> Option<Self> {
        if !exchange.peers().iter().any(|one| one.writes) {
            return None;
        }
        let (keys, received) = channel();
        let (exchange, store) = (Arc::clone(exchange), Arc::clone(store));
        let pushes = std::thread::spawn(move || push_all(&exchange, &store, &received));
        Some(Self { keys, pushes })
    }

    /// A channel for the keys of nodes that have a new record.
    pub fn keys(&self) -> Sender<Digest> {
        self.keys.clone()
    }

    /// Waits until everything has been sent or has failed.
    pub fn finish(self) -> Written {
        drop(self.keys);
        self.pushes.join().unwrap_or_default()
    }
}

fn push_all(exchange: &Exchange, store: &Store, keys: &Receiver<Digest>) -> Written {
    let mut written = Written::default();
    // A remote that has failed once is skipped: `push` can continue later.
    let mut failed: BTreeSet<&str> = BTreeSet::new();
    while let Ok(first) = keys.recv() {
        let more = keys.try_iter().take(BATCH - 1);
        let batch: BTreeSet<Digest> = std::iter::once(first).chain(more).collect();
        let records: Vec<StoredRecord> = batch
            .iter()
            .filter_map(|key| store.chosen(key).ok().flatten())
            .collect();
        for peer in exchange.peers().iter().filter(|one| one.writes) {
            if failed.contains(peer.name.as_str()) {
                continue;
            }
            let pushing = PushOptions {
                records_only: false,
                dry_run: false,
                check: false,
            };
            match exchange.push(peer, store, &records, pushing) {
                Ok(pushed) => written.pushed.add(&pushed),
                Err(error) => {
                    failed.insert(&peer.name);
                    let name = &peer.name;
                    written.problems.insert(Problem {
                        remote: name.clone(),
                        message: format!("`{name}` did not accept new results: {error}"),
                    });
                }
            }
        }
    }
    written
}
