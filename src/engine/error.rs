//! Errors that end a run; a problem with one node only fails that node.

use std::io;
use std::path::PathBuf;

use super::device::DeviceError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A node must run, and the store can't be written.
    #[error(
        "{node} must run, and the store {} can't be written: {why}; what has run before is there \
         to be read",
        store.display()
    )]
    Unwritable {
        store: PathBuf,
        node: String,
        why: String,
    },
    /// The run's own folder in the store can't be read or written.
    #[error("{}: {source}", path.display())]
    Journal { path: PathBuf, source: io::Error },
}
