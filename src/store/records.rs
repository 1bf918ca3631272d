//! Reading records: all outcomes of a key, and the one that this store stays with.

use std::fs;
use std::io;
use std::path::Path;

use super::layout::DAMAGED;
use super::record::{RECORD_FORMAT, Record, StoredRecord};
use super::{Store, StoreError};
use crate::digest::{Digest, check};
use crate::fsx;

/// The file beside several records that names the chosen one. A sole record needs none.
pub(super) const MARKER: &str = "chosen";

/// What a marker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// There is none.
    Absent,
    Names(Digest),
    /// Which record it named can't be told any more.
    Damaged,
}

impl Marker {
    /// The record's digest and a checksum.
    pub fn text(record: &Digest) -> String {
        let record = record.to_hex();
        let sum = check::sum(record.as_bytes());
        format!("{record} {sum}\n")
    }

    /// The marker of a key whose records lie in `folder`.
    pub fn read(folder: &Path) -> Result<Self, StoreError> {
        let path = folder.join(MARKER);
        match fsx::read_plain(&path) {
            Ok(bytes) => Ok(Self::parse(&bytes).map_or(Self::Damaged, Self::Names)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::Absent),
            Err(error) => Err(StoreError::io(&path)(error)),
        }
    }

    /// Earlier versions wrote the digest alone.
    fn parse(bytes: &[u8]) -> Option<Digest> {
        let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let (record, sum) = match line.split_once(' ') {
            Some((record, sum)) => (record, Some(sum)),
            None => (line, None),
        };
        let is_whole = sum.is_none_or(|sum| sum == check::sum(record.as_bytes()));
        is_whole.then(|| record.parse().ok()).flatten()
    }
}

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
        let candidates = self.unrevoked(key, candidates)?;
        let folder = self.record_folder(key);
        let lowest = candidates.first().copied();
        match Marker::read(&folder)? {
            Marker::Absent => Ok(lowest),
            Marker::Names(marked) if candidates.contains(&marked) => Ok(Some(marked)),
            Marker::Names(marked) => {
                self.tell_of_lost_choice(&folder, &marked);
                Ok(lowest)
            }
            Marker::Damaged if self.any_choice => Ok(lowest),
            Marker::Damaged => Err(StoreError::Damaged {
                path: folder.join(MARKER),
                remedy: format!(
                    "which of the {} records of this key is used can't be told; `ribflow cache \
                     choose FILE NODE` shows them, and with the digits of one it is used",
                    candidates.len()
                ),
            }),
        }
    }

    /// Whether it can't be told any more which record of `key` is used.
    pub fn is_choice_lost(&self, key: &Digest) -> Result<bool, StoreError> {
        let folder = self.record_folder(key);
        Ok(Marker::read(&folder)? == Marker::Damaged && list(&folder)?.len() > 1)
    }

    /// A marker that names no record is right where that was found damaged, or was taken back. Else
    /// it was damaged itself, which one without a checksum can't tell.
    fn tell_of_lost_choice(&self, folder: &Path, marked: &Digest) {
        let there = folder.join(file_name(marked)).exists();
        let aside = self.root.join(DAMAGED).join("records");
        if !there && !aside.join(file_name(marked)).exists() {
            tracing::warn!(
                "{} names a record that is not here: the one with the lowest digest is used",
                folder.join(MARKER).display()
            );
        }
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
        let bytes = match fsx::read_plain(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) if fsx::is_link(&path) => return self.lose(&path, name),
            Err(error) => return Err(StoreError::io(&path)(error)),
        };
        match whole(&path, &bytes, key, name)? {
            Some(record) => Ok(Some(StoredRecord::named(*name, record))),
            None => self.lose(&path, name),
        }
    }

    /// A damaged record counts as none, also where it can't be set aside.
    fn lose(&self, path: &Path, name: &Digest) -> Result<Option<StoredRecord>, StoreError> {
        if let Err(error) = self.set_record_aside(path, name) {
            tracing::warn!("a damaged record can't be set aside: {error}");
        }
        Ok(None)
    }

    pub(super) fn set_record_aside(&self, path: &Path, name: &Digest) -> Result<(), StoreError> {
        let folder = self.root.join(DAMAGED).join("records");
        let aside = folder.join(file_name(name));
        self.move_aside(path, &aside).map_err(StoreError::io(path))
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
