//! What is held: leases and markers, released on drop.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::heart::Heart;
use crate::fsx::calls;

#[derive(Debug, Default)]
pub(super) struct Held(Mutex<HashSet<PathBuf>>);

/// An exclusive lease: held until it is dropped, until its process dies, or until another process
/// has taken this one for dead.
#[derive(Debug)]
pub struct Lease {
    pub(super) heart: Arc<Heart>,
    path: PathBuf,
    _turn: Turn,
}

/// A shared lease, or an exclusive one that has waited for all shared ones.
#[derive(Debug)]
pub enum StandingLease {
    Shared(Marker),
    Alone(Lease),
}

/// The file of a shared lease.
#[derive(Debug)]
pub struct Marker {
    pub(super) heart: Arc<Heart>,
    pub(super) path: PathBuf,
}

/// One thread of this process at a time tries a path.
#[derive(Debug)]
pub(super) struct Turn {
    held: Arc<Held>,
    path: PathBuf,
}

impl Lease {
    /// Whether no other process can have taken it over. Asks the file system if this process has not
    /// beaten for a while.
    pub fn is_held(&self) -> bool {
        self.heart.is_beating()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Fails if this process was found dead: then the lease is another's, or about to be.
        let _ = self.heart.take(&self.path);
    }
}

impl StandingLease {
    /// As [`Lease::is_held`].
    pub fn is_held(&self) -> bool {
        match self {
            Self::Shared(marker) => marker.heart.is_beating(),
            Self::Alone(lease) => lease.is_held(),
        }
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        // No other process ever has its name.
        let _ = calls::remove_file(&self.path);
    }
}

impl Held {
    pub fn turn(self: &Arc<Self>, path: &Path) -> Option<Turn> {
        let mut all = self.0.lock().unwrap_or_else(|held| held.into_inner());
        all.insert(path.to_path_buf()).then(|| Turn {
            held: Arc::clone(self),
            path: path.to_path_buf(),
        })
    }
}

impl Turn {
    pub fn lease(self, heart: Arc<Heart>) -> Lease {
        Lease {
            heart,
            path: self.path.clone(),
            _turn: self,
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut all = self.held.0.lock().unwrap_or_else(|held| held.into_inner());
        all.remove(&self.path);
    }
}
