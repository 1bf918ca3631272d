//! Blobs that must not be shared: markers for blobs with pixels of a dataset whose licence forbids
//! sharing, or with content derived from them. All code that sends bytes asks here first.
//!
//! A blob has its own marker, an empty file. A dataset may have a million encoded images, most of
//! them outside the store. They are in one list for each dataset, `withheld/images/<artifact>`: a
//! line with the format, the sorted digests of 32 bytes each, and a checksum. (Earlier versions
//! wrote only the digests.) While a node produces encoded images, each has its own marker.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::artifact::{Artifact, Blob, Blobs, Tensors};
use super::layout::WITHHELD;
use super::packed::Format;
use super::{BlobError, Port, Record, Store, StoreError};
use crate::digest::Digest;
use crate::fsx::calls::{self, File};
use crate::fsx::{self, Stamp, nanoseconds_since_1970};

/// The folder of the lists.
const IMAGES: &str = "images";

/// The lists that were read, by name; they never change.
pub(super) type Lists = HashMap<String, Arc<Vec<Digest>>>;

/// Everything that an artifact references.
#[derive(Clone, Debug, Default)]
pub struct References {
    blobs: Vec<Digest>,
    images: Vec<Digest>,
}

impl References {
    pub fn by(artifact: &Artifact) -> Self {
        let blobs = artifact.blobs().into_iter().map(|blob| blob.digest);
        Self {
            blobs: blobs.collect(),
            images: artifact.encoded_images(),
        }
    }
}

impl Store {
    /// Whether the blob `digest` must not leave this store.
    pub fn is_withheld(&self, digest: &Digest) -> bool {
        fsx::may_exist(&self.marker(digest)) || self.is_listed(digest)
    }

    /// Whether a record may be shared. It may not if it contains withheld content: small arrays are
    /// inline in the record.
    pub fn may_share(&self, record: &Record) -> bool {
        !self.holding(record).any(|port| self.is_withheld(&port))
    }

    /// The artifacts whose content is inline in a record: if one of them is withheld, so is the
    /// record ([`Store::may_share`]).
    pub fn holding(&self, record: &Record) -> impl Iterator<Item = Digest> {
        let ports = record.ports.values();
        ports
            .filter(|port| holds_data(port))
            .map(|port| port.digest)
    }

    /// Withholds these blobs, whether they are here yet or not.
    pub fn withhold(&self, digests: &[Digest]) -> Result<(), StoreError> {
        for digest in digests {
            let marker = self.marker(digest);
            if !marker.exists() {
                self.place_marker(&marker)?;
            }
        }
        Ok(())
    }

    /// Withholds the artifact `digest` and everything that it references.
    pub fn withhold_artifact(&self, digest: &Digest, named: &References) -> Result<(), StoreError> {
        self.withhold(&named.blobs)?;
        if !named.images.is_empty() {
            let list = self.lists().join(digest.to_hex());
            let mut images = named.images.clone();
            images.sort_unstable();
            images.dedup();
            self.place_list(&list, &images)?;
            // The individual markers that were set during production are no longer needed.
            for image in &images {
                let _ = calls::remove_file(self.marker(image));
            }
        }
        // The artifact's own marker comes last: if it exists, the others do.
        self.withhold(std::slice::from_ref(digest))
    }

    /// As [`Store::withhold_artifact`], for the artifact of a port. False if the artifact is not
    /// here, so that its references are unknown.
    pub fn withhold_port(&self, port: &Port) -> Result<bool, StoreError> {
        if self.marker(&port.digest).exists() {
            return Ok(true);
        }
        self.withhold_again(port)
    }

    /// As [`Store::withhold_port`], even if the artifact's own marker exists: some of its blobs may
    /// have been released together with another artifact.
    pub fn withhold_again(&self, port: &Port) -> Result<bool, StoreError> {
        // Do not fetch anything for this.
        if port.inline.is_none() && !self.has(&port.digest) {
            return Ok(false);
        }
        let artifact = match self.artifact(port) {
            // A node that needs it will produce it again.
            Err(BlobError::Missing(_) | BlobError::Damaged(_) | BlobError::Unreadable { .. }) => {
                return Ok(false);
            }
            artifact => artifact?,
        };
        self.withhold_artifact(&port.digest, &References::by(&artifact))?;
        Ok(true)
    }

