//! The record index: copies of the chosen records of one workflow, so that a run without work reads
//! one file rather than a folder and a file for each node.
//!
//! ```text
//! "ribflow records 5\n"  count:u64  count × row  copies  BLAKE3 of all before
//! row: key  record  alone:u8  stamp of the key's folder  end of its copy:u64
//! ```
//!
//! Rows are sorted by key. A copy is valid while the stamp of the key's folder is unchanged: adding
//! or removing a record or a choice changes the stamp. Damage to the original record is not
//! detected here, but it is not served either: the copy was intact when it was made. Derived:
//! without the index, the original records are read.

mod copy;

use std::collections::{BTreeMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use memmap2::Mmap;

use self::copy::Copied;
use super::layout::{RECORD_INDEX, RECORDS, TMP};
use super::packed::{self, Format, Reader};
use super::{Store, StoreError, StoredRecord};
use crate::contract::recipe::Recipe;
use crate::digest::Digest;
use crate::fsx::{self, Stamp, nanoseconds_since_1970};

const FORMAT: Format = Format(b"ribflow records 5\n");
const DIGEST: usize = 32;
const ROW: usize = 2 * DIGEST + 1 + Stamp::BYTES + 8;

/// The copies for one workflow, and the records that this process has read.
pub struct RecordIndex<'a> {
    store: &'a Store,
    path: PathBuf,
    /// The folder of records of the store.
    records: Option<OwnedFd>,
    loaded: Option<Loaded>,
    /// Rows of the index that are still valid.
    used: HashSet<usize>,
    fresh: BTreeMap<Digest, (Row, Vec<u8>)>,
}

/// The condition under which a copy is valid.
#[derive(Clone, Copy)]
struct Row {
    key: Digest,
    record: Digest,
    /// The key has no other record.
    alone: bool,
    folder: Stamp,
}

impl<'a> RecordIndex<'a> {
    /// `name` identifies the workflow. An index that is missing, torn or of another version counts
    /// as empty.
    pub fn open(store: &'a Store, name: &str) -> Self {
        let name = Digest::of(name.as_bytes()).to_hex();
        let path = store.root().join(RECORD_INDEX).join(name);
        Self {
            store,
            records: fsx::open_folder(&store.root().join(RECORDS)),
            loaded: Loaded::open(&path),
            path,
            used: HashSet::new(),
            fresh: BTreeMap::new(),
        }
    }

    /// The copy of the chosen record of `key`, the key of `recipe`; returns the recipe if there is
    /// no valid copy.
    pub fn copy(&mut self, key: &Digest, recipe: Recipe) -> Result<StoredRecord, Recipe> {
        let Some((row, copied)) = self.find(key) else {
            return Err(recipe);
        };
        Ok(StoredRecord {
            digest: row.record,
            record: copied.into_record(*key, recipe),
            alone: row.alone,
        })
    }

    /// As [`Store::chosen`]; also keeps a copy for the next run.
    pub fn chosen(&mut self, key: &Digest) -> Result<Option<StoredRecord>, StoreError> {
        let now = nanoseconds_since_1970();
        let folder = self.stamp(&folder_path(key));
        let found = self.store.chosen(key)?;
        if let (Some(found), Some(folder)) = (&found, folder)
            && !folder.is_young(now)
        {
            let row = Row {
                key: *key,
                record: found.digest,
                alone: self.store.record_names(key)?.len() == 1,
                folder,
            };
            self.fresh.insert(*key, (row, copy::encode(&found.record)));
        }
        Ok(found)
    }

    /// The keys of all records used, with the stamps of their folders, which later show whether
    /// they are unchanged; `None` if a key has several records.
    pub fn folders(&self) -> Option<Vec<(Digest, Stamp)>> {
        let mut used: Vec<usize> = self.used.iter().copied().collect();
        used.sort_unstable();
        let used = used.into_iter().filter_map(|index| {
            let (row, _) = self.loaded.as_ref()?.at(index)?;
            Some(row)
        });
        let rows = used.chain(self.fresh.values().map(|(row, _)| *row));
        rows.map(|row| row.alone.then_some((row.key, row.folder)))
            .collect()
    }

