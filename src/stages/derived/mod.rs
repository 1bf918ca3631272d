//! Derived work: intermediate results that many nodes need from the same content, such as decoded,
//! resized and cropped pixels of a dataset, or features and logits of a frozen model.
//!
//! The first node that needs it computes it in pieces; other nodes that wait compute some of them.
//! A cache in the store keeps it within a budget. It is not part of keys, because it follows from
//! their content.

mod frozen;
mod kinds;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use frozen::Frozen;
pub use kinds::{features, logits, of_model_and_data, pixels};

use super::task::{Context, TaskError};
use crate::digest::Digest;
use crate::ml::data::pixels::Shard;
use crate::store::StoreError;
use crate::store::artifact::Artifact;
use crate::store::derived_cache::{About, DerivedCache};

/// The interval between checks for a piece that another process computes.
const POLL: Duration = Duration::from_millis(20);

/// The first artifact of each input of a node, by name.
pub type InputArtifacts = BTreeMap<String, Arc<Artifact>>;

/// One unit of derived work: rows of equal length, one per image.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// `pixels`, `features` or `logits`.
    pub kind: &'static str,
    /// Covers everything that decides the bytes.
    pub key: Digest,
    pub what: String,
    pub rows: usize,
    /// The size of a row in bytes.
    pub width: usize,
    /// The number of rows in a piece.
    each: usize,
}

impl Work {
    pub fn bytes(&self) -> u64 {
        self.rows as u64 * self.width as u64
    }

    pub fn pieces(&self) -> usize {
        self.rows.div_ceil(self.each)
    }

    pub(super) fn range(&self, piece: usize) -> Range<usize> {
        let begin = piece * self.each;
        begin..self.rows.min(begin + self.each)
    }

    /// The piece that contains row `index`, and the position in it.
    pub(super) fn place(&self, index: usize) -> (usize, usize) {
        (index / self.each, index % self.each)
    }

    /// Whether every piece is in the cache.
    pub fn is_there(&self, shelf: &DerivedCache) -> bool {
        (0..self.pieces()).all(|piece| shelf.has(&self.key, piece))
    }
}

/// Derived work that a node computed, for the statistics of the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DerivedResult {
    pub kind: String,
    pub key: Digest,
    pub what: String,
    /// The number of bytes added to the cache.
    pub bytes: u64,
    pub wall_s: f64,
}

/// The cache as a task sees it, and what the task added.
#[derive(Debug, Default)]
pub struct Derived<'a> {
    shelf: Option<DerivedCache<'a>>,
    /// The class of the device: floats differ between classes.
    device_class: String,
    made: Mutex<Vec<DerivedResult>>,
}

impl<'a> Derived<'a> {
    pub fn new(shelf: DerivedCache<'a>, device_class: &str) -> Self {
        Self {
            shelf: Some(shelf),
            device_class: device_class.to_string(),
            made: Mutex::default(),
        }
    }

    pub fn into_results(self) -> Vec<DerivedResult> {
        let made = self.made.into_inner();
        made.unwrap_or_else(|held| held.into_inner())
    }

    /// The pieces of `work`, `None` for those that do not fit in the cache. `make` computes the
    /// bytes of missing rows; pieces that another process is computing are waited for.
    pub(super) fn pieces(
        &self,
        context: &Context,
        work: &Work,
        make: &mut dyn FnMut(Range<usize>) -> Result<Vec<u8>, TaskError>,
    ) -> Result<Vec<Option<Shard>>, TaskError> {
        let Some(shelf) = &self.shelf else {
            return Ok(vec![None; work.pieces()]);
        };
        let started = Instant::now();
        let (mut pieces, mut kept) = (vec![None; work.pieces()], 0);
        let mut left: Vec<usize> = (0..pieces.len()).collect();
        // Checking for room scans the whole cache, so stop once it is full.
        let mut full = false;
        while !left.is_empty() {
            let mut waiting = Vec::new();
            for piece in std::mem::take(&mut left) {
                context.check_cancelled()?;
                match one_piece(shelf, work, piece, full, make)? {
                    ShardState::There(shard) => pieces[piece] = Some(shard),
                    ShardState::Made(shard) => {
                        kept += (work.range(piece).len() * work.width) as u64;
                        pieces[piece] = Some(shard);
                    }
                    ShardState::NoRoom => full = true,
                    ShardState::Elsewhere => waiting.push(piece),
                }
            }
            if !waiting.is_empty() {
                std::thread::sleep(POLL);
            }
            left = waiting;
        }
        shelf.used(&work.key);
        if kept > 0 {
            let mut made = self.made.lock().unwrap_or_else(|held| held.into_inner());
            made.push(DerivedResult {
                kind: work.kind.to_string(),
                key: work.key,
                what: work.what.clone(),
                bytes: kept,
                wall_s: started.elapsed().as_secs_f64(),
            });
        }
        Ok(pieces)
    }
}

enum ShardState {
    There(Shard),
    Made(Shard),
    NoRoom,
    /// Another process is computing it.
    Elsewhere,
}

fn on_shelf(error: StoreError) -> TaskError {
    TaskError::Failed(format!("derived work: {error}"))
}

