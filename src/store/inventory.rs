//! The content of a store: blobs, records with what they reference, and content that can be removed
//! at any time. Taking the inventory changes and fetches nothing. Garbage collection, checks and
//! statistics rest on it.

use std::collections::{BTreeSet, HashMap};
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rayon::prelude::*;

use super::artifact::Artifact;
use super::layout::{DAMAGED, DERIVED, DOWNLOADS, ENVIRONMENTS, OBJECTS, RECORDS};
use super::records::{self, file_name};
use super::{Record, Store, StoreError};
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls;

/// A blob in the store.
#[derive(Clone, Copy, Debug)]
pub struct Object {
    pub bytes: u64,
    /// When it was last written, or a write found it present.
    pub time: SystemTime,
}

/// A record in the store.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub key: Digest,
    pub digest: Digest,
    pub record: Record,
    /// Bytes of the record's own file and of the signatures beside it.
    pub bytes: u64,
    pub time: SystemTime,
    /// Every blob that it references, including encoded images, as far as its artifacts are here.
    pub names: Vec<Digest>,
}

/// A folder whose content can be removed at any time. In order of removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transient {
    Derived,
    Downloads,
    Damaged,
    Environments,
}

impl Transient {
    pub const ALL: [Self; 4] = [
        Self::Derived,
        Self::Downloads,
        Self::Damaged,
        Self::Environments,
    ];

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Derived => DERIVED,
            Self::Downloads => DOWNLOADS,
            Self::Damaged => DAMAGED,
            Self::Environments => ENVIRONMENTS,
        }
    }
}

/// A file or folder that can be removed at any time, as a whole.
#[derive(Clone, Debug)]
pub struct Piece {
    pub kind: Transient,
    pub path: PathBuf,
    pub bytes: u64,
    /// When it was last used.
    pub time: SystemTime,
}

/// Everything in a store except its runs.
#[derive(Debug, Default)]
pub struct Inventory {
    pub objects: HashMap<Digest, Object>,
    /// Sorted by key.
    pub outcomes: Vec<Outcome>,
    pub pieces: Vec<Piece>,
    /// Files among the records that are not records, or do not match their names.
    pub damaged: Vec<PathBuf>,
    /// Files that can't be read, with the reason.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// The content of the folder of a key.
#[derive(Default)]
struct KeyFolder {
    outcomes: Vec<Outcome>,
    damaged: Vec<PathBuf>,
    unreadable: Vec<(PathBuf, String)>,
}

impl Store {
    /// Lists everything in the store.
    ///
    /// # Errors
    /// A file or folder can't be read, or a record has a newer format, so that its blobs are
    /// unknown.
    pub fn inventory(&self) -> Result<Inventory, StoreError> {
        let inventory = self.inventory_as_far()?;
        match inventory.unreadable.first() {
            None => Ok(inventory),
            Some((path, why)) => Err(StoreError::io(path)(io::Error::other(why.clone()))),
        }
    }

    /// As [`Store::inventory`], but lists files that can't be read instead of failing.
    pub fn inventory_as_far(&self) -> Result<Inventory, StoreError> {
        let mut inventory = Inventory {
            objects: self.objects()?,
            pieces: self.pieces()?,
            ..Inventory::default()
        };
        let keys = self.keys()?;
        let read: Vec<KeyFolder> = keys
            .par_iter()
            .map(|key| self.outcomes(key))
            .collect::<Result<_, StoreError>>()?;
        for of_key in read {
            inventory.outcomes.extend(of_key.outcomes);
            inventory.damaged.extend(of_key.damaged);
            inventory.unreadable.extend(of_key.unreadable);
        }
        Ok(inventory)
    }

    /// Every key that has a folder of records, sorted.
    pub fn keys(&self) -> Result<Vec<Digest>, StoreError> {
        let mut keys = BTreeSet::new();
        for (_, folder) in entries(&self.root.join(RECORDS))? {
            for (name, _) in entries(&folder)? {
                keys.extend(name.parse::<Digest>());
            }
        }
        Ok(keys.into_iter().collect())
    }

    /// Every blob.
    pub fn objects(&self) -> Result<HashMap<Digest, Object>, StoreError> {
        let mut objects = HashMap::new();
        for (first, folder) in entries(&self.root.join(OBJECTS))? {
            for (rest, path) in entries(&folder)? {
                let (Ok(digest), Some(metadata)) =
                    (format!("{first}{rest}").parse::<Digest>(), file(&path)?)
                else {
                    continue;
                };
                let object = Object {
                    bytes: metadata.len(),
                    time: modified(&path, &metadata)?,
                };
                objects.insert(digest, object);
            }
        }
        Ok(objects)
    }

