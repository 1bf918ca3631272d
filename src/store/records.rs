//! Reads records: all outcomes of a key, and the chosen one.

use std::io;
use std::path::Path;

use super::layout::DAMAGED;
use super::record::{RECORD_FORMAT, Record, StoredRecord};
use super::{Store, StoreError};
use crate::digest::{Digest, check};
use crate::fsx;
use crate::fsx::calls;

/// The file beside several records that names the chosen one. A single record needs none.
pub(super) const MARKER: &str = "chosen";

/// The content of a marker file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    /// There is no marker.
    Absent,
    Names(Digest),
    /// The marker is damaged; the chosen record is unknown.
    Damaged,
}

impl Marker {
    /// The record's digest and a checksum.
    pub fn text(record: &Digest) -> String {
        let record = record.to_hex();
        let sum = check::sum(record.as_bytes());
        format!("{record} {sum}\n")
    }

    /// The marker of a key whose records are in `folder`.
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
    /// The chosen record of `key`: the first one that this store accepted. A revoked record gives
    /// way to any other.
    ///
    /// Damaged records are set aside; if the chosen one is among them, the remaining record with
    /// the lowest digest replaces it.
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

    /// Chooses one of `candidates` (sorted): among those that are not revoked, the marked one, else
    /// the lowest.
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
                self.warn_of_lost_choice(&folder, &marked);
                Ok(lowest)
            }
            Marker::Damaged if self.any_choice => Ok(lowest),
            Marker::Damaged => Err(StoreError::Damaged {
                path: folder.join(MARKER),
                remedy: format!(
                    "the choice among the {} records of this key is lost; `ribflow cache choose FILE \
                     NODE` lists them, and chooses one by its digits",
                    candidates.len()
                ),
            }),
        }
    }

    /// Whether the choice among the records of `key` is lost.
    pub fn is_choice_lost(&self, key: &Digest) -> Result<bool, StoreError> {
        let folder = self.record_folder(key);
        Ok(Marker::read(&folder)? == Marker::Damaged && list(&folder)?.len() > 1)
    }

    /// A marker without its record is correct if that record was damaged or revoked. Otherwise the
    /// marker itself is damaged, which goes undetected without a checksum.
    fn warn_of_lost_choice(&self, folder: &Path, marked: &Digest) {
        let there = folder.join(file_name(marked)).exists();
        let aside = self.root.join(DAMAGED).join("records");
        if !there && !aside.join(file_name(marked)).exists() {
            tracing::warn!(
                "{} names a missing record: using the one with the lowest digest",
                folder.join(MARKER).display()
            );
        }
    }

    /// Whether there may be records of `key`.
    pub fn may_have_records(&self, key: &Digest) -> bool {
        fsx::may_exist(&self.record_folder(key))
    }

    /// All records of `key`, sorted by digest.
    pub fn records(&self, key: &Digest) -> Result<Vec<StoredRecord>, StoreError> {
        let folder = self.record_folder(key);
        let names = list(&folder)?;
        names
            .iter()
            .filter_map(|name| self.load(key, &folder, name).transpose())
            .collect()
    }

    /// One record of `key`; `None` if it is missing or damaged.
    pub fn record(&self, key: &Digest, name: &Digest) -> Result<Option<StoredRecord>, StoreError> {
        self.load(key, &self.record_folder(key), name)
    }

    /// One record, verified; `None` if it is missing or damaged.
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

    /// A damaged record counts as missing, even if it can't be set aside.
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

/// The record in `bytes`, if it has the digest `name` and the key `key`.
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

/// `None`: not a record. A newer format is an error, not damage.
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

/// The digests of the records in `folder`, sorted.
pub(super) fn list(folder: &Path) -> Result<Vec<Digest>, StoreError> {
    let entries = match calls::read_dir(folder) {
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
