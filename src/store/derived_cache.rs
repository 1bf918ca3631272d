//! The derived cache: data that can be recomputed at any time, kept because that is slow. It holds
//! decoded pixels, features and logits in pieces, outside the blobs. Only the code that can
//! recompute a piece refers to it; pieces are never part of a record and never leave the machine.
//!
//! `derived/<ab>/<key>/<piece>` holds the bytes and, after them, their BLAKE3.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use memmap2::Mmap;
use serde::{Deserialize, Serialize};

use super::layout::DERIVED;
use super::packed::{self, CHECKSUM};
use super::{Claim, Store, StoreError};
use crate::digest::Digest;
use crate::fsx::calls;
use crate::fsx::{self, Stamp};

/// Describes the content of a folder; its modification time is the time of the last use.
const ABOUT: &str = "about.json";
/// The share of the disk that always stays free, as a divisor.
const SPARE: u64 = 10;

/// How much the derived cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Bytes in all.
    pub bytes: u64,
    /// Sets that have not been used since then (seconds since 1970) make room for new ones.
    pub since: u64,
}

impl Budget {
    /// Disables the cache: nothing is stored or looked up.
    pub const NONE: Self = Self { bytes: 0, since: 0 };
}

/// One piece, mapped into memory and verified.
pub struct Piece(Mmap);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0[..self.0.len() - CHECKSUM]
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "a piece of {} bytes", self.as_ref().len())
    }
}

/// Describes the content of a folder to a person who inspects it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// `pixels`, `features` or `logits`.
    pub kind: String,
    pub what: String,
}

/// The derived cache of a store, within a budget.
#[derive(Clone, Copy, Debug)]
pub struct DerivedCache<'a> {
    store: &'a Store,
    budget: Budget,
}

impl Store {
    pub fn derived_cache(&self, budget: Budget) -> DerivedCache<'_> {
        let store = self;
        DerivedCache { store, budget }
    }
}

