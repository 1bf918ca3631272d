//! What may not be passed on: markers for blobs that hold pixels of a dataset whose licence
//! forbids it, or what was made of them. Whatever hands out bytes asks here first.
//!
//! A blob has a marker of its own, an empty file. Encoded images can be a million, and mostly lie
//! outside the store: those of one dataset are one list, `withheld/images/<artifact>`, their
//! digests in order, 32 bytes each, between a line that tells the format and a checksum. (Earlier
//! versions wrote the digests alone.) While a node makes some, each has a marker of its own.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::artifact::{Artifact, Blob, Blobs, Tensors};
use super::layout::WITHHELD;
use super::{BlobError, Port, Record, Store, StoreError};
use crate::digest::Digest;
use crate::fsx::{self, Stamp, nanoseconds_since_1970};

/// The folder of the lists.
const IMAGES: &str = "images";

/// The lists that were read, by their names: they never change.
pub(super) type Lists = HashMap<String, Arc<Vec<Digest>>>;

/// Everything that an artifact names.
#[derive(Clone, Debug, Default)]
pub struct Named {
    blobs: Vec<Digest>,
    images: Vec<Digest>,
}

impl Named {
    pub fn by(artifact: &Artifact) -> Self {
        let blobs = artifact.blobs().into_iter().map(|blob| blob.digest);
        Self {
            blobs: blobs.collect(),
            images: artifact.encoded_images(),
        }
    }
}

impl Store {
    /// Whether the blob `digest` must stay in this store.
    pub fn is_withheld(&self, digest: &Digest) -> bool {
        self.marker(digest).exists() || self.is_listed(digest)
    }

    /// Whether a record may be passed on. It may not where it holds itself what must stay: small
    /// arrays stand in it whole.
    pub fn may_share(&self, record: &Record) -> bool {
        !self.holding(record).any(|port| self.is_withheld(&port))
    }

    /// The artifacts whose content stands in a record itself: where one of them must stay, the
    /// record must ([`Store::may_share`]).
    pub fn holding(&self, record: &Record) -> impl Iterator<Item = Digest> {
        let ports = record.ports.values();
        ports
            .filter(|port| holds_data(port))
            .map(|port| port.digest)
    }

    /// From now on these blobs stay in this store, whether they are here yet or not.
    pub fn withhold(&self, digests: &[Digest]) -> Result<(), StoreError> {
        for digest in digests {
            let marker = self.marker(digest);
            if !marker.exists() {
                self.place_marker(&marker)?;
            }
        }
        Ok(())
    }

    /// From now on what an artifact, of which `digest` is the name, holds and names stays in this
    /// store.
    pub fn withhold_artifact(&self, digest: &Digest, named: &Named) -> Result<(), StoreError> {
        self.withhold(&named.blobs)?;
        if !named.images.is_empty() {
            let list = self.lists().join(digest.to_hex());
            let mut images = named.images.clone();
            images.sort_unstable();
            images.dedup();
            self.place_list(&list, &images)?;
            // Markers of their own, from while they were made, are no longer needed.
            for image in &images {
                let _ = fs::remove_file(self.marker(image));
            }
        }
        // Last: where it is there, the others are.
        self.withhold(std::slice::from_ref(digest))
    }

    /// As [`Store::withhold_artifact`], for what a port of a record holds. False where the
    /// artifact is not here, so that nothing is known of what it names.
    pub fn withhold_port(&self, port: &Port) -> Result<bool, StoreError> {
        if self.marker(&port.digest).exists() {
            return Ok(true);
        }
        self.withhold_again(port)
    }

    /// As [`Store::withhold_port`], also where the artifact's own marker says that it was done:
    /// some of what it names may have been released for the sake of another.
    pub fn withhold_again(&self, port: &Port) -> Result<bool, StoreError> {
        // Nothing is fetched for this.
        if port.inline.is_none() && !self.has(&port.digest) {
            return Ok(false);
        }
        let artifact = match self.artifact(port) {
            // Whoever needs it will make it again.
            Err(BlobError::Missing(_) | BlobError::Damaged(_) | BlobError::Unreadable { .. }) => {
                return Ok(false);
            }
            artifact => artifact?,
        };
        self.withhold_artifact(&port.digest, &Named::by(&artifact))?;
        Ok(true)
    }

