//! Content from other stores: records without their blobs, signatures of others, and blobs that are
//! fetched on first read.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::artifact::{Artifact, BlobError};
use super::record::Record;
use super::records::list;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls::{self, File};

/// A record of another lab with its signatures, which the caller has verified.
#[derive(Clone, Debug)]
pub struct ForeignRecord {
    pub record: Record,
    pub signatures: Vec<Signature>,
}

/// A signed statement about a record, as bytes: the store does not interpret it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The public key of the signer.
    pub signer: Digest,
    pub envelope: Vec<u8>,
}

/// A requested blob, with its size if known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobRequest {
    pub digest: Digest,
    pub bytes: Option<u64>,
}

impl Artifact {
    /// The blobs of [`Artifact::blobs`], as requests.
    pub fn wanted(&self) -> impl Iterator<Item = BlobRequest> {
        self.blobs().into_iter().map(|blob| BlobRequest {
            digest: blob.digest,
            bytes: Some(blob.bytes),
        })
    }
}

/// A source of blobs that are not in the store.
pub trait BlobSource: Send + Sync + Debug {
    /// Adds as many of the requested blobs as it can get to `store`, through [`Store::take_in`].
    fn fetch(&self, store: &Store, wanted: &[BlobRequest]);
}

impl Store {
    /// Sets the source of missing blobs. Only the first call has an effect.
    pub fn set_blob_source(&self, elsewhere: Arc<dyn BlobSource>) {
        let _ = self.elsewhere.set(elsewhere);
    }

    /// Fetches those of `wanted` that are missing here, as far as possible.
    pub fn obtain(&self, wanted: &[BlobRequest]) {
        let Some(elsewhere) = self.elsewhere.get() else {
            return;
        };
        let mut missing: Vec<BlobRequest> = wanted.to_vec();
        missing.sort_unstable();
        missing.dedup_by_key(|wanted| wanted.digest);
        missing.retain(|wanted| !self.has(&wanted.digest));
        if !missing.is_empty() {
            elsewhere.fetch(self, &missing);
        }
    }

    /// Turns the file at `path`, on the store's file system, into the blob `digest`, if it has that
    /// content. The file is gone afterwards.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if it has other content.
    pub fn take_in(&self, path: &Path, digest: &Digest) -> Result<(), BlobError> {
        let mut file = File::open(path).map_err(BlobError::io(path))?;
        let (found, _) = fsx::hash_reader(&mut file).map_err(BlobError::io(path))?;
        if found != *digest {
            let _ = calls::remove_file(path);
            return Err(BlobError::Damaged(*digest));
        }
        let sealed = fsx::seal(&file);
        sealed.map_err(BlobError::io(path))?;
        let target = self.object_path(digest);
        fsx::refuse_links(&self.root, &target)
            .and_then(|()| fsx::rename(path, &target))
            .map_err(BlobError::io(&target))?;
        let metadata = file.metadata().map_err(BlobError::io(&target))?;
        self.remember(digest, fsx::Stamp::of(&metadata));
        Ok(())
    }

    /// Adds records, whose blobs may be missing here, with their signatures.
    pub fn adopt(&self, foreign: &[ForeignRecord]) -> Result<(), StoreError> {
        // Signatures first: once a record is visible, it may be shared with them.
        let mut staged = Vec::new();
        for ForeignRecord { record, signatures } in foreign {
            let digest = record.digest();
            for signature in signatures {
                staged.extend(self.stage_signature(&record.key, &digest, signature)?);
            }
        }
        // A signature gets its name once a crash can't empty it: a name counts as a signature.
        if !staged.is_empty() {
            let files = staged.iter().map(|(file, _)| file.path().to_path_buf());
            self.flush(&files.collect::<Vec<_>>())?;
        }
        for (file, path) in staged {
            fsx::place(file, &path).map_err(StoreError::io(&path))?;
        }
        let records: Vec<Record> = foreign.iter().map(|one| one.record.clone()).collect();
        self.publish_without_blobs(&records).map(|_| ())
    }

    /// Stores a signature beside a record. When it returns, the signature survives a crash.
    pub fn add_signature(
        &self,
        key: &Digest,
        record: &Digest,
        signature: &Signature,
    ) -> Result<(), StoreError> {
        let Some((file, path)) = self.stage_signature(key, record, signature)? else {
            return Ok(());
        };
        fsx::place_durably(file, &path).map_err(StoreError::io(&path))
    }

    /// A signature under a temporary name, with its final one; `None` if it is there.
    fn stage_signature(
        &self,
        key: &Digest,
        record: &Digest,
        signature: &Signature,
    ) -> Result<Option<(fsx::Draft, PathBuf)>, StoreError> {
        let name = format!("{record}.{}.sig", signature.signer);
        let path = self.record_folder(key).join(name);
        // One with other content may be damaged.
        if fsx::read_plain(&path).is_ok_and(|bytes| bytes == signature.envelope) {
            return Ok(None);
        }
        let tmp = self.session_folder()?;
        let staged = fsx::refuse_links(&self.root, &path)
            .and_then(|()| fsx::stage(&tmp, fsx::SEALED, &signature.envelope));
        Ok(Some((staged.map_err(StoreError::io(&path))?, path)))
    }

    /// All signatures of a record, sorted by signer.
    pub fn signatures(&self, key: &Digest, record: &Digest) -> Result<Vec<Signature>, StoreError> {
        let folder = self.record_folder(key);
        let mut signatures = Vec::new();
        for signer in self.signers(key, record)? {
            let path = folder.join(format!("{record}.{signer}.sig"));
            let envelope = fsx::again(|| fsx::read_plain(&path)).map_err(StoreError::io(&path))?;
            signatures.push(Signature { signer, envelope });
        }
        Ok(signatures)
    }

    /// The signers of a record, sorted, without reading the signatures.
    pub fn signers(&self, key: &Digest, record: &Digest) -> Result<Vec<Digest>, StoreError> {
        let prefix = format!("{record}.");
        let names = names(&self.record_folder(key))?;
        let signers = names.iter().filter_map(|name| {
            let middle = name.strip_prefix(&prefix)?.strip_suffix(".sig")?;
            middle.parse().ok()
        });
        let mut signers: Vec<Digest> = signers.collect();
        signers.sort_unstable();
        Ok(signers)
    }

    /// The digests of all records of `key`, sorted, without reading the records.
    pub fn record_names(&self, key: &Digest) -> Result<Vec<Digest>, StoreError> {
        list(&self.record_folder(key))
    }
}

fn names(folder: &Path) -> Result<Vec<String>, StoreError> {
    let entries = match calls::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io(folder)(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(
            entry
                .map_err(StoreError::io(folder))?
                .file_name()
                .into_string(),
        );
    }
    Ok(names)
}
