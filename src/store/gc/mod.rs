//! Garbage collection: removes what no run and no pin needs, by age and down to a size.
//!
//! Records reach blobs; runs and pins reach records by key. Publishing is blocked during
//! collection. Anything younger than the oldest process that writes to the store stays, since the
//! outputs of an unfinished node have no record yet. It does not know where runs come from: the
//! caller lists them.

mod decide;
mod sweep;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::inventory::Transient;
use super::{Store, StoreError};
use crate::digest::Digest;

/// A user of the store, which the store itself does not know: a run.
#[derive(Clone, Debug)]
pub struct RunUse {
    /// The run's folder.
    pub folder: PathBuf,
    /// The keys that it uses.
    pub keys: Vec<Digest>,
    /// When it was last active.
    pub last: SystemTime,
    /// Whether it is still running, or is to be kept regardless of its age.
    pub stays: bool,
}

/// Options of garbage collection.
#[derive(Clone, Copy, Debug)]
pub struct GcOptions {
    /// Runs without activity since then are removed, and so is anything unreachable that was not
    /// used since then.
    pub before: SystemTime,
    /// The size limit of the store in bytes. Above it, the least recently used content is removed,
    /// too.
    pub most: Option<u64>,
    /// Anything younger than this stays.
    pub grace: Duration,
    /// Only report what would be removed.
    pub dry_run: bool,
}

/// A number of items and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub count: usize,
    pub bytes: u64,
}

impl Tally {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// A record that was removed or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedRecord {
    pub key: Digest,
    pub record: Digest,
    pub kind: String,
    /// Bytes of its own file and its signatures.
    pub bytes: u64,
}

/// What was removed or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    pub records: Vec<RemovedRecord>,
    pub blobs: Tally,
    pub derived: Tally,
    pub downloads: Tally,
    pub damaged: Tally,
    pub environments: Tally,
    /// Folders of runs.
    pub runs: Vec<PathBuf>,
    /// Bytes of what stays.
    pub left: u64,
    /// Whether the content that must stay exceeds the size limit.
    pub too_much: bool,
}

impl GcReport {
    /// Bytes of everything removed, except the folders of runs.
    pub fn bytes(&self) -> u64 {
        let heaps = [
            self.blobs,
            self.derived,
            self.downloads,
            self.damaged,
            self.environments,
        ];
        let records: u64 = self.records.iter().map(|gone| gone.bytes).sum();
        records + heaps.iter().map(|heap| heap.bytes).sum::<u64>()
    }

    fn heap(&mut self, kind: Transient) -> &mut Tally {
        match kind {
            Transient::Derived => &mut self.derived,
            Transient::Downloads => &mut self.downloads,
            Transient::Damaged => &mut self.damaged,
            Transient::Environments => &mut self.environments,
        }
    }
}

impl Store {
    /// Collects garbage. Calls `uses` only once publishing is blocked and no run is about to note
    /// what it uses.
    ///
    /// # Errors
    /// The content of the store can't be determined: then nothing is removed. Or something can't be
    /// removed: then everything removed so far was unneeded, and the store is consistent.
    pub fn clean(
        &self,
        cleaning: &GcOptions,
        uses: impl FnOnce() -> Result<Vec<RunUse>, StoreError>,
    ) -> Result<GcReport, StoreError> {
        let tmp = self.session_folder()?;
        // The order prevents a deadlock: a process that takes records may wait for a publisher, but
        // no publisher waits for it.
        let _cleaning = self.cleaning()?;
        let _publishing = self.publishing()?;
        let now = SystemTime::now();
        let young = now.checked_sub(cleaning.grace).unwrap_or(now);
        let input = decide::GcInput {
            inventory: self.inventory()?,
            pins: self.pins()?,
            uses: uses()?,
            young: match self.oldest_session().map_err(StoreError::io(&tmp))? {
                // A process may have begun to write before it created its folder.
                Some(oldest) => oldest
                    .checked_sub(cleaning.grace)
                    .unwrap_or(oldest)
                    .min(young),
                None => young,
            },
        };
        let plan = decide::decide(&input, cleaning);
        if !cleaning.dry_run {
            self.sweep(&input, &plan, &tmp)?;
        }
        Ok(plan.collected)
    }
}
