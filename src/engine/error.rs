//! Errors that end a run; a problem with one node only fails that node.

use std::io;
use std::path::PathBuf;

use super::device::DeviceError;
use crate::cluster::ClusterError;
use crate::store::StoreError;

#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
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
    /// What workers need can't be passed on.
    #[error("no worker can join this run: {0}")]
    NoPlan(String),
    /// Names of workers distinguish their journals.
    #[error(
        "a worker named `{worker}` has joined run {run} before; give this one another `--name`"
    )]
    Joined { run: String, worker: String },
    /// The run's own folder in the store can't be read or written.
    #[error("{}: {source}", path.display())]
    Journal { path: PathBuf, source: io::Error },
}
