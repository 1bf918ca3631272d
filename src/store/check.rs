//! Checks everything in the store against its name. Damaged files are set aside and never served
//! again.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::gc::Tally;
use super::inventory::{Inventory, Outcome};
use super::layout::{DAMAGED, DERIVED, DOWNLOADS, OBJECTS, PINS, RECORDS, RUNS, WITHHELD};
use super::records::{MARKER, Marker, file_name};
use super::{Artifact, BlobRequest, Record, Signature, Store, StoreError};
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls;

/// Something that does not match its name, or is missing.
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
    /// A blob, a record or a small file that can't be read. That alone is not damage.
    Unreadable {
        path: PathBuf,
        why: String,
    },
    /// A damaged small file on which decisions depend. It stays in its place.
    Small {
        path: PathBuf,
        why: String,
    },
    /// A blob that is missing here, of a record that no other lab has signed.
    Missing {
        key: Digest,
        record: Digest,
        digest: Digest,
    },
}

/// The result of a check.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    pub blobs: Tally,
    pub records: usize,
    pub signatures: usize,
    /// Blobs that are missing here, of signed records: the signers may have them.
    pub elsewhere: Vec<BlobRequest>,
    /// Sorted by kind of fault.
    pub faults: Vec<Fault>,
    /// Damaged files that could not be set aside, with the reason.
    pub kept: Vec<(PathBuf, String)>,
}

/// Verifies that a signature beside a record is valid for it. The error is a sentence for the user.
pub type SignatureCheck<'a> =
    dyn Fn(&Record, &Digest, &Signature) -> Result<(), String> + Sync + 'a;

