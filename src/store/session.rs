//! Each process writes under its own folder in `tmp/`, which it keeps locked. A folder with a free
//! lock belongs to a dead process; the next process that starts to write removes it. Where locks are
//! leases, that folder is the life of the process ([`Leases`]).

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::layout::TMP;
use super::{Store, StoreError};
use crate::fsx::calls;
use crate::fsx::lease::Leases;
use crate::fsx::{self, DraftFolder, Lock, Locks};

/// A process looks dead between creating its folder and locking it, which never takes this long.
const YOUNG: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Session {
    folder: PathBuf,
    lock: Option<Lock>,
}

impl Session {
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins a session in `tmp`, and sweeps those of dead processes of this host.
    pub fn start(tmp: &Path) -> io::Result<Self> {
        fsx::make_folders(tmp)?;
        sweep(tmp)?;
        let folder = DraftFolder::new(tmp, "process-")?.keep();
        // Other users of the store must be able to sweep it.
        fsx::open_as(&folder, tmp);
        let lock = Lock::acquire(&lock_path(&folder))?;
        Ok(Self {
            folder,
            lock: Some(lock),
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // What can't be removed now is swept later by another process.
        let _ = fsx::remove_tree(&self.folder);
        self.lock.take();
    }
}

impl Store {
    /// This process's own folder under `tmp/`.
    pub(super) fn session_folder(&self) -> Result<PathBuf, StoreError> {
        let tmp = self.root.join(TMP);
        if let Locks::Lease(leases) = &self.locks {
            return leases.session().map_err(StoreError::io(&tmp));
        }
        // A thread that panicked here left either no session or a complete one.
        let mut session = self.session.lock().unwrap_or_else(|held| held.into_inner());
        if session.is_none() {
            let begun = Session::start(&tmp).map_err(StoreError::io(&tmp))?;
            // From here on the form of the locks stays.
            self.confirm_locks()?;
            *session = Some(begun);
        }
        Ok(session
            .as_ref()
            .map_or(tmp, |session| session.folder.clone()))
    }
}

impl Store {
    /// The time at which the oldest process that may be writing to the store began to write. Sweeps
    /// the folders of dead processes.
    ///
    /// # Errors
    /// The time can't be determined: then everything may be in use.
    pub(super) fn oldest_session(&self) -> io::Result<Option<SystemTime>> {
        let tmp = self.root.join(TMP);
        let beginning = match &self.locks {
            Locks::Flock { .. } => {
                // What can't be swept counts as alive.
                let _ = sweep(&tmp);
                lock_path
            }
            Locks::Lease(leases) => {
                let _ = leases.living();
                Leases::beginning
            }
        };
        let mut oldest = None;
        for folder in fsx::entries(&tmp)? {
            // This file is written once; the folder's own time changes with every file in it.
            let begun = calls::symlink_metadata(beginning(&folder));
            let begun = match begun.or_else(|_| calls::symlink_metadata(&folder)) {
                // The process has ended.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?.modified()?,
            };
            oldest = Some(oldest.map_or(begun, |oldest: SystemTime| oldest.min(begun)));
        }
        Ok(oldest)
    }
}

fn lock_path(folder: &Path) -> PathBuf {
    folder.join("lock")
}

/// Removes what dead processes left in `tmp`. Removes a link itself: its target does not belong to
/// this store.
fn sweep(tmp: &Path) -> io::Result<()> {
    for entry in calls::read_dir(tmp)? {
        let path = entry?.path();
        if !is_young(&path) {
            // What can't be removed belongs to another user, or another process sweeps it, too.
            let _ = remove_abandoned(&path);
        }
    }
    Ok(())
}

/// Removes `path` if its process is dead: the lock last, since a folder without one looks as if it
/// had just been created. What another user left there may need that user's next process; until
/// then an attempt that removes nothing leaves the lock and the time of the folder as they are.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let lock = lock_path(path);
    // A process has a folder with a lock file in it. What can't be inspected may be its.
    let is_of_a_process = calls::symlink_metadata(path)?.is_dir()
        && match calls::symlink_metadata(&lock) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            metadata => metadata?.is_file(),
        };
    if !is_of_a_process {
        return fsx::remove_tree(path);
    }
    let Some(held) = Lock::try_acquire(&lock)? else {
        return Ok(());
    };
    let emptied = fsx::entries(path).and_then(|entries| {
        let mut others = entries.iter().filter(|entry| **entry != lock);
        others.try_for_each(|entry| fsx::remove_tree(entry))
    });
    match emptied {
        Ok(()) => fsx::remove_tree(path),
        Err(error) => {
            held.leave();
            Err(error)
        }
    }
}

fn is_young(path: &Path) -> bool {
    calls::symlink_metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| {
            SystemTime::now()
                .duration_since(modified)
                .is_ok_and(|age| age < YOUNG)
        })
}
