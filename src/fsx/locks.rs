//! File locks between processes and within one, on local disks and on network file systems. A group
//! that shares the folder shares the lock: on NFS, only a user who may write a file can lock it
//! exclusively.

use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::calls::{self, File};
use super::{SHARED, Stamp};

/// The polling interval for a lock that can't be waited for.
const LOOK: Duration = Duration::from_millis(100);

/// A lock that is free, but that this user can't take.
#[derive(Debug, thiserror::Error)]
#[error(
    "this lock belongs to another user, and its file system locks it only for who may write it; \
     `chmod g+w` by its owner, or removing it, mends that"
)]
struct Unwritable;

/// An exclusive lock on a file: held until dropped or until the process dies, against other
/// processes and against other holders in this one.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    /// Whether the file stays when the lock is released.
    stays: bool,
}

impl Lock {
    /// The lock at `path`, or `None` if someone holds it. The file's folder must exist.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = Self::open(path)?;
            if !try_alone(&file)? {
                return Ok(None);
            }
            if let Some(lock) = Self::confirm(path, file)? {
                return Ok(Some(lock));
            }
        }
    }

    /// The lock at `path`; waits for its holder.
    pub fn acquire(path: &Path) -> io::Result<Self> {
        loop {
            let file = Self::open(path)?;
            if !alone(&file)? {
                // Its holder removes it, so the next attempt may find another file.
                calls::pause(LOOK);
                continue;
            }
            if let Some(lock) = Self::confirm(path, file)? {
                return Ok(lock);
            }
        }
    }

    /// Whether the lock on an open file is free; `false` if that can't be determined.
    pub(super) fn is_free(file: &File) -> bool {
        file.try_lock_shared().is_ok() && file.unlock().is_ok()
    }

    fn open(path: &Path) -> io::Result<File> {
        // Its creator is about to give others access, or has just removed it.
        const ATTEMPTS: usize = 50;
        let mut attempt = 0;
        loop {
            attempt += 1;
            match create(path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                // This user can't create files here, but can wait for an existing lock.
                Err(error) if is_unwritable(&error) && path.exists() => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                result => return result,
            }
            let result = match existing(path, true) {
                // The file belongs to another user: read access is enough to wait for it.
                Err(error) if is_unwritable(&error) => existing(path, false),
                result => result,
            };
            match result {
                Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => {}
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied && attempt < ATTEMPTS =>
                {
                    calls::pause(Duration::from_millis(1));
                }
                result => return result,
            }
        }
    }

    /// A holder removes its file when it releases the lock, so the file that was just locked may no
    /// longer be the one at `path`; then the lock is not held. While `path` refers to a locked
    /// file, only its holder removes it, so two holders can't both be confirmed.
    fn confirm(path: &Path, file: File) -> io::Result<Option<Self>> {
        Ok(is_at(path, &file)?.then(|| Self {
            path: path.to_path_buf(),
            file,
            stays: false,
        }))
    }

    /// Releases the lock and leaves its file.
    pub fn leave(mut self) {
        self.stays = true;
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while still held; closing the file releases the lock. A file that can't be
        // removed is harmless: the next holder reuses it. Where this lock was lost (its file was
        // removed by hand, or a server gave it to another host), the file there is another holder's.
        if !self.stays && is_at(&self.path, &self.file).unwrap_or(false) {
            let _ = calls::remove_file(&self.path);
        }
    }
}

/// A lock on a file that persists. Shared by several holders or exclusive to one, until dropped.
#[derive(Debug)]
pub struct StandingFlock {
    _file: File,
}

impl StandingFlock {
    /// The lock at `path`, shared; waits for an exclusive holder.
    pub fn together(path: &Path) -> io::Result<Self> {
        let lock = |file: &File| file.lock_shared().map(|()| true);
        Self::take(path, || existing(path, false), lock)
    }

    /// The lock at `path`, exclusive; waits for all other holders.
    pub fn alone(path: &Path) -> io::Result<Self> {
        let open = || match existing(path, true) {
            // Most systems can lock a file that is open for reading only.
            Err(error) if is_unwritable(&error) => existing(path, false),
            file => file,
        };
        Self::take(path, open, alone)
    }

    fn take(
        path: &Path,
        open: impl Fn() -> io::Result<File>,
        lock: impl Fn(&File) -> io::Result<bool>,
    ) -> io::Result<Self> {
        loop {
            let file = open()?;
            if !lock(&file)? {
                calls::pause(LOOK);
                continue;
            }
            // Its holder may have replaced it meanwhile; then the lock is not held.
            if is_at(path, &file)? {
                return Ok(Self { _file: file });
            }
        }
    }
}

