//! Bytes that arrive piece by piece from outside, hashed as they come; they become a blob only if
//! they have the digest that was announced.

use std::io::{self, Write};
use std::path::Path;

use super::{BlobError, Store};
use crate::digest::Digest;
use crate::fsx;

/// A file under `tmp/` that grows. Dropped, it is gone.
#[derive(Debug)]
pub struct Incoming {
    file: tempfile::NamedTempFile,
    hasher: blake3::Hasher,
}

impl Incoming {
    /// The digest of what has come so far.
    pub fn digest(&self) -> Digest {
        Digest::finish(&self.hasher)
    }

    /// Where it lies for now.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Gives it a name on the store's file system, in place of what had it.
    pub fn place(self, path: &Path) -> Result<(), BlobError> {
        fsx::place(self.file, path).map_err(BlobError::io(path))
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Store {
    /// A place for bytes that are to come.
    pub fn incoming(&self) -> Result<Incoming, BlobError> {
        let folder = self.session_for_blob()?;
        let file = fsx::temporary(&folder, fsx::SEALED).map_err(BlobError::io(&folder))?;
        Ok(Incoming {
            file,
            hasher: blake3::Hasher::new(),
        })
    }

    /// Makes what has come the blob `digest`, unless that is here already.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if it has another content; then nothing of it is kept.
    pub fn keep_incoming(&self, incoming: Incoming, digest: &Digest) -> Result<(), BlobError> {
        if incoming.digest() != *digest {
            return Err(BlobError::Damaged(*digest));
        }
        match self.holds(digest)? {
            true => Ok(()),
            false => self.keep(incoming.file, digest),
        }
    }
}