    /// Takes a marker away, and the list of that name: the blob may be passed on after all.
    pub fn release(&self, digest: &Digest) -> Result<(), StoreError> {
        for path in [self.lists().join(digest.to_hex()), self.marker(digest)] {
            match fs::remove_file(&path) {
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

    /// As [`Store::release`], for what a port of a record holds and names.
    pub fn release_port(&self, port: &Port) -> Result<(), StoreError> {
        let named = Named::by(&self.artifact(port)?);
        // First: what is half released is still marked, and released or marked anew.
        self.release(&port.digest)?;
        named.blobs.iter().try_for_each(|blob| self.release(blob))
    }

    /// Tells one state of all markers from any other; `None` where that is too young to be told.
    pub fn markers(&self) -> Option<Digest> {
        let now = nanoseconds_since_1970();
        let root = self.root().join(WITHHELD);
        let mut folders = vec![root.clone()];
        for entry in fs::read_dir(&root).into_iter().flatten() {
            folders.push(entry.ok()?.path());
        }
        folders.sort();
        let mut hasher = blake3::Hasher::new();
        for folder in folders {
            let stamp = match fs::metadata(&folder) {
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

    /// Durable: a list that a failure of power empties would withhold everything.
    fn place_list(&self, list: &Path, images: &[Digest]) -> Result<(), StoreError> {
        let tmp = self.session_folder()?;
        let bytes = encode(images);
        fsx::refuse_links(&self.root, list)
            .and_then(|()| fsx::replace_durably(list, &tmp, fsx::SEALED, &bytes))
            .map_err(StoreError::io(list))
    }

    fn is_listed(&self, digest: &Digest) -> bool {
        let lists = self.lists();
        let Ok(names) = fs::read_dir(&lists) else {
            // None is there, or it can't be told: what is not readable can't be handed out.
            return lists.exists();
        };
        names.into_iter().any(|entry| match entry {
            Ok(entry) => match self.list(&entry.path()) {
                Some(list) => list.binary_search(digest).is_ok(),
                // Gone meanwhile, or not readable.
                None => entry.path().exists(),
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
                "{} is damaged: until `ribflow cache release FILE` has set the markers of its workflow \
                 anew, nothing is passed on",
                path.display()
            );
            return None;
        };
        let list = Arc::new(list);
        lists.insert(name, Arc::clone(&list));
        Some(list)
    }

    /// The lists that are not as they were written.
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

const MAGIC: &[u8] = b"ribflow images 1\n";

fn encode(images: &[Digest]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(images.iter().flat_map(|one| *one.as_bytes()));
    let seal = Digest::of(&bytes);
    bytes.extend(seal.as_bytes());
    bytes
}

/// `None`: it is not what was written. The digests are in order, which is all that tells one of an
/// earlier version from a damaged one.
fn decode(bytes: &[u8]) -> Option<Vec<Digest>> {
    let digests = match bytes.strip_prefix(MAGIC) {
        None => bytes,
        Some(rest) => {
            let (digests, seal) = rest.split_at(rest.len().checked_sub(32)?);
            let written = &bytes[..MAGIC.len() + digests.len()];
            (Digest::of(written).as_bytes() == seal).then_some(digests)?
        }
    };
    let (digests, rest) = digests.as_chunks::<32>();
    let digests = digests.iter().copied().map(Digest::from_bytes);
    let digests: Vec<Digest> = digests.collect();
    (rest.is_empty() && digests.is_sorted()).then_some(digests)
}

/// Whether the artifact stands in the record with bytes of what it is about.
fn holds_data(port: &Port) -> bool {
    match &port.inline {
        Some(Artifact::Tensors(Tensors { tensors, .. })) => {
            tensors.values().any(|entry| entry.inline.is_some())
        }
        _ => false,
    }
}

/// A store in which a blob is marked before it is there, so that nobody can be handed it between
/// its writing and its record's.
pub struct Marking<'a>(&'a Store);

impl Store {
    /// See [`Marking`].
    pub fn marking(&self) -> Marking<'_> {
        Marking(self)
    }
}

impl Marking<'_> {
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

impl Blobs for Marking<'_> {
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
        let mut file = fs::File::open(path).map_err(BlobError::io(path))?;
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
        assert_eq!(decode(&bytes), Some(images.clone()));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&flipped), None, "bit {bit}");
        }
        // One of an earlier version.
        let old: Vec<u8> = images.iter().flat_map(|one| *one.as_bytes()).collect();
        assert_eq!(decode(&old), Some(images));
        assert_eq!(decode(&old[1..]), None);
    }
}
