//! Blobs: written once, named by content, verified before use.

use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::artifact::{Artifact, Blob, BlobError, Blobs};
use super::layout::{DAMAGED, object_name};
use super::record::Port;
use super::{BlobRequest, Store, StoreError};
use crate::contract::port::OutputSpec;
use crate::digest::Digest;
use crate::fsx::calls::{self, File};
use crate::fsx::{self, Stamp};

/// Artifacts up to this many bytes are inline in the record; metrics and tables always are.
const INLINE_ARTIFACT: usize = 4096;

impl Blobs for Store {
    fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let path = self.object_path(digest);
        let read = || {
            let mut bytes = Vec::new();
            let mut file = self.open_blob(digest, &path)?;
            file.read_to_end(&mut bytes).map_err(BlobError::io(&path))?;
            Ok(bytes)
        };
        let bytes = self.local_or_fetched(digest, read)?;
        if hash(&bytes) != *digest {
            return Err(self.set_aside(digest, &path));
        }
        Ok(bytes)
    }

    fn path(&self, digest: &Digest) -> Result<PathBuf, BlobError> {
        let path = self.object_path(digest);
        self.local_or_fetched(digest, || self.verify(digest, &path))?;
        Ok(path)
    }

    fn write(&self, bytes: &[u8]) -> Result<Blob, BlobError> {
        let digest = hash(bytes);
        let blob = Blob {
            digest,
            bytes: bytes.len() as u64,
        };
        let folder = self.session_for_blob()?;
        if !self.holds_anew(&digest)? {
            let file = fsx::stage(&folder, fsx::SEALED, bytes).map_err(BlobError::io(&folder))?;
            self.keep(file, &digest)?;
        }
        Ok(blob)
    }

    fn write_file(&self, path: &Path) -> Result<Blob, BlobError> {
        let folder = self.session_for_blob()?;
        let mut file = fsx::temporary(&folder, fsx::SEALED).map_err(BlobError::io(&folder))?;
        let mut from = fsx::open_regular(path).map_err(BlobError::io(path))?;
        // Hash the copy: the original may still be changing.
        calls::copy_bytes(&mut from, file.file_mut()).map_err(BlobError::io(path))?;
        let hashed = file.rewind().and_then(|()| fsx::hash_reader(&mut file));
        let (digest, bytes) = hashed.map_err(BlobError::io(file.path()))?;
        self.keep_if_new(file, &digest)?;
        Ok(Blob { digest, bytes })
    }
}

impl Store {
    /// Whether a blob is in the store, unverified.
    pub fn has(&self, digest: &Digest) -> bool {
        calls::symlink_metadata(self.object_path(digest)).is_ok_and(|metadata| metadata.is_file())
    }

    /// The size of a blob in the store, unverified.
    pub fn size(&self, digest: &Digest) -> Result<u64, BlobError> {
        let path = self.object_path(digest);
        let metadata = calls::symlink_metadata(&path);
        Ok(metadata
            .map_err(|error| missing_or_io(digest, &path, error))?
            .len())
    }

    /// The blobs that `artifact` references and that are missing here.
    ///
    /// Encoded images are not included: they may be in their original folder, where readers look
    /// first.
    pub fn missing(&self, artifact: &Artifact) -> Vec<Digest> {
        artifact
            .blobs()
            .into_iter()
            .map(|blob| blob.digest)
            .filter(|digest| !self.has(digest))
            .collect()
    }

    /// The artifact in the blob `digest`. For a port of a record use [`Store::artifact`], which
    /// also reads inline artifacts.
    pub fn read_artifact(&self, digest: &Digest) -> Result<Artifact, BlobError> {
        serde_json::from_slice(&self.read(digest)?).map_err(|error| BlobError::Unreadable {
            digest: *digest,
            why: error.to_string(),
        })
    }

    /// Stores the canonical bytes of `artifact`.
    pub fn write_artifact(&self, artifact: &Artifact) -> Result<Blob, BlobError> {
        self.write(&artifact.to_bytes())
    }

