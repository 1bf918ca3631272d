//! Reading records: all outcomes of a key, and the one that this store stays with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::layout::DAMAGED;
use super::objects::move_aside;
use super::record::{RECORD_FORMAT, Record, StoredRecord};
use super::{Store, StoreError};
use crate::digest::Digest;

/// The file beside several records that names the chosen one. A sole record needs none.
pub(super) const MARKER: &str = "chosen";

impl Store {
    /// The record of `key` that this store stays with: the first it accepted. One that has been
    /// taken back gives way to any other.
    ///
    /// Damaged records are set aside; if the chosen one is among them, the remaining one with
    /// the lowest digest takes its place.
    pub fn chosen(&self, key: &Digest) -> Result<Option<StoredRecord>, StoreError> {
        let folder = self.record_folder(key);
        let mut candidates = list(&folder)?;
        while let Some(name) = self.choice(key, &candidates)? {
            if let Some(record) = self.load(key, &folder, &name)? {
                return Ok(Some(record));
            }
            candidates.retain(|candidate| *candidate != name);
        }
        Ok(None)
    }

    /// Which of `candidates` (sorted) the store stays with: the one that is marked, else the lowest,
    /// of those that have not been taken back.
    pub(super) fn choice(
        &self,
        key: &Digest,
        candidates: &[Digest],
    ) -> Result<Option<Digest>, StoreError> {
        if candidates.len() < 2 {
            return Ok(candidates.first().copied());
        }
        let candidates = self.undoubted(key, candidates)?;
        let marked = read_marker(&self.record_folder(key).join(MARKER))?;
        let marked = marked.filter(|marked| candidates.contains(marked));
        Ok(marked.or_else(|| candidates.first().copied()))
    }

    /// Every record of `key`, in the order of their digests.
    pub fn records(&self, key: &Digest) -> Result<Vec<StoredRecord>, StoreError> {
        let folder = self.record_folder(key);
        let names = list(&folder)?;
        names
            .iter()
            .filter_map(|name| self.load(key, &folder, name).transpose())
            .collect()
    }

    /// One record of `key`; `None` if it is gone or was damaged.
    pub fn record(&self, key: &Digest, name: &Digest) -> Result<Option<StoredRecord>, StoreError> {
        self.load(key, &self.record_folder(key), name)
    }

    /// One record, verified; `None` if it is gone or was damaged.
    fn load(
        &self,
        key: &Digest,
        folder: &Path,
        name: &Digest,
    ) -> Result<Option<StoredRecord>, StoreError> {
        let path = folder.join(file_name(name));
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io(&path)(error)),
        };
        match whole(&path, &bytes, key, name)? {
            Some(record) => Ok(Some(StoredRecord {
                digest: *name,
                record,
            })),
            None => self.set_record_aside(&path, name).map(|()| None),
        }
    }

    pub(super) fn set_record_aside(&self, path: &Path, name: &Digest) -> Result<(), StoreError> {
        let folder = self.root.join(DAMAGED).join("records");
        move_aside(path, &folder.join(file_name(name))).map_err(StoreError::io(path))
    }
}

/// The record in `bytes`, if that is `name` and one of `key`.
pub(super) fn whole(
    path: &Path,
    bytes: &[u8],
    key: &Digest,
    name: &Digest,
) -> Result<Option<Record>, StoreError> {
    if Digest::of(bytes) != *name {
        return Ok(None);
    }
    let record = parse(path, bytes)?;
    Ok(record.filter(|record| record.key == *key))
}

/// `None`: not a record. One of a newer format is an error rather than damage.
fn parse(path: &Path, bytes: &[u8]) -> Result<Option<Record>, StoreError> {
    if let Ok(record) = serde_json::from_slice::<Record>(bytes)
        && record.format <= RECORD_FORMAT
    {
        return Ok(Some(record));
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
    match value["format"].as_u64() {
        Some(found) if found > u64::from(RECORD_FORMAT) => Err(StoreError::NewerRecord {
            path: path.to_path_buf(),
            found,
        }),
        _ => Ok(None),
    }
}

pub(super) fn file_name(record: &Digest) -> String {
    format!("{record}.json")
}

/// The digests of the records in `folder`, lowest first.
pub(super) fn list(folder: &Path) -> Result<Vec<Digest>, StoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(StoreError::io(folder))?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".json"));
        names.extend(stem.and_then(|stem| stem.parse::<Digest>().ok()));
    }
    names.sort();
    Ok(names)
}

/// `None`: no marker, or one that names nothing.
pub(super) fn read_marker(path: &PathBuf) -> Result<Option<Digest>, StoreError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        Err(error) => Err(StoreError::io(path)(error)),
    }
}
