//! What ends a run as a whole; what is wrong with one node only fails that node.

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
    /// A node must run, and the store can't take what it gives.
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
    /// The run's own folder in the store can't be written or read.
    #[error("{}: {source}", path.display())]
    Journal { path: PathBuf, source: io::Error },
}