    /// Removes a marker, and the list of that name: the blob may be shared again.
    pub fn release(&self, digest: &Digest) -> Result<(), StoreError> {
        for path in [self.lists().join(digest.to_hex()), self.marker(digest)] {
            match calls::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io(&path)(error));
                }
                _ => {}
            }
        }
        let mut lists = self.listed.lock().unwrap_or_else(|held| held.into_inner());
        lists.remove(&digest.to_hex());
        Ok(())
    }

    /// As [`Store::release`], for the artifact of a port and everything that it references.
    pub fn release_port(&self, port: &Port) -> Result<(), StoreError> {
        let named = References::by(&self.artifact(port)?);
        // The artifact's own marker goes first: after an interruption, the rest is still marked,
        // and can be released or withheld again.
        self.release(&port.digest)?;
        named.blobs.iter().try_for_each(|blob| self.release(blob))
    }

    /// Identifies the state of all markers; `None` if the latest change is too recent to be
    /// distinguished.
    pub fn markers(&self) -> Option<Digest> {
        let now = nanoseconds_since_1970();
        let root = self.root().join(WITHHELD);
        let mut folders = vec![root.clone()];
        for entry in calls::read_dir(&root).into_iter().flatten() {
            folders.push(entry.ok()?.path());
        }
        folders.sort();
        let mut hasher = blake3::Hasher::new();
        for folder in folders {
            let stamp = match calls::metadata(&folder) {
                Ok(metadata) => Stamp::of(&metadata),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Stamp::default(),
                Err(_) => return None,
            };
            if stamp.is_young(now) {
                return None;
            }
            hasher.update(&stamp.to_bytes());
        }
        Some(Digest::finish(&hasher))
    }

    fn place_marker(&self, marker: &Path) -> Result<(), StoreError> {
        let tmp = self.session_folder()?;
        fsx::refuse_links(&self.root, marker)
            .and_then(|()| fsx::replace(marker, &tmp, fsx::SEALED, b""))
            .map_err(StoreError::io(marker))
    }

    /// Durable: a list that a power failure empties would withhold everything.
    fn place_list(&self, list: &Path, images: &[Digest]) -> Result<(), StoreError> {
        let tmp = self.session_folder()?;
        let bytes = encode(images);
        fsx::refuse_links(&self.root, list)
            .and_then(|()| fsx::replace_durably(list, &tmp, fsx::SEALED, &bytes))
            .map_err(StoreError::io(list))
    }

    fn is_listed(&self, digest: &Digest) -> bool {
        let lists = self.lists();
        let Ok(names) = calls::read_dir(&lists) else {
            // Either there are no lists, or they can't be read: then every blob counts as withheld.
            return fsx::may_exist(&lists);
        };
        names.into_iter().any(|entry| match entry {
            Ok(entry) => match self.list(&entry.path()) {
                Some(list) => list.binary_search(digest).is_ok(),
                // Removed in the meantime, or not readable.
                None => fsx::may_exist(&entry.path()),
            },
            Err(_) => true,
        })
    }

    fn list(&self, path: &Path) -> Option<Arc<Vec<Digest>>> {
        let name = path.file_name()?.to_str()?.to_string();
        let mut lists = self.listed.lock().unwrap_or_else(|held| held.into_inner());
        if let Some(list) = lists.get(&name) {
            return Some(Arc::clone(list));
        }
        let bytes = fsx::read_plain(path).ok()?;
        let Some(list) = decode(&bytes) else {
            tracing::warn!(
                "{} is damaged: nothing is shared until `ribflow cache release FILE` has rewritten the \
                 markers of its workflow",
                path.display()
            );
            return None;
        };
        let list = Arc::new(list);
        lists.insert(name, Arc::clone(&list));
        Some(list)
    }

    /// The damaged lists.
    pub(super) fn damaged_lists(&self) -> Result<Vec<PathBuf>, StoreError> {
        let folder = self.lists();
        let mut damaged = Vec::new();
        for path in fsx::entries(&folder).map_err(StoreError::io(&folder))? {
            let bytes = fsx::read_plain(&path).map_err(StoreError::io(&path))?;
            if decode(&bytes).is_none() {
                damaged.push(path);
            }
        }
        Ok(damaged)
    }

    fn lists(&self) -> PathBuf {
        self.root().join(WITHHELD).join(IMAGES)
    }

    fn marker(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.root().join(WITHHELD).join(&hex[..2]).join(&hex[2..])
    }
}