fn one_piece(
    shelf: &DerivedCache,
    work: &Work,
    piece: usize,
    full: bool,
    make: &mut dyn FnMut(Range<usize>) -> Result<Vec<u8>, TaskError>,
) -> Result<ShardState, TaskError> {
    let range = work.range(piece);
    let bytes = range.len() * work.width;
    let there = || shelf.piece(&work.key, piece, bytes).map_err(on_shelf);
    if let Some(found) = there()? {
        return Ok(ShardState::There(Arc::new(found)));
    }
    if full || !shelf.room(&work.key, bytes).map_err(on_shelf)? {
        return Ok(ShardState::NoRoom);
    }
    let Some(_claim) = shelf.claim(&work.key, piece).map_err(on_shelf)? else {
        return Ok(ShardState::Elsewhere);
    };
    // The previous holder of the claim may have computed it.
    if let Some(found) = there()? {
        return Ok(ShardState::There(Arc::new(found)));
    }
    let made = make(range)?;
    let about = About {
        kind: work.kind.to_string(),
        what: work.what.clone(),
    };
    shelf
        .keep(&work.key, &about, piece, &made)
        .map_err(on_shelf)?;
    Ok(match there()? {
        Some(found) => ShardState::Made(Arc::new(found)),
        None => ShardState::Made(Arc::new(made)),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;
    use crate::stages::task::Progress;
    use crate::store::Store;
    use crate::store::derived_cache::Budget;

    struct Silent;

    impl Progress for Silent {
        fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

        fn log(&self, _line: &str) {}
    }

    fn work(rows: usize) -> Work {
        Work {
            kind: "pixels",
            key: Digest::of(&rows.to_le_bytes()),
            what: "numbers".to_string(),
            rows,
            width: 2,
            each: 4,
        }
    }

    fn bytes(range: Range<usize>) -> Vec<u8> {
        range.flat_map(|row| [row as u8, 7]).collect()
    }

    /// The pieces within a budget, and how many were made.
    fn pieces(store: &Store, budget: Budget, work: &Work) -> (Vec<Option<Vec<u8>>>, usize) {
        let made = AtomicUsize::new(0);
        let context = Context {
            inputs: BTreeMap::new(),
            blobs: store,
            scratch: Path::new("/nonexistent"),
            downloads: Path::new("/nonexistent"),
            environments: Path::new("/nonexistent"),
            locks: store.locks(),
            failed: Path::new("/nonexistent"),
            threads: 1,
            device: candle_core::Device::Cpu,
            derived: Derived::new(store.derived_cache(budget), "cpu"),
            progress: &Silent,
            cancelled: &AtomicBool::new(false),
            grace: Duration::ZERO,
        };
        let mut make = |range: Range<usize>| {
            made.fetch_add(1, Ordering::Relaxed);
            // Long enough for another thread to come by.
            std::thread::sleep(Duration::from_millis(5));
            Ok(bytes(range))
        };
        let found = context.derived.pieces(&context, work, &mut make).unwrap();
        let content = |piece: Option<Shard>| piece.map(|it| (*it).as_ref().to_vec());
        let found = found.into_iter().map(content).collect();
        (found, made.into_inner())
    }

    fn all(work: &Work) -> Vec<Option<Vec<u8>>> {
        let range = |piece| Some(bytes(work.range(piece)));
        (0..work.pieces()).map(range).collect()
    }

    const PLENTY: Budget = Budget {
        bytes: 1 << 20,
        since: 0,
    };

    #[test]
    fn pieces_are_made_once_for_all_users() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let work = work(41);
        let made = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| pieces(&store, PLENTY, &work)))
                .collect();
            let ended = threads.into_iter().map(|thread| thread.join().unwrap());
            let made = ended.map(|(found, made)| {
                assert_eq!(found, all(&work));
                made
            });
            made.collect::<Vec<usize>>()
        });
        assert_eq!(made.iter().sum::<usize>(), work.pieces());
        assert!(
            made.iter().filter(|made| **made > 0).count() > 1,
            "{made:?}"
        );
        assert!(work.is_there(&store.derived_cache(PLENTY)));
    }

    #[test]
    fn a_damaged_piece_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let work = work(10);
        pieces(&Store::open(folder.path()).unwrap(), PLENTY, &work);
        let hex = work.key.to_hex();
        let path = folder
            .path()
            .join("derived")
            .join(&hex[..2])
            .join(&hex)
            .join("000001");
        let mut content = fs::read(&path).unwrap();
        content[3] ^= 1;
        fs::remove_file(&path).unwrap();
        fs::write(&path, content).unwrap();
        let again = pieces(&Store::open(folder.path()).unwrap(), PLENTY, &work);
        assert_eq!(again, (all(&work), 1));
    }

    #[test]
    fn a_budget_is_kept_and_older_work_makes_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        // Two pieces of eight bytes with their seals, and what the folder says of itself.
        let tight = Budget {
            bytes: 130,
            since: 0,
        };
        let first = work(12);
        let (found, _) = pieces(&store, tight, &first);
        let kept = found.iter().flatten().count();
        assert!((1..3).contains(&kept), "{kept} of 3 were kept");
        assert_eq!(found[..kept], all(&first)[..kept]);
        // The same run evicts nothing; a later one evicts what has not been used since.
        let second = work(13);
        let (found, made) = pieces(&store, tight, &second);
        assert!(found.iter().flatten().count() < 4 && made < 4);
        let later = Budget {
            since: u64::MAX / 4,
            ..tight
        };
        pieces(&store, later, &second);
        assert!(!first.is_there(&store.derived_cache(PLENTY)));
        assert!(store.derived_cache(PLENTY).has(&second.key, 0));
    }
}
