//! Publishing: the group commit that makes results visible only once they are safe.
//!
//! Workers write and rename blobs without flushing. Publishing flushes the file system once for all
//! of them, then makes the records visible, then flushes again. So a visible record never
//! references a blob that a crash could lose.

use std::path::{Path, PathBuf};

use super::layout::record_folder_name;
use super::record::Record;
use super::records::{MARKER, Marker, file_name, list};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx;

impl Store {
    /// Publishes `records` together and returns their digests, in order. When it returns, they and
    /// all blobs that they reference survive a crash.
    ///
    /// # Errors
    /// A record references a missing blob, or its key does not match its recipe. Then nothing is
    /// published.
    pub fn publish(&self, records: &[Record]) -> Result<Vec<Digest>, StoreError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut needed = Vec::with_capacity(records.len());
        for record in records {
            needed.push(self.check(record)?);
        }
        self.make_visible(records, needed)
    }

    /// As [`Store::publish`], for records that another store has published with their blobs.
    pub(super) fn publish_without_blobs(
        &self,
        records: &[Record],
    ) -> Result<Vec<Digest>, StoreError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        records.iter().try_for_each(check_key)?;
        self.make_visible(records, vec![Vec::new(); records.len()])
    }

    fn make_visible(
        &self,
        records: &[Record],
        needed: Vec<Vec<Digest>>,
    ) -> Result<Vec<Digest>, StoreError> {
        let tmp = self.session_folder()?;
        let all = needed.iter().flatten();
        let mut durable: Vec<PathBuf> = all.map(|digest| self.object_path(digest)).collect();
        let mut staged = Vec::new();
        for (record, needs) in records.iter().zip(needed) {
            let bytes = record.to_bytes();
            let file = fsx::stage(&tmp, fsx::SEALED, &bytes).map_err(StoreError::io(&tmp))?;
            durable.push(file.path().to_path_buf());
            staged.push(Staged {
                folder: self.record_folder(&record.key),
                key: record.key,
                needs,
                digest: Digest::of(&bytes),
                file,
            });
        }
        let digests = staged.iter().map(|staged| staged.digest).collect();
        self.flush(&durable)?;
        let appeared = self.appear(&tmp, staged)?;
        self.flush(&appeared)?;
        Ok(digests)
    }

    /// Makes `record` the chosen record of `key`.
    pub fn choose(&self, key: &Digest, record: &Digest) -> Result<(), StoreError> {
        let folder = self.record_folder(key);
        let tmp = self.session_folder()?;
        let _publishing = self.publishing()?;
        fsx::refuse_links(&self.root, &folder.join(MARKER)).map_err(StoreError::io(&folder))?;
        if !list(&folder)?.contains(record) {
            return Err(StoreError::NoSuchRecord {
                key: *key,
                record: *record,
            });
        }
        mark(&folder, &tmp, record)?;
        self.flush(&[folder.join(MARKER)])
    }

    /// The blobs that the record references, which are fetched if they can be.
    fn check(&self, record: &Record) -> Result<Vec<Digest>, StoreError> {
        check_key(record)?;
        let mut needed = Vec::new();
        for port in record.ports.values() {
            let artifact = self.artifact(port)?;
            if port.inline.is_none() {
                needed.push(port.digest);
            }
            let blobs = artifact.blobs();
            self.obtain(&artifact.wanted().collect::<Vec<_>>());
            needed.extend(blobs.iter().map(|blob| blob.digest));
        }
        // Outputs may share files.
        needed.sort_unstable();
        needed.dedup();
        Ok(needed)
    }

    fn check_there(&self, key: &Digest, needed: &[Digest]) -> Result<(), StoreError> {
        match needed.iter().find(|digest| !self.has(digest)) {
            Some(missing) => Err(StoreError::Incomplete {
                key: *key,
                digest: *missing,
            }),
            None => Ok(()),
        }
    }

    /// Renames the staged records into place, one publisher at a time, so that exactly one of two
    /// outcomes of a key is the first and remains the chosen one.
    fn appear(&self, tmp: &Path, staged: Vec<Staged>) -> Result<Vec<PathBuf>, StoreError> {
        let _publishing = self.publishing()?;
        // Now that garbage collection is excluded, which renames blobs for a moment: all blobs, before
        // the first record appears.
        for staged in &staged {
            self.check_there(&staged.key, &staged.needs)?;
        }
        let below = self.below().map_err(StoreError::io(&self.root))?;
        let mut appeared = Vec::new();
        for Staged {
            folder,
            key,
            digest,
            mut file,
            ..
        } in staged
        {
            let path = folder.join(file_name(&digest));
            let name = record_folder_name(&key);
            let new_folder = below
                .make_new_folder(&name)
                .map_err(StoreError::io(&path))?;
            if let Some(new_folder) = new_folder {
                let placed = new_folder.place(&mut file, &file_name(&digest));
                placed.map_err(StoreError::io(&path))?;
                appeared.push(path);
                continue;
            }
            fsx::refuse_links(&self.root, &path).map_err(StoreError::io(&path))?;
            let there = list(&folder)?;
            if there.contains(&digest) {
                continue;
            }
            // A damaged marker stays, so that the user is asked.
            let chosen = match self.choice(&key, &there) {
                Err(StoreError::Damaged { .. }) => None,
                chosen => chosen?,
            };
            if let Some(chosen) = chosen {
                // A revoked record gives way.
                let stays = match self.is_revoked(&key, &chosen)? {
                    true => digest,
                    false => chosen,
                };
                if Marker::read(&folder)? != Marker::Names(stays) {
                    mark(&folder, tmp, &stays)?;
                    appeared.push(folder.join(MARKER));
                }
            }
            let placed = below.place(&mut file, &format!("{name}/{}", file_name(&digest)));
            placed.map_err(StoreError::io(&path))?;
            appeared.push(path);
        }
        Ok(appeared)
    }

    /// Makes `files` durable, and with them everything that is on their file system.
    pub(super) fn flush(&self, files: &[PathBuf]) -> Result<(), StoreError> {
        #[cfg(target_os = "linux")]
        let flushed = {
            let _ = files;
            self.below().and_then(|below| below.sync_filesystem())
        };
        #[cfg(not(target_os = "linux"))]
        let flushed = fsx::sync_filesystem(&self.root, files);
        flushed.map_err(StoreError::io(&self.root))
    }
}

fn check_key(record: &Record) -> Result<(), StoreError> {
    let found = record.recipe.key();
    match found == record.key {
        true => Ok(()),
        false => Err(StoreError::WrongKey {
            said: record.key,
            found,
        }),
    }
}

struct Staged {
    folder: PathBuf,
    key: Digest,
    /// The blobs that must be present.
    needs: Vec<Digest>,
    digest: Digest,
    file: fsx::Draft,
}

/// Rare, so flushed separately: a crash that empties the marker would change the choice.
fn mark(folder: &Path, tmp: &Path, chosen: &Digest) -> Result<(), StoreError> {
    let path = folder.join(MARKER);
    fsx::replace_durably(&path, tmp, fsx::SHARED, Marker::text(chosen).as_bytes())
        .map_err(StoreError::io(&path))
}
