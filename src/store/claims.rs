//! Claims: the holder of a claim runs the node of that key; all others wait for its record.

use std::io;

use super::layout::{CLAIMS, DESCRIPTION};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx::{self, Lock, StandingLock};

/// The right to run the node of one key. Released on drop and when the process dies.
#[derive(Debug)]
pub struct Claim {
    key: Digest,
    _lock: Lock,
}

impl Claim {
    pub fn key(&self) -> &Digest {
        &self.key
    }
}

impl Store {
    /// Claims `key`; `None` while another process, or another part of this one, holds it.
    ///
    /// After claiming, look for a record again: the former holder may have published one.
    pub fn claim(&self, key: &Digest) -> Result<Option<Claim>, StoreError> {
        let lock = self.lock(&key.to_hex(), Lock::try_acquire)?;
        Ok(lock.map(|lock| Claim {
            key: *key,
            _lock: lock,
        }))
    }

    /// Removes the claims of dead processes on nodes that no other process claims again. One that is
    /// in use is held, and stays.
    pub(super) fn sweep_claims(&self) -> Result<(), StoreError> {
        let folder = self.root.join(CLAIMS);
        for path in fsx::entries(&folder).map_err(StoreError::io(&folder))? {
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.parse::<Digest>().is_ok()) {
                // The file goes with the lock. What can't be locked belongs to another user.
                let _ = Lock::try_acquire(&path);
            }
        }
        Ok(())
    }

    /// Held while records become visible, so that exactly one is the first.
    pub(super) fn publishing(&self) -> Result<Lock, StoreError> {
        self.lock("publishing", Lock::acquire)
    }

    /// Held from finding a record until the run has noted that it uses it. Otherwise garbage
    /// collection could decide on an outdated list of uses.
    pub fn taking(&self) -> Result<StandingLock, StoreError> {
        let path = self.root.join(DESCRIPTION);
        StandingLock::together(&path).map_err(StoreError::io(&path))
    }

    /// Held during garbage collection.
    pub(super) fn cleaning(&self) -> Result<StandingLock, StoreError> {
        let path = self.root.join(DESCRIPTION);
        StandingLock::alone(&path).map_err(StoreError::io(&path))
    }

    fn lock<T>(
        &self,
        name: &str,
        take: fn(&std::path::Path) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        let folder = self.root.join(CLAIMS);
        let path = folder.join(name);
        match take(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fsx::make_folders(&folder).map_err(StoreError::io(&folder))?;
                take(&path).map_err(StoreError::io(&path))
            }
            result => result.map_err(StoreError::io(&path)),
        }
    }
}