const FORMAT: Format = Format(b"ribflow images 1\n");

fn encode(images: &[Digest]) -> Vec<u8> {
    let mut writer = FORMAT.writer();
    images.iter().for_each(|image| writer.digest(image));
    writer.sealed()
}

/// `None`: the list is damaged. In a list of an earlier version, only the order of the digests
/// shows damage.
fn decode(bytes: &[u8]) -> Option<Vec<Digest>> {
    let digests = match bytes.starts_with(FORMAT.0) {
        true => FORMAT.content(bytes)?,
        false => bytes,
    };
    let (digests, rest) = digests.as_chunks::<32>();
    let digests = digests.iter().copied().map(Digest::from_bytes);
    let digests: Vec<Digest> = digests.collect();
    (rest.is_empty() && digests.is_sorted()).then_some(digests)
}

/// Whether the artifact is inline in the record and contains data.
fn holds_data(port: &Port) -> bool {
    match &port.inline {
        Some(Artifact::Tensors(Tensors { tensors, .. })) => {
            tensors.values().any(|entry| entry.inline.is_some())
        }
        _ => false,
    }
}

/// A store that marks each blob before it writes it, so that the blob can't be sent before its
/// record exists.
pub struct MarkingStore<'a>(&'a Store);

impl Store {
    /// See [`MarkingStore`].
    pub fn marking(&self) -> MarkingStore<'_> {
        MarkingStore(self)
    }
}

impl MarkingStore<'_> {
    fn mark(&self, digest: &Digest) -> Result<(), BlobError> {
        let marked = self.0.withhold(std::slice::from_ref(digest));
        marked.map_err(|error| match error {
            StoreError::Io { path, source } => BlobError::Io { path, source },
            other => BlobError::Io {
                path: self.0.marker(digest),
                source: io::Error::other(other.to_string()),
            },
        })
    }
}

impl Blobs for MarkingStore<'_> {
    fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        self.0.read(digest)
    }

    fn path(&self, digest: &Digest) -> Result<PathBuf, BlobError> {
        self.0.path(digest)
    }

    fn write(&self, bytes: &[u8]) -> Result<Blob, BlobError> {
        self.mark(&Digest::of(bytes))?;
        self.0.write(bytes)
    }

    fn write_file(&self, path: &Path) -> Result<Blob, BlobError> {
        let mut file = File::open(path).map_err(BlobError::io(path))?;
        let (digest, _) = fsx::hash_reader(&mut file).map_err(BlobError::io(path))?;
        self.mark(&digest)?;
        self.0.write_file(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_releases_an_image() {
        let mut images = [b"a", b"b", b"c"].map(|one| Digest::of(one)).to_vec();
        images.sort_unstable();
        let bytes = encode(&images);
        assert_eq!(
            Digest::of(&bytes).to_hex(),
            "47ee56b01c8688df8527843ee3af288fd495f9a9b2a163a116f1e3ae6c25ab66"
        );
        assert_eq!(decode(&bytes), Some(images.clone()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
        // A list of an earlier version.
        let old: Vec<u8> = images.iter().flat_map(|one| *one.as_bytes()).collect();
        assert_eq!(decode(&old), Some(images));
        assert_eq!(decode(&old[1..]), None);
    }
}