    fn outcomes(&self, key: &Digest) -> Result<KeyFolder, StoreError> {
        let folder = self.record_folder(key);
        let mut of_key = KeyFolder::default();
        for digest in records::list(&folder)? {
            let path = folder.join(file_name(&digest));
            let Some(metadata) = file(&path)? else {
                continue;
            };
            let bytes = match fsx::again(|| fsx::read_plain(&path)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    of_key.unreadable.push((path, error.to_string()));
                    continue;
                }
                Ok(bytes) => bytes,
            };
            let Some(record) = records::whole(&path, &bytes, key, &digest)? else {
                of_key.damaged.push(path);
                continue;
            };
            let names = match self.names(&record) {
                Ok(names) => names,
                Err(StoreError::Io { path, source }) => {
                    of_key.unreadable.push((path, source.to_string()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let signatures = self.signatures(key, &digest)?;
            let signed: usize = signatures.iter().map(|one| one.envelope.len()).sum();
            of_key.outcomes.push(Outcome {
                key: *key,
                digest,
                names,
                record,
                bytes: metadata.len() + signed as u64,
                time: modified(&path, &metadata)?,
            });
        }
        Ok(of_key)
    }

    /// Every blob that a record references, as far as its artifacts are here.
    ///
    /// # Errors
    /// An artifact is here but can't be read. Its blobs must not count as unreferenced.
    pub fn names(&self, record: &Record) -> Result<Vec<Digest>, StoreError> {
        let mut names = BTreeSet::new();
        for port in record.ports.values() {
            if port.inline.is_none() {
                names.insert(port.digest);
            }
            if let Some(artifact) = self.artifact_here(port)? {
                names.extend(all_blobs(&artifact));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// The artifact of a port if it is here and intact. Fetches nothing and sets nothing aside.
    pub(super) fn artifact_here(&self, port: &super::Port) -> Result<Option<Artifact>, StoreError> {
        if let Some(artifact) = &port.inline {
            return Ok(Some(artifact.clone()));
        }
        let path = self.object_path(&port.digest);
        let bytes = match fsx::again(|| fsx::read_plain(&path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(_) if fsx::is_link(&path) => return Ok(None),
            bytes => bytes.map_err(StoreError::io(&path))?,
        };
        let whole = Digest::of(&bytes) == port.digest;
        Ok(whole.then(|| serde_json::from_slice(&bytes).ok()).flatten())
    }

    fn pieces(&self) -> Result<Vec<Piece>, StoreError> {
        let mut pieces = Vec::new();
        for kind in Transient::ALL {
            for (_, path) in entries(&self.root.join(kind.name()))? {
                match kind {
                    // These are nested: a folder for each key, and one each for damaged blobs and
                    // records.
                    Transient::Derived | Transient::Damaged => {
                        for (_, path) in entries(&path)? {
                            pieces.extend(piece(kind, path)?);
                        }
                    }
                    Transient::Downloads if path.ends_with("blobs") => {
                        for (_, path) in entries(&path)? {
                            pieces.extend(piece(kind, path)?);
                        }
                    }
                    Transient::Downloads | Transient::Environments => {
                        pieces.extend(piece(kind, path)?)
                    }
                }
            }
        }
        Ok(pieces)
    }
}

/// The blobs that an artifact references, including encoded images.
fn all_blobs(artifact: &Artifact) -> impl Iterator<Item = Digest> + use<> {
    let images = artifact.encoded_images();
    let blobs = artifact.blobs().into_iter().map(|blob| blob.digest);
    blobs.chain(images)
}

pub(super) fn piece(kind: Transient, path: PathBuf) -> Result<Option<Piece>, StoreError> {
    if path.extension().is_some_and(|ending| ending == "lock") {
        return Ok(None);
    }
    let (mut bytes, mut time) = (0, SystemTime::UNIX_EPOCH);
    let mut open = vec![path.clone()];
    while let Some(path) = open.pop() {
        // Removed in the meantime: it takes no room.
        let Ok(metadata) = calls::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            open.extend(entries(&path)?.into_iter().map(|(_, path)| path));
        } else {
            bytes += metadata.len();
            time = time.max(modified(&path, &metadata)?);
        }
    }
    Ok(Some(Piece {
        kind,
        path,
        bytes,
        time,
    }))
}

/// Names and paths in a folder, without links; empty if the folder is missing.
pub(super) fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let entries = match calls::read_dir(folder) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        entries => entries.map_err(StoreError::io(folder))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(StoreError::io(folder))?;
        let kind = entry.file_type().map_err(StoreError::io(folder))?;
        // All names that a store gives are ASCII.
        if let Ok(name) = entry.file_name().into_string()
            && !kind.is_symlink()
        {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// The metadata of a file; `None` if it is gone or is not a file.
fn file(path: &Path) -> Result<Option<Metadata>, StoreError> {
    match calls::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        metadata => {
            let metadata = metadata.map_err(StoreError::io(path))?;
            Ok(metadata.is_file().then_some(metadata))
        }
    }
}

fn modified(path: &Path, metadata: &Metadata) -> Result<SystemTime, StoreError> {
    metadata.modified().map_err(StoreError::io(path))
}