/// Whether an error means that this process can't write here: another user's file, a read-only or
/// full file system, a limit on file sizes.
pub fn is_unwritable(error: &io::Error) -> bool {
    use io::ErrorKind::{
        FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    matches!(
        error.kind(),
        PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded | FileTooLarge
    )
}

/// Everyone may read the file; users who may write to `folder` may write to it.
pub fn shared_in(folder: &Path) -> u32 {
    let writers = calls::metadata(folder).map_or(0, |metadata| metadata.mode() & 0o022);
    SHARED | writers
}

fn create(path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    let mode = shared_in(folder.unwrap_or(Path::new(".")));
    file.set_mode(mode)?;
    Ok(file)
}

/// A lock is never a link; a named pipe in its place does not block.
fn existing(path: &Path, writes: bool) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let options = OpenOptions::new()
        .read(true)
        .write(writes)
        .custom_flags(flags.bits().cast_signed())
        .clone();
    let file = File::open_with(path, &options)?;
    super::regular::check_regular(file.metadata()?.file_type())?;
    Ok(file)
}

/// Takes the exclusive lock on a file if it is free; returns whether it did.
fn try_alone(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => unless_held(file, error).map(|()| false),
    }
}

/// As [`try_alone`], but waits for the holder where the file system allows that.
fn alone(file: &File) -> io::Result<bool> {
    match file.lock() {
        Ok(()) => Ok(true),
        Err(error) => unless_held(file, error).map(|()| false),
    }
}

/// NFS implements an exclusive lock as a lock on bytes, and refuses it (EBADF) to users who have
/// the file open for reading. Such a user can still find out whether the lock is held.
///
/// # Errors
/// `error`, or advice if the lock is free.
fn unless_held(file: &File, error: io::Error) -> io::Result<()> {
    if error.raw_os_error() != Some(Errno::BADF.raw_os_error()) {
        return Err(error);
    }
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Err(io::Error::new(io::ErrorKind::PermissionDenied, Unwritable)),
    }
}

/// Whether an open file is the one at `path`.
fn is_at(path: &Path, file: &File) -> io::Result<bool> {
    let held = Stamp::of(&file.metadata()?);
    let there = match calls::symlink_metadata(path) {
        Ok(metadata) => Stamp::of(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok((held.device, held.inode) == (there.device, there.inode))
}
#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_lock_excludes_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claim");
        let held = Lock::try_acquire(&path).unwrap().unwrap();
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        drop(held);
        assert!(!path.exists());
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn of_many_contenders_one_holds_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claim");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let lock = Lock::acquire(&path).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }

    /// As on a network file system that has given the lock of a silent host to another one.
    #[test]
    fn a_holder_that_has_lost_its_lock_does_not_end_that_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claim");
        let lost = Lock::acquire(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let other = Lock::try_acquire(&path).unwrap().unwrap();
        drop(lost);
        assert!(Lock::try_acquire(&path).unwrap().is_none());
        drop(other);
        assert!(Lock::try_acquire(&path).unwrap().is_some());
    }

    #[test]
    fn a_lock_may_be_written_by_who_may_write_to_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (open, expected) in [(0o2775, 0o664), (0o755, 0o644), (0o1777, 0o666)] {
            fs::set_permissions(folder.path(), Permissions::from_mode(open)).unwrap();
            let path = folder.path().join("claim");
            let _held = Lock::acquire(&path).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, expected);
        }
    }

    #[test]
    fn a_link_in_place_of_a_lock_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("claim"), folder.path().join("mine"));
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(Lock::try_acquire(&path).is_err());
        assert_eq!(fs::read(&other).unwrap(), b"mine");
    }

    #[test]
    fn the_word_of_nfs_on_what_is_only_read_is_understood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("claim");
        let nfs = || io::Error::from_raw_os_error(Errno::BADF.raw_os_error());
        let holder = create(&path).unwrap();
        let other = existing(&path, false).unwrap();
        holder.lock().unwrap();
        unless_held(&other, nfs()).unwrap();
        holder.unlock().unwrap();
        let error = unless_held(&other, nfs()).unwrap_err();
        assert!(error.to_string().contains("chmod g+w"), "{error}");
        let full = io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        let error = unless_held(&other, full).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
