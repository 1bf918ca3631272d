//! Changes the form of a store's locks, while nothing uses the store.
//!
//! Between its first look and its last one no process can begin to use the store: `store.json` names
//! no form then. A process reads `store.json` again once others see it, so one that had opened the
//! store before ends instead of taking locks of the old form.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::description::{Change, ClaimsForm};
use super::layout::{CLAIMS, DOWNLOADS, ENVIRONMENTS, RUNS, TMP};
use super::{Store, StoreError};
use crate::fsx::lease::{self, Holder};
use crate::fsx::{self, LockState, Locks};

/// The file names that are locks, wherever they are.
const LOCK_ENDING: &str = "lock";

/// What uses a store, or may do so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUser {
    /// The lock or the folder, relative to the store.
    pub what: String,
    /// Its process, where locks are leases.
    pub holder: Option<Holder>,
}

impl StoreUser {
    /// Whether time can show that it is dead.
    pub fn may_be_dead(&self) -> bool {
        self.holder.is_some() || self.what.starts_with(TMP)
    }

    /// How long it may give no sign of life.
    pub fn lasts(&self) -> Option<Duration> {
        self.holder.as_ref().map(|holder| holder.lasts)
    }
}

impl fmt::Display for StoreUser {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match &self.holder {
            Some(holder) => write!(formatter, "{} ({holder})", self.what),
            None => formatter.write_str(&self.what),
        }
    }
}

impl Store {
    /// Whether a change of the form has begun and has not ended.
    pub fn is_changing(root: &Path) -> bool {
        matches!(Change::read(root), Ok(Some(_)))
    }

    /// Changes the form of the locks of the store at `root`. `wait` is asked, with what may be alive,
    /// whether to look again; it sleeps in between.
    ///
    /// # Errors
    /// Something uses the store, or its file system lacks what the form needs. Then nothing has
    /// changed. If this process dies, the store is refused until this is repeated.
    pub fn change_claims(
        root: &Path,
        form: ClaimsForm,
        mut wait: impl FnMut(&[StoreUser]) -> bool,
    ) -> Result<(), StoreError> {
        if form == ClaimsForm::Lease {
            let tmp = root.join(TMP);
            fsx::make_folders(&tmp).map_err(StoreError::io(&tmp))?;
            lease::check(&tmp).map_err(StoreError::io(&tmp))?;
        }
        let change = Change::begin(root)?;
        if change.last == form {
            return change.end(root, form);
        }
        let locks = change.last.locks(root);
        let users = loop {
            let users = users(root, &locks)?;
            if users.is_empty() || !wait(&users) {
                break users;
            }
        };
        if !users.is_empty() {
            let last = change.last;
            change.end(root, last)?;
            let root = root.to_path_buf();
            let users = users.iter().map(ToString::to_string).collect();
            return Err(StoreError::InUse { root, users });
        }
        for path in lock_files(root)? {
            // It would look like a lock of an unknown holder.
            fsx::remove_tree(&path).map_err(StoreError::io(&path))?;
        }
        change.end(root, form)
    }

    /// What uses the store or may do so, in words.
    pub fn users(&self) -> Result<Vec<StoreUser>, StoreError> {
        users(&self.root, &self.locks)
    }
}

fn users(root: &Path, locks: &Locks) -> Result<Vec<StoreUser>, StoreError> {
    let mut users = Vec::new();
    for path in lock_files(root)? {
        let shown = path.strip_prefix(root).unwrap_or(&path).display();
        match locks.state(&path) {
            Ok(LockState::Held(holder)) => users.push(used(&shown, holder)),
            Ok(LockState::Free) => {}
            // Without `flock`, nobody can hold one.
            Err(error) if is_unsupported(&error) => {}
            Err(error) => return Err(StoreError::io(&path)(error)),
        }
    }
    if let Locks::Lease(leases) = locks {
        let tmp = root.join(TMP);
        let living = leases.living().map_err(StoreError::io(&tmp))?;
        for (folder, holder) in living {
            let shown = folder.strip_prefix(root).unwrap_or(&folder).display();
            users.push(used(&shown, holder));
        }
    }
    Ok(users)
}

fn used(what: &impl fmt::Display, holder: Option<Holder>) -> StoreUser {
    StoreUser {
        what: what.to_string(),
        holder,
    }
}

/// Every lock file of the store, held or not.
fn lock_files(root: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let listed = |folder: &Path| fsx::entries(folder).map_err(StoreError::io(folder));
    let mut files = listed(&root.join(CLAIMS))?;
    for folder in [RUNS, TMP] {
        for folder in listed(&root.join(folder))? {
            if fsx::is_folder(&folder) {
                files.push(folder.join(LOCK_ENDING));
            }
        }
    }
    let blobs = root.join(DOWNLOADS).join("blobs");
    for folder in [root.join(DOWNLOADS), blobs, root.join(ENVIRONMENTS)] {
        let ends = |path: &PathBuf| path.extension().is_some_and(|it| it == LOCK_ENDING);
        files.extend(listed(&folder)?.into_iter().filter(ends));
    }
    files.retain(|path| path.is_file());
    Ok(files)
}

/// Whether a file system refuses every lock.
fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errors = [Errno::NOLCK, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM];
    errors
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
