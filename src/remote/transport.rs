//! The interface to another store: names relative to its root, whole objects, parts of them, lists.
//!
//! No remote is trusted. Correctness depends on content addresses and signatures, which the caller
//! verifies; an implementation only transfers bytes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;

/// Another store. Names are relative to its root, with `/` between folders.
///
/// All calls block; several threads may call at once.
pub trait Remote: Send + Sync {
    /// Its name in messages: the URL without secrets.
    fn shown(&self) -> &str;

    /// The names directly below `folder`, without its path; empty if the folder does not exist.
    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError>;

    /// The size of each of `names` in bytes, or `None` if it is missing.
    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError>;

    /// Whether the object `name` has the digest `digest`, if that can be determined without a
    /// transfer. For a compressed object, the decompressed content counts.
    fn intact(&self, name: &str, digest: &Digest) -> Result<Option<bool>, RemoteError>;

    /// Copies `part` of an object to `into`, and returns the number of bytes: fewer than requested
    /// only at the end of the object.
    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError>;

    /// Writes an object atomically; replaces an existing one.
    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError>;

    /// As [`Remote::put`], but keeps an existing object, if the server supports that.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError>;

    /// Removes an object. A missing one is not an error.
    fn remove(&self, name: &str) -> Result<(), RemoteError>;
}

impl<R: Remote> Remote for Arc<R> {
    fn shown(&self) -> &str {
        (**self).shown()
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        (**self).list(folder)
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        (**self).sizes(names)
    }

    fn intact(&self, name: &str, digest: &Digest) -> Result<Option<bool>, RemoteError> {
        (**self).intact(name, digest)
    }

    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError> {
        (**self).get(name, part, into)
    }

    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError> {
        (**self).put(name, content)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError> {
        (**self).create(name, bytes)
    }

    fn remove(&self, name: &str) -> Result<(), RemoteError> {
        (**self).remove(name)
    }
}

/// A byte range of an object: from `from`, at most `most` bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub from: u64,
    pub most: u64,
}

/// The content of a write.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    Bytes(&'a [u8]),
    /// The content of a file, which must not change meanwhile.
    File(&'a Path),
}

impl Content<'_> {
    /// Its size in bytes.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(path) => path.metadata().map(|metadata| metadata.len()),
        }
    }
}

/// The result of [`Remote::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    New,
    /// An object of that name existed, and was kept.
    There,
}

/// Why a request to a remote failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("{remote}: {name} does not exist")]
    Missing { remote: String, name: String },
    /// A retry would fail again.
    #[error("{remote} refuses: {why}")]
    Refused { remote: String, why: String },
    /// It is down, busy or slow; a retry may succeed.
    #[error("{remote} can't be reached: {why}")]
    Transient { remote: String, why: String },
    /// It used up its time without a response, and is not contacted again.
    #[error("{remote} can't be reached: {why}")]
    Silent { remote: String, why: String },
    /// It responds, but not like a store: with a login page, for instance.
    #[error("{remote}: {name}: {why}")]
    NoStore {
        remote: String,
        name: String,
        why: String,
    },
    /// A response that is invalid, or larger than possible.
    #[error("{remote}: {name}: {why}")]
    Wrong {
        remote: String,
        name: String,
        why: String,
    },
    #[error("{url} is not a remote: {why}")]
    Address { url: String, why: String },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl RemoteError {
    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Transient { .. } | Self::Silent { .. })
    }
}

/// Reads an object of at most `most` bytes.
///
/// # Errors
/// [`RemoteError::Wrong`] if it is larger; at most `most` bytes of it are held in memory.
pub fn read(remote: &dyn Remote, name: &str, most: u64) -> Result<Vec<u8>, RemoteError> {
    let mut bytes = Vec::new();
    let part = Part {
        from: 0,
        most: most.saturating_add(1),
    };
    remote.get(name, part, &mut bytes)?;
    match bytes.len() as u64 > most {
        false => Ok(bytes),
        true => Err(RemoteError::Wrong {
            remote: remote.shown().to_string(),
            name: name.to_string(),
            why: format!("it has more than {most} bytes"),
        }),
    }
}
