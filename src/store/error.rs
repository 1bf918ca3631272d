//! Errors of a store as a whole; [`BlobError`](super::BlobError) is about one blob.

use std::io;
use std::path::{Path, PathBuf};

use super::artifact::BlobError;
use crate::digest::Digest;
use crate::fsx;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(
        "the store {} has format {found}; this is ribflow {}, which reads up to format {}: use \
         ribflow {needs} or newer",
        root.display(),
        env!("CARGO_PKG_VERSION"),
        super::layout::STORE_FORMAT
    )]
    NewerStore {
        root: PathBuf,
        found: u64,
        /// The first version of ribflow that reads it, according to the store.
        needs: String,
    },
    #[error(
        "the store {} claims nodes by `{mechanism}`, which this version of ribflow does not support",
        root.display()
    )]
    UnknownClaims { root: PathBuf, mechanism: String },
    #[error(
        "the form of the locks of the store {} is being changed: run this again once \
         `ribflow cache claims` has ended, or that command if it was interrupted",
        root.display()
    )]
    ChangingClaims { root: PathBuf },
    /// The form of the locks of a store changes only while nothing uses it.
    #[error("the store {} is in use: {}", root.display(), users.join(", "))]
    InUse { root: PathBuf, users: Vec<String> },
    #[error("{} is not a store: {why}", root.display())]
    NotAStore { root: PathBuf, why: String },
    #[error(
        "{} is damaged, so its content can't be trusted; `ribflow cache adopt {}` rewrites it",
        path.display(),
        root.display()
    )]
    DamagedDescription { path: PathBuf, root: PathBuf },
    /// A small file on which decisions depend.
    #[error("{} is damaged: {remedy}", path.display())]
    Damaged { path: PathBuf, remedy: String },
    #[error(
        "the record {} has format {found}, which this version of ribflow can't read: a newer one wrote it",
        path.display()
    )]
    NewerRecord { path: PathBuf, found: u64 },
    /// Publishing it would promise missing content.
    #[error("the record of key {key} names blob {digest}, which is not in the store")]
    Incomplete { key: Digest, digest: Digest },
    /// The recipe of a record does not hash to the key that the record claims.
    #[error("a record has the key {said}, but its recipe gives {found}")]
    WrongKey { said: Digest, found: Digest },
    #[error("key {key} has no record {record}")]
    NoSuchRecord { key: Digest, record: Digest },
    #[error(
        "`{0}` is not a valid pin name: use up to 100 letters, digits and any of `_-.=+`, without a leading dot"
    )]
    PinName(String),
    #[error("{id} has no record here, so there is nothing to pin")]
    NothingToPin { id: String },
    /// Labels that distinguish them.
    #[error("there are several pins `{name}`")]
    SeveralPins { name: String, labels: Vec<String> },
    #[error("the pin `{pin}` keeps key {key}")]
    Pinned { key: Digest, pin: String },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl StoreError {
    /// Whether the store is read-only. A write that only saves time may then fail silently.
    pub fn is_unwritable(&self) -> bool {
        matches!(self, Self::Io { source, .. } if fsx::is_unwritable(source))
    }

    /// For `map_err`: an I/O error at `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

impl BlobError {
    /// For `map_err`: an I/O error at `path`.
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
