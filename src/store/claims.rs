//! Claims: the holder of a claim runs the node of that key; all others wait for its record.

use std::io;
use std::path::Path;

use super::layout::{CLAIMS, DESCRIPTION};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx::lease::Holder;
use crate::fsx::{self, HeldLock, Lock, LockState, Locks, StandingLock};

/// The right to run the node of one key. Released on drop and when the process dies.
#[derive(Debug)]
pub struct Claim {
    key: Digest,
    lock: HeldLock,
}

impl Claim {
    pub(super) fn of(key: Digest, lock: HeldLock) -> Self {
        Self { key, lock }
    }

    pub fn key(&self) -> &Digest {
        &self.key
    }

    /// Whether no other process can have taken it over. It may where claims are leases and this
    /// process did not beat for long enough: then what it has made is not published.
    pub fn is_held(&self) -> bool {
        self.lock.is_held()
    }
}

impl Store {
    /// How the locks of the store are taken.
    pub fn locks(&self) -> &Locks {
        &self.locks
    }

    /// Checks that the locks have the form still that they had when the store was opened. A process
    /// that holds one from then on keeps the form from being changed.
    pub fn confirm_locks(&self) -> Result<(), StoreError> {
        self.claims_form().confirm(&self.root)
    }

    /// Claims `key`; `None` while another process, or another part of this one, holds it.
    ///
    /// After claiming, look for a record again: the former holder may have published one.
    pub fn claim(&self, key: &Digest) -> Result<Option<Claim>, StoreError> {
        let lock = self.lock(&key.to_hex(), |path| self.locks.try_acquire(path))?;
        Ok(lock.map(|lock| Claim { key: *key, lock }))
    }

    /// The process that holds the claim of `key`, if there is one and it is known.
    pub fn holder_of(&self, key: &Digest) -> Option<Holder> {
        let path = self.root.join(CLAIMS).join(key.to_hex());
        match self
            .locks
            .reach_other_hosts()
            .then(|| self.locks.state(&path))
        {
            Some(Ok(LockState::Held(holder))) => holder,
            _ => None,
        }
    }

    /// Removes the claims of dead processes on nodes that no other process claims again. One that is
    /// in use is held, and stays.
    pub(super) fn sweep_claims(&self) -> Result<(), StoreError> {
        let folder = self.root.join(CLAIMS);
        if let Locks::Lease(leases) = &self.locks {
            return leases.sweep().map_err(StoreError::io(&folder));
        }
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
    pub(super) fn publishing(&self) -> Result<HeldLock, StoreError> {
        self.lock("publishing", |path| self.locks.acquire(path))
    }

    /// Held from finding a record until the run has noted that it uses it. Otherwise garbage
    /// collection could decide on an outdated list of uses.
    pub fn taking(&self) -> Result<StandingLock, StoreError> {
        let path = self.root.join(DESCRIPTION);
        self.locks.together().map_err(StoreError::io(&path))
    }

    /// Held during garbage collection.
    pub(super) fn cleaning(&self) -> Result<StandingLock, StoreError> {
        let path = self.root.join(DESCRIPTION);
        self.locks.alone().map_err(StoreError::io(&path))
    }

    fn lock<T>(&self, name: &str, take: impl Fn(&Path) -> io::Result<T>) -> Result<T, StoreError> {
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