impl Store {
    /// Reads everything in the store and compares it with its name. `progress` receives the bytes
    /// done and the total, from many threads.
    pub fn check_all(
        &self,
        judge: &SignatureCheck,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<CheckReport, StoreError> {
        let mut checked = CheckReport::default();
        let kept = Mutex::default();
        let mut faults = self.check_blobs(&mut checked.blobs, &kept, progress)?;
        let inventory = self.inventory_as_far()?;
        faults.extend(self.set_records_aside(&inventory, &kept));
        faults.extend(inventory.unreadable.iter().map(unreadable));
        faults.extend(self.check_small_files()?);
        for outcome in &inventory.outcomes {
            checked.records += 1;
            let signatures = self.signatures(&outcome.key, &outcome.digest)?;
            for signature in &signatures {
                checked.signatures += 1;
                faults.extend(self.check_signature(outcome, signature, judge, &kept));
            }
            let missing = self.missing_of(outcome)?;
            // Garbage collection may have removed both.
            let there = |one: &Outcome| self.record_path(&one.key, &one.digest).exists();
            if missing.is_empty() || !there(outcome) {
                continue;
            }
            // A blob that was here and was set aside counts as lost, even if others have a copy.
            let (lost, elsewhere): (Vec<BlobRequest>, Vec<BlobRequest>) = missing
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
        checked.kept = kept.into_inner().unwrap_or_else(|held| held.into_inner());
        Ok(checked)
    }

    /// The blobs that are needed to read the record in full and are missing here.
    pub fn missing_of(&self, outcome: &Outcome) -> Result<Vec<BlobRequest>, StoreError> {
        let mut wanted = Vec::new();
        for port in outcome.record.ports.values() {
            if port.inline.is_none() {
                wanted.push(BlobRequest {
                    digest: port.digest,
                    bytes: None,
                });
            }
            let artifact = self.artifact_here(port)?;
            wanted.extend(artifact.iter().flat_map(Artifact::wanted));
        }
        let mut missing = Vec::new();
        for wanted in wanted {
            if !self.is_there(&wanted.digest)? {
                missing.push(wanted);
            }
        }
        Ok(missing)
    }

    /// As [`Store::has`], but a blob that can't be inspected is not reported as missing.
    fn is_there(&self, digest: &Digest) -> Result<bool, StoreError> {
        let path = self.object_path(digest);
        match fsx::again(|| calls::symlink_metadata(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            metadata => Ok(metadata.map_err(StoreError::io(&path))?.is_file()),
        }
    }

    fn check_blobs(
        &self,
        heap: &mut Tally,
        kept: &DamagedInPlace,
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
            let state = blob_state(&path, digest);
            progress(
                done.fetch_add(object.bytes, Ordering::Relaxed) + object.bytes,
                total,
            );
            match state {
                State::Whole | State::Gone => None,
                State::Unreadable(why) => Some(unreadable(&(path, why))),
                State::Damaged => {
                    let aside = self.damaged_objects().join(digest.to_hex());
                    self.set_aside_or_keep(&path, &aside, kept);
                    Some(Fault::Blob { digest: *digest })
                }
            }
        });
        let faults: Vec<Option<Fault>> = faults.collect();
        Ok(faults.into_iter().flatten().collect())
    }

    fn set_records_aside(&self, inventory: &Inventory, kept: &DamagedInPlace) -> Vec<Fault> {
        let mut faults = Vec::new();
        for path in &inventory.damaged {
            let stem = |path: &Path| path.file_stem()?.to_str()?.parse::<Digest>().ok();
            let key = |path: &Path| path.parent()?.file_name()?.to_str()?.parse().ok();
            if let (Some(record), Some(key)) = (stem(path), key(path)) {
                let aside = self.damaged_records().join(file_name(&record));
                self.set_aside_or_keep(path, &aside, kept);
                faults.push(Fault::Record { key, record });
            }
        }
        faults
    }

    fn check_signature(
        &self,
        outcome: &Outcome,
        signature: &Signature,
        judge: &SignatureCheck,
        kept: &DamagedInPlace,
    ) -> Option<Fault> {
        let why = judge(&outcome.record, &outcome.digest, signature).err()?;
        let name = format!("{}.{}.sig", outcome.digest, signature.signer);
        let path = self.record_folder(&outcome.key).join(&name);
        self.set_aside_or_keep(&path, &self.damaged_records().join(&name), kept);
        Some(Fault::Signature {
            key: outcome.key,
            record: outcome.digest,
            signer: signature.signer,
            why,
        })
    }

    fn damaged_records(&self) -> PathBuf {
        self.root.join(DAMAGED).join("records")
    }

    fn set_aside_or_keep(&self, path: &Path, aside: &Path, kept: &DamagedInPlace) {
        if let Err(error) = self.move_aside(path, aside) {
            let mut kept = kept.lock().unwrap_or_else(|held| held.into_inner());
            kept.push((path.to_path_buf(), error.to_string()));
        }
    }

    /// Checks the files that decide which record is used, what is kept and what is shared; and
    /// reports links, which are never followed.
    fn check_small_files(&self) -> Result<Vec<Fault>, StoreError> {
        let mut faults = Vec::new();
        let small = |path: PathBuf, why: &str| Fault::Small {
            path,
            why: why.to_string(),
        };
        for key in self.keys()? {
            let folder = self.record_folder(&key);
            if Marker::read(&folder)? == Marker::Damaged {
                faults.push(small(folder.join(MARKER), UNLIKE));
            }
        }
        let damaged = self.damaged_pins()?.into_iter();
        faults.extend(
            damaged
                .chain(self.damaged_lists()?)
                .map(|path| small(path, UNLIKE)),
        );
        for name in [
            OBJECTS, RECORDS, WITHHELD, PINS, RUNS, DERIVED, DAMAGED, DOWNLOADS,
        ] {
            let links = links(&self.root.join(name))?.into_iter();
            faults.extend(links.map(|path| small(path, LINK)));
        }
        Ok(faults)
    }

    fn record_path(&self, key: &Digest, record: &Digest) -> std::path::PathBuf {
        self.record_folder(key).join(file_name(record))
    }
}

const UNLIKE: &str = "its content does not match its checksum";
const LINK: &str = "it is a link, and links in a store are not followed";

/// Damaged files that stay in their place.
type DamagedInPlace = Mutex<Vec<(PathBuf, String)>>;

fn unreadable((path, why): &(PathBuf, String)) -> Fault {
    Fault::Unreadable {
        path: path.clone(),
        why: why.clone(),
    }
}

/// The state of a blob.
enum State {
    Whole,
    Damaged,
    Unreadable(String),
    /// Removed in the meantime, which is not a fault.
    Gone,
}

/// A blob counts as damaged only if it was read to the end twice: a single read error of a disk or
/// a busy system does not mean that the content has changed.
fn blob_state(path: &Path, digest: &Digest) -> State {
    let mut state = State::Gone;
    for _ in 0..2 {
        let hashed = fsx::again(|| fsx::hash_reader(&mut fsx::open_plain(path)?));
        state = match hashed {
            Ok((found, _)) if found == *digest => return State::Whole,
            Ok(_) => State::Damaged,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return State::Gone,
            Err(error) => return State::Unreadable(error.to_string()),
        };
    }
    state
}

/// Every link below a folder.
fn links(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut links = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = match calls::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.map_err(StoreError::io(&folder))?,
        };
        for entry in entries {
            let entry = entry.map_err(StoreError::io(&folder))?;
            let kind = entry.file_type().map_err(StoreError::io(&folder))?;
            if kind.is_symlink() {
                links.push(entry.path());
            } else if kind.is_dir() {
                open.push(entry.path());
            }
        }
    }
    Ok(links)
}
