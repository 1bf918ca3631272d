//! Garbage collection: removes what no run and no pin needs, by age and down to a size.
//!
//! Records reach blobs; runs and pins reach records by key. Publishing is blocked meanwhile. Anything
//! younger than the oldest process that writes to the store stays, since the outputs of a node that is
//! not finished have no record yet. It does not know where runs come from: the caller lists them.

mod decide;
mod sweep;

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::inventory::Transient;
use super::{Store, StoreError, session};
use crate::digest::Digest;

/// Who uses the store: what the store itself does not know.
#[derive(Clone, Debug)]
pub struct Use {
    /// The run's folder.
    pub folder: PathBuf,
    /// The keys that it names.
    pub keys: Vec<Digest>,
    /// When it last did something.
    pub last: SystemTime,
    /// It goes on, or is to stay however old it is.
    pub stays: bool,
}

/// How to clean.
#[derive(Clone, Copy, Debug)]
pub struct Cleaning {
    /// Runs that have done nothing since then are forgotten, and what nothing reaches goes if it
    /// has not been used since.
    pub before: SystemTime,
    /// Most bytes that the store may have. Beyond, what was used longest ago goes too.
    pub most: Option<u64>,
    /// What is younger stays, whatever it is.
    pub grace: Duration,
    /// Only find out what would go.
    pub dry_run: bool,
}

/// Several things of one sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heap {
    pub count: usize,
    pub bytes: u64,
}

impl Heap {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// A record that goes, or has gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoneRecord {
    pub key: Digest,
    pub record: Digest,
    pub kind: String,
    /// Of its own file and its signatures.
    pub bytes: u64,
}

/// What has gone, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    pub records: Vec<GoneRecord>,
    pub blobs: Heap,
    pub derived: Heap,
    pub downloads: Heap,
    pub damaged: Heap,
    /// Folders of runs.
    pub runs: Vec<PathBuf>,
    /// Bytes of what stays.
    pub left: u64,
    /// The budget can't be kept with what must stay.
    pub too_much: bool,
}

impl Collected {
    /// Bytes of everything that goes, but for folders of runs.
    pub fn bytes(&self) -> u64 {
        let heaps = [self.blobs, self.derived, self.downloads, self.damaged];
        let records: u64 = self.records.iter().map(|gone| gone.bytes).sum();
        records + heaps.iter().map(|heap| heap.bytes).sum::<u64>()
    }

    fn heap(&mut self, kind: Transient) -> &mut Heap {
        match kind {
            Transient::Derived => &mut self.derived,
            Transient::Downloads => &mut self.downloads,
            Transient::Damaged => &mut self.damaged,
        }
    }
}

impl Store {
    /// Cleans the store. `uses` is asked for once nothing can be published any more and no run is
    /// about to note what it takes.
    ///
    /// # Errors
    /// What lies in the store can't be told: then nothing goes. Or something can't be removed:
    /// then what has gone until then was not needed, and the store is sound.
    pub fn clean(
        &self,
        cleaning: &Cleaning,
        uses: impl FnOnce() -> Result<Vec<Use>, StoreError>,
    ) -> Result<Collected, StoreError> {
        let tmp = self.session_folder()?;
        // In this order: whoever takes records may wait for a publisher, and no publisher for them.
        let _cleaning = self.cleaning()?;
        let _publishing = self.publishing()?;
        let now = SystemTime::now();
        let young = now.checked_sub(cleaning.grace).unwrap_or(now);
        let ground = decide::GcInput {
            inventory: self.inventory()?,
            pins: self.pins()?,
            uses: uses()?,
            young: match session::oldest(&self.root).map_err(StoreError::io(&tmp))? {
                // It may have begun to write before it made its folder.
                Some(oldest) => oldest
                    .checked_sub(cleaning.grace)
                    .unwrap_or(oldest)
                    .min(young),
                None => young,
            },
        };
        let doomed = decide::decide(&ground, cleaning);
        if !cleaning.dry_run {
            self.sweep(&ground, &doomed, &tmp)?;
        }
        Ok(doomed.collected)
    }
}
