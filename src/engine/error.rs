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
    /// The run's own folder in the store can't be written or read.
    #[error("{}: {source}", path.display())]
    Journal { path: PathBuf, source: io::Error },
}