    /// Writes the index for the next run.
    pub fn save(&mut self) -> Result<(), StoreError> {
        if self.fresh.is_empty() {
            return Ok(());
        }
        let mut rows = std::mem::take(&mut self.fresh);
        if let Some(loaded) = &self.loaded {
            // Rows for other goals of the workflow stay, unless they are the larger part.
            let all = loaded.rows().len() <= 2 * (self.used.len() + rows.len());
            for index in (0..loaded.rows().len()).filter(|index| all || self.used.contains(index)) {
                if let Some((row, copy)) = loaded.at(index) {
                    rows.entry(row.key).or_insert((row, copy.to_vec()));
                }
            }
        }
        let tmp = self.store.root().join(TMP);
        fsx::replace(&self.path, &tmp, fsx::SHARED, &encode(&rows))
            .map_err(StoreError::io(&self.path))
    }

    fn find(&mut self, key: &Digest) -> Option<(Row, Copied)> {
        let loaded = self.loaded.as_ref()?;
        let index = loaded.find(key)?;
        let (row, copy) = loaded.at(index)?;
        let is_same = self.stamp(&folder_path(key))? == row.folder;
        let copied = is_same.then(|| copy::decode(copy)).flatten()?;
        // If the record was revoked since, the store chooses among all records.
        let accepted = &copied.provenance().accepted;
        let revoked = self.store.is_repetition_revoked(key, &row.record, accepted);
        if revoked.unwrap_or(true) {
            return None;
        }
        self.used.insert(index);
        Some((row, copied))
    }

    fn stamp(&self, path: &str) -> Option<Stamp> {
        Stamp::at(self.records.as_ref()?, path)
    }
}

/// The path below the folder of records.
pub(super) fn folder_path(key: &Digest) -> String {
    let hex = key.to_hex();
    [&hex[..2], "/", &hex].concat()
}

fn encode(rows: &BTreeMap<Digest, (Row, Vec<u8>)>) -> Vec<u8> {
    let mut writer = FORMAT.writer();
    writer.number(rows.len() as u64);
    let mut end = 0;
    for (row, copy) in rows.values() {
        end += copy.len() as u64;
        writer.digest(&row.key);
        writer.digest(&row.record);
        writer.tag(u8::from(row.alone));
        writer.stamp(&row.folder);
        writer.number(end);
    }
    rows.values().for_each(|(_, copy)| writer.0.extend(copy));
    writer.sealed()
}

/// A mapped index file.
struct Loaded {
    bytes: Mmap,
    count: usize,
}

const HEAD: usize = FORMAT.head() + 8;

impl Loaded {
    fn open(path: &std::path::Path) -> Option<Self> {
        let bytes = packed::map(path)?;
        let mut reader = Reader(FORMAT.content(&bytes)?);
        let count = usize::try_from(reader.number()?).ok()?;
        reader.take(count.checked_mul(ROW)?)?;
        Some(Self { bytes, count })
    }

    fn rows(&self) -> &[[u8; ROW]] {
        let (rows, _) = self.bytes[HEAD..HEAD + self.count * ROW].as_chunks();
        rows
    }

    fn find(&self, key: &Digest) -> Option<usize> {
        let rows = self.rows();
        let found = rows.binary_search_by(|row| row[..DIGEST].cmp(key.as_bytes()));
        found.ok()
    }

    /// A row and the copy that belongs to it.
    fn at(&self, index: usize) -> Option<(Row, &[u8])> {
        let mut reader = Reader(self.rows().get(index)?);
        let row = Row {
            key: reader.digest()?,
            record: reader.digest()?,
            alone: reader.tag()? == 1,
            folder: reader.stamp()?,
        };
        let start = index.checked_sub(1).map_or(Some(0), |one| self.end(one))?;
        let copies = self.bytes.get(HEAD + self.count * ROW..)?;
        Some((row, copies.get(start..self.end(index)?)?))
    }

    fn end(&self, index: usize) -> Option<usize> {
        let end = self.rows().get(index)?.last_chunk()?;
        usize::try_from(u64::from_le_bytes(*end)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_an_index_stay_the_same() {
        let digest = |name: &str| Digest::of(name.as_bytes());
        let row = |name: &str, alone: bool| Row {
            key: digest(name),
            record: digest("record"),
            alone,
            folder: Stamp {
                device: 1,
                inode: 2,
                size: 3,
                modified: 4,
                changed: -5,
            },
        };
        let rows = [("a", true, "copy"), ("b", false, "another copy")];
        let rows = rows.map(|(name, alone, copy)| {
            let row = row(name, alone);
            (row.key, (row, copy.as_bytes().to_vec()))
        });
        let bytes = encode(&rows.into());
        assert_eq!(
            Digest::of(&bytes).to_hex(),
            "75a7b1eef0b3fc81ad1f00466f4ea0e7a9358f25c4e630f9298536f84fdce603"
        );
    }
}
