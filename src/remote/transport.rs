//! The seam to another store: names relative to its root, whole objects, parts of them, lists.
//!
//! Nothing here is trusted to be well-behaved. Correctness rests on content addresses and
//! signatures, which the caller checks; an implementation only moves bytes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::digest::Digest;

/// Another store, reached through names relative to its root, with `/` between folders.
///
/// All calls block; they are made from several threads at once.
pub trait Remote: Send + Sync {
    /// How messages call it: its URL without secrets.
    fn shown(&self) -> &str;

    /// The names right below `folder`, without it; empty where there is no such folder.
    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError>;

    /// For each of `names` its size in bytes, or `None` where it is not there.
    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError>;

    /// Whether the object `name` has the content that is named `digest`, where that can be found
    /// out without sending it; a compressed one counts by what it decompresses to.
    fn intact(&self, name: &str, digest: &Digest) -> Result<Option<bool>, RemoteError>;

    /// Copies `part` of an object into `into`, and returns how many bytes that were: fewer than
    /// asked for only where the object ends.
    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError>;

    /// Writes an object. It appears whole or not at all, in place of what had its name.
    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError>;

    /// As [`Remote::put`], but leaves alone what is there already, as far as the server can.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError>;

    /// Removes an object. One that is not there is none to remove.
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

/// Bytes of an object: from `from` on, at most `most`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub from: u64,
    pub most: u64,
}

/// What is written.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    Bytes(&'a [u8]),
    /// The content of a file that does not change meanwhile.
    File(&'a Path),
}

impl Content<'_> {
    /// How many bytes it has.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::File(path) => path.metadata().map(|metadata| metadata.len()),
        }
    }
}

/// What became of [`Remote::create`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    New,
    /// Something of that name was there, and still is.
    There,
}

/// Why a remote did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("{remote}: there is no {name}")]
    Missing { remote: String, name: String },
    /// It will say so again.
    #[error("{remote} refuses: {why}")]
    Refused { remote: String, why: String },
    /// It is down, busy or slow; later it may answer.
    #[error("{remote} can't be reached: {why}")]
    Transient { remote: String, why: String },
    /// It has had its time without a word, and is not asked again.
    #[error("{remote} can't be reached: {why}")]
    Silent { remote: String, why: String },
    /// It answers, and not as a store does: a login page, for instance.
    #[error("{remote}: {name}: {why}")]
    NoStore {
        remote: String,
        name: String,
        why: String,
    },
    /// An answer that makes no sense, or is larger than anything it could be.
    #[error("{remote}: {name}: {why}")]
    Wrong {
        remote: String,
        name: String,
        why: String,
    },
    #[error("{url} is no remote: {why}")]
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

/// A whole object of at most `most` bytes.
///
/// # Errors
/// A larger one is [`RemoteError::Wrong`]; no more than `most` bytes of it are held.
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