    /// Describes `artifact` for a record, and stores it: inline in the record if it is small, else
    /// as a blob.
    ///
    /// # Errors
    /// A metric is not a finite number.
    pub fn port(&self, output: &OutputSpec, artifact: Artifact) -> Result<Port, BlobError> {
        artifact.check_finite()?;
        let bytes = artifact.to_bytes();
        let total = bytes.len() as u64 + artifact.content_bytes();
        let is_small = match artifact {
            Artifact::Metrics(_) | Artifact::Table(_) => true,
            _ => bytes.len() <= INLINE_ARTIFACT,
        };
        let inline = is_small && output.in_record;
        let digest = match inline {
            true => hash(&bytes),
            false => self.write(&bytes)?.digest,
        };
        Ok(Port {
            gives: output.gives,
            digest,
            bytes: total,
            inline: inline.then_some(artifact),
        })
    }

    /// The artifact of a port.
    pub fn artifact(&self, port: &Port) -> Result<Artifact, BlobError> {
        match &port.inline {
            Some(artifact) => Ok(artifact.clone()),
            None => self.read_artifact(&port.digest),
        }
    }

    /// Calls `look`; if the blob is missing or damaged, fetches it and calls `look` once more.
    fn local_or_fetched<T>(
        &self,
        digest: &Digest,
        look: impl Fn() -> Result<T, BlobError>,
    ) -> Result<T, BlobError> {
        let found = match look() {
            // Garbage collection may have renamed it for a moment: afterwards it is back, or gone.
            Err(BlobError::Missing(_)) => {
                let _publishing = self.publishing();
                look()
            }
            found => found,
        };
        match found {
            Err(error @ (BlobError::Missing(_) | BlobError::Damaged(_))) => {
                self.obtain(&[BlobRequest {
                    digest: *digest,
                    bytes: None,
                }]);
                match look() {
                    Err(BlobError::Missing(_)) => Err(error),
                    found => found,
                }
            }
            found => found,
        }
    }

    /// Whether the blob is here and intact. Also refreshes its time, so that garbage collection
    /// does not remove it before its record exists. Garbage collection renames a blob, then checks
    /// its time again; so this checks that the blob still exists after setting the time.
    fn holds_anew(&self, digest: &Digest) -> Result<bool, BlobError> {
        let path = self.object_path(digest);
        if !self.holds(digest)? {
            return Ok(false);
        }
        let touched = File::open(&path).and_then(|file| {
            file.set_modified(SystemTime::now())?;
            Ok(Stamp::of(&file.metadata()?))
        });
        let Ok(stamp) = touched else {
            // It belongs to another user, or is gone: it is written again.
            return Ok(false);
        };
        match calls::metadata(&path) {
            Ok(metadata) if Stamp::of(&metadata) == stamp => {
                self.remember(digest, stamp);
                Ok(true)
            }
            // Another process has also set its time, or it is gone.
            Ok(metadata) => Ok(metadata.ino() == stamp.inode),
            Err(_) => Ok(false),
        }
    }

