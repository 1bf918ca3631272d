//! The two forms of a store's locks: `flock`, between the processes of one host, and leases, between
//! hosts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lease::{Holder, Lease, Leases, StandingLease};
use super::locks::{Lock, StandingFlock};

/// How the locks of a store are taken.
#[derive(Clone, Debug)]
pub enum Locks {
    /// `standing` is the file that is locked for the whole store.
    Flock {
        standing: PathBuf,
    },
    Lease(Arc<Leases>),
}

/// An exclusive lock, held until dropped or until its process dies.
#[derive(Debug)]
pub struct HeldLock(Exclusive);

#[derive(Debug)]
enum Exclusive {
    Flock { _lock: Lock },
    Lease(Lease),
}

/// A lock on the whole store: shared by several holders or exclusive to one, until dropped.
#[derive(Debug)]
pub struct StandingLock(Standing);

#[derive(Debug)]
enum Standing {
    Flock { _lock: StandingFlock },
    Lease(StandingLease),
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    Free,
    /// A process, if it is known; it may have died on another host a short time ago.
    Held(Option<Holder>),
}

impl Locks {
    /// Locks within one host, for files beside which there is no store.
    pub fn of_one_host(standing: &Path) -> Self {
        Self::Flock {
            standing: standing.to_path_buf(),
        }
    }

    /// The lock at `path`, or `None` if someone holds it. The file's folder must exist.
    pub fn try_acquire(&self, path: &Path) -> io::Result<Option<HeldLock>> {
        Ok(match self {
            Self::Flock { .. } => Lock::try_acquire(path)?.map(HeldLock::flock),
            Self::Lease(leases) => leases.try_acquire(path)?.map(HeldLock::lease),
        })
    }

    /// The lock at `path`; waits for its holder.
    pub fn acquire(&self, path: &Path) -> io::Result<HeldLock> {
        Ok(match self {
            Self::Flock { .. } => HeldLock::flock(Lock::acquire(path)?),
            Self::Lease(leases) => HeldLock::lease(leases.acquire(path)?),
        })
    }

    /// Whether someone holds the lock at `path`. A lock in the form of one host is taken for a moment
    /// for that.
    pub fn state(&self, path: &Path) -> io::Result<LockState> {
        Ok(match self {
            Self::Flock { .. } => match Lock::try_acquire(path)? {
                Some(_) => LockState::Free,
                None => LockState::Held(None),
            },
            Self::Lease(leases) => match leases.holder(path)? {
                Some(holder) => LockState::Held(holder),
                None => LockState::Free,
            },
        })
    }

    /// The lock on the whole store, shared; waits for an exclusive holder.
    pub fn together(&self) -> io::Result<StandingLock> {
        Ok(StandingLock(match self {
            Self::Flock { standing } => Standing::Flock {
                _lock: StandingFlock::together(standing)?,
            },
            Self::Lease(leases) => Standing::Lease(leases.together()?),
        }))
    }

    /// The lock on the whole store, exclusive; waits for all other holders.
    pub fn alone(&self) -> io::Result<StandingLock> {
        Ok(StandingLock(match self {
            Self::Flock { standing } => Standing::Flock {
                _lock: StandingFlock::alone(standing)?,
            },
            Self::Lease(leases) => Standing::Lease(leases.alone()?),
        }))
    }

    /// Whether a process of another host sees these locks.
    pub fn reach_other_hosts(&self) -> bool {
        matches!(self, Self::Lease(_))
    }
}

impl HeldLock {
    fn flock(lock: Lock) -> Self {
        Self(Exclusive::Flock { _lock: lock })
    }

    fn lease(lease: Lease) -> Self {
        Self(Exclusive::Lease(lease))
    }

    /// Whether it is still held. A lease is lost if this process did not beat for long enough.
    pub fn is_held(&self) -> bool {
        match &self.0 {
            Exclusive::Flock { .. } => true,
            Exclusive::Lease(lease) => lease.is_held(),
        }
    }
}

impl StandingLock {
    /// As [`HeldLock::is_held`].
    pub fn is_held(&self) -> bool {
        match &self.0 {
            Standing::Flock { .. } => true,
            Standing::Lease(lease) => lease.is_held(),
        }
    }
}
