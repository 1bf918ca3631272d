//! A folder on this machine's own disk: for the folders in which nodes run, and for derived work. A
//! store on a file server is spared both; what a node leaves is copied into the store.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::layout::{CLAIMS, TMP};
use super::session::Session;
use super::{Store, StoreError};
use crate::fsx::{self, HeldLock, Locks, calls};

/// A folder that only this user can enter.
#[derive(Debug)]
pub(super) struct LocalFolder {
    root: PathBuf,
    session: Mutex<Option<Session>>,
    locks: Locks,
}

impl LocalFolder {
    /// The folder of this user in `folder`, which others may write to (`/tmp`).
    fn open(folder: &Path) -> io::Result<Self> {
        let user = rustix::process::geteuid().as_raw();
        let root = std::path::absolute(folder)?.join(format!("ribflow-{user}"));
        match calls::create_dir(&root) {
            Ok(()) => calls::set_permissions(&root, PermissionsExt::from_mode(0o700))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let metadata = calls::symlink_metadata(&root)?;
        if !metadata.is_dir() || metadata.uid() != user || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other(format!(
                "{} is not a folder that only you can write to",
                root.display()
            )));
        }
        Ok(Self {
            locks: Locks::of_one_host(&root.join(CLAIMS)),
            root,
            session: Mutex::default(),
        })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// This process's own folder in it.
    pub fn session_folder(&self) -> io::Result<PathBuf> {
        // A thread that panicked here left either no session or a complete one.
        let mut session = self.session.lock().unwrap_or_else(|held| held.into_inner());
        if session.is_none() {
            *session = Some(Session::start(&self.root.join(TMP))?);
        }
        let folder = session
            .as_ref()
            .map(|session| session.folder().to_path_buf());
        folder.ok_or_else(|| io::Error::other("no session"))
    }

    /// A lock between the processes of this machine.
    pub fn claim(&self, name: &str) -> io::Result<Option<HeldLock>> {
        let folder = self.root.join(CLAIMS);
        fsx::make_folders(&folder)?;
        self.locks.try_acquire(&folder.join(name))
    }
}

impl Store {
    /// Uses a folder on this machine's own disk for the folders in which nodes run, and for derived
    /// work. The first call counts.
    pub fn work_locally(&self, folder: &Path) -> Result<(), StoreError> {
        let local = LocalFolder::open(folder).map_err(StoreError::io(folder))?;
        let _ = self.local.set(local);
        Ok(())
    }

    /// A new folder to run a node in, removed on drop, or by a later process if this one dies.
    pub fn work_folder(&self) -> Result<fsx::DraftFolder, StoreError> {
        let Some(local) = self.local.get() else {
            return self.scratch();
        };
        let folder = local
            .session_folder()
            .and_then(|session| fsx::DraftFolder::new(&session, "scratch-"));
        folder.map_err(StoreError::io(local.root()))
    }
}