impl DerivedCache<'_> {
    /// Piece `piece` of `key` if it exists and is intact; removes a damaged one.
    pub fn piece(
        &self,
        key: &Digest,
        piece: usize,
        bytes: usize,
    ) -> Result<Option<Piece>, StoreError> {
        if self.budget == Budget::NONE {
            return Ok(None);
        }
        let path = self.path(key, piece);
        let file = match fsx::open_plain(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(&path)(error)),
        };
        let metadata = file.metadata().map_err(StoreError::io(&path))?;
        // SAFETY: pieces are written once under a temporary name, are read-only from then on, and
        // are removed as a whole, which does not affect a mapping.
        let map = unsafe { Mmap::map(&file) }.map_err(StoreError::io(&path))?;
        let stamp = Stamp::of(&metadata);
        let whole = map.len() == bytes + CHECKSUM
            && (self.known(&path, stamp) || packed::intact(&map).is_some());
        if !whole {
            let _ = calls::remove_file(&path); // It may be gone already; it is recomputed.
            return Ok(None);
        }
        self.remember(path, stamp);
        Ok(Some(Piece(map)))
    }

    /// Marks `key` as in use, so that it stays.
    pub fn used(&self, key: &Digest) {
        if let Ok(file) = fsx::open_plain(&self.folder(key).join(ABOUT)) {
            let _ = file.set_modified(SystemTime::now()); // Fails for another user's file, which stays as it was.
        }
    }

    /// Whether piece `piece` exists, unverified.
    pub fn has(&self, key: &Digest, piece: usize) -> bool {
        self.path(key, piece).is_file()
    }

    /// The right to compute a piece; `None` while another process computes it.
    pub fn claim(&self, key: &Digest, piece: usize) -> Result<Option<Claim>, StoreError> {
        let name = format!("{} {piece}", key.to_hex());
        let name = Digest::of(name.as_bytes());
        let Some(local) = self.store.local.get() else {
            return self.store.claim(&name);
        };
        let lock = local.claim(&name.to_hex());
        let lock = lock.map_err(StoreError::io(local.root()))?;
        Ok(lock.map(|lock| Claim::of(name, lock)))
    }

    /// Whether a piece of `bytes` bytes of `key` may be stored; removes older sets to make room.
    pub fn room(&self, key: &Digest, bytes: usize) -> Result<bool, StoreError> {
        let needed = (bytes + CHECKSUM) as u64;
        if needed > self.budget.bytes || !self.disk_has_room(needed)? {
            return Ok(false);
        }
        let root = self.root().join(DERIVED);
        let mut sets = sets(&root).map_err(StoreError::io(&root))?;
        let mut taken: u64 = sets.iter().map(|set| set.bytes).sum();
        sets.sort_by_key(|set| set.used);
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(self.budget.since);
        let own = self.folder(key);
        for old in sets
            .iter()
            .filter(|set| set.used < since && set.path != own)
        {
            if taken + needed <= self.budget.bytes {
                break;
            }
            let _ = fsx::remove_tree(&old.path); // If another process removes it, that makes room, too.
            taken -= old.bytes;
        }
        Ok(taken + needed <= self.budget.bytes)
    }

    /// Stores a piece for which there is room.
    pub fn keep(
        &self,
        key: &Digest,
        about: &About,
        piece: usize,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let folder = self.folder(key);
        fsx::refuse_links(self.root(), &folder.join(ABOUT)).map_err(StoreError::io(&folder))?;
        fsx::make_folders(&folder).map_err(StoreError::io(&folder))?;
        let session = match self.store.local.get() {
            Some(local) => local
                .session_folder()
                .map_err(StoreError::io(local.root()))?,
            None => self.store.session_folder()?,
        };
        let label = folder.join(ABOUT);
        if !label.exists() {
            // Encoding two strings can't fail.
            let text = serde_json::to_vec_pretty(about).unwrap_or_default();
            fsx::replace(&label, &session, fsx::SHARED, &text).map_err(StoreError::io(&label))?;
        }
        let mut sealed = Vec::with_capacity(bytes.len() + CHECKSUM);
        sealed.extend_from_slice(bytes);
        let sealed = packed::seal(sealed);
        let path = self.path(key, piece);
        let file = fsx::stage(&session, fsx::SEALED, &sealed).map_err(StoreError::io(&session))?;
        fsx::place(file, &path).map_err(StoreError::io(&path))
    }

    fn disk_has_room(&self, needed: u64) -> Result<bool, StoreError> {
        let root = self.root();
        let disk = calls::space(root);
        let disk = disk.map_err(StoreError::io(root))?;
        let free = disk.f_bavail * disk.f_frsize;
        Ok(free > needed && free - needed > disk.f_blocks * disk.f_frsize / SPARE)
    }

    fn folder(&self, key: &Digest) -> PathBuf {
        let hex = key.to_hex();
        self.root().join(DERIVED).join(&hex[..2]).join(hex)
    }

    /// The folder that has the cache: of the store, or on this machine's own disk.
    fn root(&self) -> &Path {
        match self.store.local.get() {
            Some(local) => local.root(),
            None => &self.store.root,
        }
    }

    fn path(&self, key: &Digest, piece: usize) -> PathBuf {
        self.folder(key).join(format!("{piece:06}"))
    }

    fn known(&self, path: &Path, stamp: Stamp) -> bool {
        let pieces = self.store.pieces.lock();
        let pieces = pieces.unwrap_or_else(|held| held.into_inner());
        pieces.get(path) == Some(&stamp)
    }

    fn remember(&self, path: PathBuf, stamp: Stamp) {
        let pieces = self.store.pieces.lock();
        let mut pieces = pieces.unwrap_or_else(|held| held.into_inner());
        pieces.insert(path, stamp);
    }
}

/// The pieces of one key.
struct Set {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

fn sets(root: &Path) -> io::Result<Vec<Set>> {
    let mut sets = Vec::new();
    for first in folders(root)? {
        for path in folders(&first)? {
            let mut bytes = 0;
            let mut used = SystemTime::UNIX_EPOCH;
            for file in fsx::entries(&path)? {
                // Removed in the meantime: it takes no room.
                if let Ok(metadata) = calls::symlink_metadata(&file) {
                    bytes += metadata.len();
                    used = used.max(metadata.modified()?);
                }
            }
            sets.push(Set { path, bytes, used });
        }
    }
    Ok(sets)
}

fn folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = fsx::entries(folder)?;
    folders.retain(|folder| folder.is_dir());
    Ok(folders)
}