    /// Whether the blob is here and intact; a damaged one is set aside and counts as absent.
    pub(super) fn holds(&self, digest: &Digest) -> Result<bool, BlobError> {
        match self.verify(digest, &self.object_path(digest)) {
            Ok(()) => Ok(true),
            Err(BlobError::Missing(_) | BlobError::Damaged(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Verifies the blob's hash, unless this process has done so and the file has not changed
    /// since.
    fn verify(&self, digest: &Digest, path: &Path) -> Result<(), BlobError> {
        let mut file = self.open_blob(digest, path)?;
        let metadata = file.metadata().map_err(BlobError::io(path))?;
        let stamp = Stamp::of(&metadata);
        if self.known_good(digest) == Some(stamp) {
            return Ok(());
        }
        let (found, _) = fsx::hash_reader(&mut file).map_err(BlobError::io(path))?;
        if found != *digest {
            return Err(self.set_aside(digest, path));
        }
        self.remember(digest, stamp);
        Ok(())
    }

    /// Opens a blob for reading. A link in its place counts as damage.
    fn open_blob(&self, digest: &Digest, path: &Path) -> Result<File, BlobError> {
        fsx::open_plain(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BlobError::Missing(*digest),
            _ if fsx::is_link(path) => self.set_aside(digest, path),
            _ => BlobError::io(path)(error),
        })
    }

    pub(super) fn keep(&self, mut file: fsx::Draft, digest: &Digest) -> Result<(), BlobError> {
        let below = self.below();
        let kept = below.and_then(|below| below.place(&mut file, &object_name(digest)));
        let stamp = kept.map_err(BlobError::io(&self.object_path(digest)))?;
        self.remember(digest, stamp);
        Ok(())
    }

    /// As [`Store::keep`], unless the blob is here and intact.
    fn keep_if_new(&self, mut file: fsx::Draft, digest: &Digest) -> Result<(), BlobError> {
        let below = self.below();
        let kept = below.and_then(|below| below.place_new(&mut file, &object_name(digest)));
        match kept.map_err(BlobError::io(&self.object_path(digest)))? {
            Some(stamp) => self.remember(digest, stamp),
            None if self.holds_anew(digest)? => {}
            None => self.keep(file, digest)?,
        }
        Ok(())
    }

    /// Moves a damaged blob out of the way, so that it is never served and can be produced again.
    /// If it can't be moved, it is not served either: every read verifies it.
    fn set_aside(&self, digest: &Digest, path: &Path) -> BlobError {
        let aside = self.damaged_objects().join(digest.to_hex());
        if let Err(error) = self.move_aside(path, &aside) {
            tracing::warn!(
                "{} is damaged and can't be set aside: {error}",
                path.display()
            );
        }
        BlobError::Damaged(*digest)
    }

    pub(super) fn damaged_objects(&self) -> PathBuf {
        self.root.join(DAMAGED).join("objects")
    }

    /// Renames a damaged file into `damaged/`. Another process may have done so already.
    pub(super) fn move_aside(&self, path: &Path, aside: &Path) -> io::Result<()> {
        fsx::refuse_links(&self.root, aside)?;
        fsx::refuse_links(&self.root, path)?;
        if let Some(folder) = aside.parent() {
            fsx::make_folders(folder)?;
        }
        match calls::rename(path, aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether a blob of this name was found damaged.
    pub(super) fn was_set_aside(&self, digest: &Digest) -> bool {
        self.damaged_objects().join(digest.to_hex()).exists()
    }

    fn known_good(&self, digest: &Digest) -> Option<Stamp> {
        let mut verified = self.verified.lock().unwrap_or_else(|map| map.into_inner());
        verified.get(digest)
    }

    pub(super) fn remember(&self, digest: &Digest, stamp: Stamp) {
        let mut verified = self.verified.lock().unwrap_or_else(|map| map.into_inner());
        verified.insert(*digest, stamp);
    }

    pub(super) fn session_for_blob(&self) -> Result<PathBuf, BlobError> {
        self.session_folder().map_err(|error| match error {
            StoreError::Io { path, source } => BlobError::Io { path, source },
            other => BlobError::io(&self.root)(io::Error::other(other.to_string())),
        })
    }
}

fn missing_or_io(digest: &Digest, path: &Path, error: io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::NotFound => BlobError::Missing(*digest),
        _ => BlobError::io(path)(error),
    }
}

/// Hashes large inputs in parallel.
fn hash(bytes: &[u8]) -> Digest {
    const WORTH_SPLITTING: usize = 1 << 20;
    if bytes.len() < WORTH_SPLITTING {
        return Digest::of(bytes);
    }
    Digest::finish(blake3::Hasher::new().update_rayon(bytes))
}
