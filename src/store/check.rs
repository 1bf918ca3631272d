//! Checking everything that lies in the store against its name. What is damaged is set aside and
//! never served again.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::gc::Heap;
use super::inventory::{Inventory, Outcome};
use super::layout::DAMAGED;
use super::objects::move_aside;
use super::records::file_name;
use super::{Artifact, Record, Signature, Store, StoreError, Wanted};
use crate::digest::Digest;
use crate::fsx;

/// What does not match its name, or is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It has been set aside.
    Blob {
        digest: Digest,
    },
    Record {
        key: Digest,
        record: Digest,
    },
    Signature {
        key: Digest,
        record: Digest,
        signer: Digest,
        why: String,
    },
    /// A record names it, nobody else has vouched for the record, and it is not here.
    Missing {
        key: Digest,
        record: Digest,
        digest: Digest,
    },
}

/// What a check has found.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    pub blobs: Heap,
    pub records: usize,
    pub signatures: usize,
    /// Blobs that are not here, of records that somebody has signed: to be had from there.
    pub elsewhere: Vec<Wanted>,
    /// In the order of what they are.
    pub faults: Vec<Fault>,
}

/// Whether a signature, which lies beside a record, is one for it. In words why not.
pub type Judge<'a> = dyn Fn(&Record, &Digest, &Signature) -> Result<(), String> + Sync + 'a;

impl Store {
    /// Reads everything in the store and compares it with its name. `progress` hears bytes, done
    /// and in all, from many threads.
    pub fn check_all(
        &self,
        judge: &Judge,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Checked, StoreError> {
        let mut checked = Checked::default();
        let mut faults = self.check_blobs(&mut checked.blobs, progress)?;
        let inventory = self.inventory()?;
        faults.extend(self.set_records_aside(&inventory)?);
        for outcome in &inventory.outcomes {
            checked.records += 1;
            let signatures = self.signatures(&outcome.key, &outcome.digest)?;
            for signature in &signatures {
                checked.signatures += 1;
                faults.extend(self.check_signature(outcome, signature, judge)?);
            }
            let missing = self.missing_of(outcome);
            // A cleaning may have taken both.
            let there = |one: &Outcome| self.record_path(&one.key, &one.digest).exists();
            if missing.is_empty() || !there(outcome) {
                continue;
            }
            // What was here and was set aside is lost, even where others may have it.
            let (lost, elsewhere): (Vec<Wanted>, Vec<Wanted>) = missing
                .into_iter()
                .partition(|one| signatures.is_empty() || self.was_set_aside(&one.digest));
            checked.elsewhere.extend(elsewhere);
            faults.extend(lost.into_iter().map(|wanted| Fault::Missing {
                key: outcome.key,
                record: outcome.digest,
                digest: wanted.digest,
            }));
        }
        checked.elsewhere.sort_unstable();
        checked.elsewhere.dedup_by_key(|wanted| wanted.digest);
        faults.sort();
        faults.dedup();
        checked.faults = faults;
        Ok(checked)
    }

    /// The blobs that a record must have here to be read in full, and has not.
    pub fn missing_of(&self, outcome: &Outcome) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for port in outcome.record.ports.values() {
            if port.inline.is_none() {
                wanted.push(Wanted {
                    digest: port.digest,
                    bytes: None,
                });
            }
            let artifact = self.artifact_here(port);
            wanted.extend(artifact.iter().flat_map(Artifact::wanted));
        }
        wanted.retain(|wanted| !self.has(&wanted.digest));
        wanted
    }

    fn check_blobs(
        &self,
        heap: &mut Heap,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Vec<Fault>, StoreError> {
        let objects = self.objects()?;
        heap.count = objects.len();
        heap.bytes = objects.values().map(|object| object.bytes).sum();
        let total = heap.bytes;
        let done = AtomicU64::new(0);
        let objects: Vec<_> = objects.into_iter().collect();
        let faults = objects.par_iter().map(|(digest, object)| {
            let path = self.object_path(digest);
            let whole = whole(&path, digest)?;
            progress(
                done.fetch_add(object.bytes, Ordering::Relaxed) + object.bytes,
                total,
            );
            match whole {
                true => Ok(None),
                false => {
                    let aside = self.root.join(DAMAGED).join("objects");
                    let aside = aside.join(digest.to_hex());
                    move_aside(&path, &aside).map_err(StoreError::io(&path))?;
                    Ok(Some(Fault::Blob { digest: *digest }))
                }
            }
        });
        let faults: Vec<Option<Fault>> = faults.collect::<Result<_, StoreError>>()?;
        Ok(faults.into_iter().flatten().collect())
    }

    fn set_records_aside(&self, inventory: &Inventory) -> Result<Vec<Fault>, StoreError> {
        let mut faults = Vec::new();
        for path in &inventory.damaged {
            let stem = |path: &Path| path.file_stem()?.to_str()?.parse::<Digest>().ok();
            let key = |path: &Path| path.parent()?.file_name()?.to_str()?.parse().ok();
            if let (Some(record), Some(key)) = (stem(path), key(path)) {
                self.set_record_aside(path, &record)?;
                faults.push(Fault::Record { key, record });
            }
        }
        Ok(faults)
    }

    fn check_signature(
        &self,
        outcome: &Outcome,
        signature: &Signature,
        judge: &Judge,
    ) -> Result<Option<Fault>, StoreError> {
        let Err(why) = judge(&outcome.record, &outcome.digest, signature) else {
            return Ok(None);
        };
        let name = format!("{}.{}.sig", outcome.digest, signature.signer);
        let path = self.record_folder(&outcome.key).join(&name);
        let aside = self.root.join(DAMAGED).join("records").join(&name);
        move_aside(&path, &aside).map_err(StoreError::io(&path))?;
        Ok(Some(Fault::Signature {
            key: outcome.key,
            record: outcome.digest,
            signer: signature.signer,
            why,
        }))
    }

    fn record_path(&self, key: &Digest, record: &Digest) -> std::path::PathBuf {
        self.record_folder(key).join(file_name(record))
    }
}

/// Whether a blob has its name's content. One that is gone meanwhile is nothing to complain of.
fn whole(path: &Path, digest: &Digest) -> Result<bool, StoreError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
        file => file.map_err(StoreError::io(path))?,
    };
    match fsx::hash_reader(&mut file) {
        Ok((found, _)) => Ok(found == *digest),
        // What the disk can't read is damaged as well, as long as the file is there.
        Err(_) if fs::metadata(path).is_ok() => Ok(false),
        Err(error) => Err(StoreError::io(path)(error)),
    }
}
