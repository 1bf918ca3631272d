//! The stat cache: the digests of outside files, trusted for as long as a file's stamp (device,
//! inode, size, both times in nanoseconds) stays the same.
//!
//! One index file for each folder that sources were read from, so that a run loads only what it
//! uses. All of it is derived: without it, files are hashed again.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use super::artifact::Blob;
use super::layout::{STAT_INDEX, TMP};
use super::sources::SourceError;
use super::statindex::{Entries, Known, decode, encode};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx::{self, Stamp};

/// Files that changed less than this many nanoseconds before they were hashed are not
/// remembered: a file system whose times move in steps (FAT: two seconds) could show a later
/// edit with the same stamp.
const YOUNG: i64 = 2_000_000_000;

/// Digests of outside files. Used from many threads; what is learnt is kept by
/// [`StatCache::save`].
#[derive(Debug)]
pub struct StatCache {
    /// The folder of the index files.
    indices: PathBuf,
    /// Where they are written first.
    tmp: PathBuf,
    folders: Mutex<HashMap<PathBuf, Arc<Folder>>>,
}

impl StatCache {
    /// The cache of `store`. Index files are read when their folder is first asked for; those
    /// that are missing, torn or foreign count as empty.
    pub fn open(store: &Store) -> Self {
        Self {
            indices: store.root().join(STAT_INDEX),
            tmp: store.root().join(TMP),
            folders: Mutex::default(),
        }
    }

    /// Keeps what was learnt for the next run.
    pub fn save(&self) -> Result<(), StoreError> {
        let folders: Vec<Arc<Folder>> = lock(&self.folders).values().cloned().collect();
        for folder in folders {
            folder.save(&self.tmp)?;
        }
        Ok(())
    }

    /// What is known of the files under the absolute folder `root`.
    pub(super) fn folder(&self, root: &Path) -> Arc<Folder> {
        let mut folders = lock(&self.folders);
        let folder = folders.entry(root.to_path_buf()).or_insert_with(|| {
            Arc::new(Folder {
                root: root.to_path_buf(),
                index: index_path(&self.indices, root),
                loaded: OnceLock::new(),
                fresh: Mutex::default(),
            })
        });
        Arc::clone(folder)
    }
}

/// The files under one folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    index: PathBuf,
    /// From the index file.
    loaded: OnceLock<Entries>,
    /// Learnt by this process.
    fresh: Mutex<Entries>,
}

impl Folder {
    /// The content of the file at `path`, relative to the folder.
    pub fn blob(&self, path: &str) -> Result<Blob, SourceError> {
        let full = self.root.join(path);
        let metadata = fs::metadata(&full).map_err(SourceError::io(&full))?;
        let stamp = Stamp::of(&metadata);
        match self.known(path, &stamp) {
            Some(digest) => Ok(Blob {
                digest,
                bytes: stamp.size,
            }),
            None => self.hash(path, &full),
        }
    }

    fn known(&self, path: &str, stamp: &Stamp) -> Option<Digest> {
        let trusted = |known: &&Known| known.stamp == *stamp;
        let loaded = self.loaded().get(path).filter(trusted);
        loaded
            .copied()
            .or_else(|| lock(&self.fresh).get(path).filter(trusted).copied())
            .map(|known| known.digest)
    }

    /// Hashes a file that must hold still meanwhile, and remembers it if it is old enough.
    fn hash(&self, path: &str, full: &Path) -> Result<Blob, SourceError> {
        let now = nanoseconds_since_1970();
        let mut file = File::open(full).map_err(SourceError::io(full))?;
        let stamp = |file: &File| file.metadata().map(|metadata| Stamp::of(&metadata));
        let before = stamp(&file).map_err(SourceError::io(full))?;
        let (digest, bytes) = fsx::hash_reader(&mut file).map_err(SourceError::io(full))?;
        let after = stamp(&file).map_err(SourceError::io(full))?;
        if before != after || bytes != after.size {
            return Err(SourceError::Changing(full.to_path_buf()));
        }
        if !is_young(&after, now) {
            let known = Known {
                stamp: after,
                digest,
            };
            lock(&self.fresh).insert(path.to_string(), known);
        }
        Ok(Blob { digest, bytes })
    }

    fn loaded(&self) -> &Entries {
        self.loaded.get_or_init(|| {
            let name = self.root.to_str().unwrap_or_default();
            let bytes = fs::read(&self.index).unwrap_or_default();
            decode(name, &bytes).unwrap_or_default()
        })
    }

    fn save(&self, tmp: &Path) -> Result<(), StoreError> {
        // A folder whose path is no text is looked up all the same, but not remembered.
        let (Some(name), fresh) = (self.root.to_str(), lock(&self.fresh).clone()) else {
            return Ok(());
        };
        if fresh.is_empty() {
            return Ok(());
        }
        let mut entries = self.loaded().clone();
        entries.extend(fresh);
        fsx::replace(&self.index, tmp, fsx::SHARED, &encode(name, &entries))
            .map_err(StoreError::io(&self.index))
    }
}

fn index_path(indices: &Path, root: &Path) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    indices.join(Digest::of(root.as_os_str().as_bytes()).to_hex())
}

/// Whether the file changed so shortly before `now` that a later change could look the same.
///
/// A modification time in the future was set by hand and says nothing; the time of the last
/// change can't be set.
fn is_young(stamp: &Stamp, now: i64) -> bool {
    let limit = now.saturating_sub(YOUNG);
    stamp.changed > limit || (stamp.modified > limit && stamp.modified <= now)
}

fn nanoseconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each insertion is whole, so a panic elsewhere leaves nothing half-done.
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}
