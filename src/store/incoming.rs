//! Receives bytes piece by piece from outside and hashes them on arrival. They become a blob only
//! if they have the announced digest.

use std::io::{self, Write};
use std::path::Path;

use super::{BlobError, Store};
use crate::digest::Digest;
use crate::fsx;

/// A growing file under `tmp/`, removed on drop.
#[derive(Debug)]
pub struct Incoming {
    file: fsx::Draft,
    hasher: blake3::Hasher,
}

impl Incoming {
    /// The digest of the bytes so far.
    pub fn digest(&self) -> Digest {
        Digest::finish(&self.hasher)
    }

    /// The path of the temporary file.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Renames it to `path`, on the store's file system, and makes it durable; replaces an existing
    /// file.
    pub fn place_durably(self, path: &Path) -> Result<(), BlobError> {
        fsx::place_durably(self.file, path).map_err(BlobError::io(path))
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
    /// A new file for bytes from outside.
    pub fn incoming(&self) -> Result<Incoming, BlobError> {
        let folder = self.session_for_blob()?;
        let file = fsx::temporary(&folder, fsx::SEALED).map_err(BlobError::io(&folder))?;
        Ok(Incoming {
            file,
            hasher: blake3::Hasher::new(),
        })
    }

    /// Turns the received bytes into the blob `digest`, unless it exists already.
    ///
    /// # Errors
    /// [`BlobError::Damaged`] if they have another digest; then nothing is kept.
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
