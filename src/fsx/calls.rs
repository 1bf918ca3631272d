//! The calls to the file system: the only place where ribflow opens, writes, names, locks or removes
//! files of a store.
//!
//! Each call asks [`faults`](super::faults) first. Tests make a chosen call fail there, or lose what
//! was not synced; otherwise the question is one relaxed load. The names are those of `std::fs`.

use std::ffi::OsStr;
use std::fs::{self, Metadata, OpenOptions, Permissions, ReadDir, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};

use super::faults::{self, Call, Step};

pub fn metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    faults::around(Call::Stat, || Step::at(path), || fs::metadata(path))
}

pub fn symlink_metadata(path: impl AsRef<Path>) -> io::Result<Metadata> {
    let path = path.as_ref();
    faults::around(Call::Stat, || Step::at(path), || fs::symlink_metadata(path))
}

pub fn read_dir(path: impl AsRef<Path>) -> io::Result<ReadDir> {
    let path = path.as_ref();
    faults::around(Call::List, || Step::at(path), || fs::read_dir(path))
}

pub fn create_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    faults::around(Call::MakeFolder, || Step::at(path), || fs::create_dir(path))
}

/// Creates `path` and its missing parents.
pub fn create_dir_all(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    if path == Path::new("") || path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        create_dir_all(above)?;
    }
    match create_dir(path) {
        Err(_) if path.is_dir() => Ok(()),
        made => made,
    }
}

pub fn remove_file(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    faults::around(Call::Remove, || Step::at(path), || fs::remove_file(path))
}

pub fn remove_dir(path: impl AsRef<Path>) -> io::Result<()> {
    let path = path.as_ref();
    faults::around(Call::Remove, || Step::at(path), || fs::remove_dir(path))
}

pub fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    faults::around(
        Call::Rename,
        || Step::between(from, to),
        || fs::rename(from, to),
    )
}

/// Renames unless `to` exists; see [`rename_new_at`].
pub fn rename_new(from: &Path, to: &Path) -> io::Result<NewName> {
    rename_new_at(rustix::fs::CWD, from, rustix::fs::CWD, to)
}

pub fn hard_link(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    faults::around(
        Call::Link,
        || Step::between(from, to),
        || fs::hard_link(from, to),
    )
}

/// Copies a file to the new file `to`, with its permissions.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> io::Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let mut source = File::open(from)?;
    let mut target = File::create_new(to)?;
    copy_bytes(&mut source, &mut target)?;
    target.set_permissions(source.metadata()?.permissions())
}

/// Copies the rest of a file, in the kernel where it can.
pub fn copy_bytes(from: &mut File, to: &mut File) -> io::Result<u64> {
    match faults::armed() {
        false => io::copy(&mut from.0, &mut to.0),
        true => io::copy(from, to),
    }
}

pub fn read(path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let mut bytes = Vec::new();
    File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Creates or overwrites a file.
pub fn write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let path = path.as_ref();
    let options = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .clone();
    File::open_with(path, &options)?.write_all(bytes.as_ref())
}

pub fn set_permissions(path: impl AsRef<Path>, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    faults::around(
        Call::Permit,
        || Step::at(path),
        || fs::set_permissions(path, permissions),
    )
}

pub fn read_link(path: impl AsRef<Path>) -> io::Result<PathBuf> {
    let path = path.as_ref();
    faults::around(Call::Stat, || Step::at(path), || fs::read_link(path))
}

/// Whether the system denies this user to write to `path`.
pub fn may_not_write(path: &Path) -> bool {
    let access = rustix::fs::access(path, rustix::fs::Access::WRITE_OK);
    access == Err(rustix::io::Errno::ACCESS)
}

/// The space on the file system of `path`.
pub fn space(path: &Path) -> io::Result<rustix::fs::StatVfs> {
    Ok(rustix::fs::statvfs(path)?)
}

/// Makes everything on the file system of `folder` durable.
#[cfg(target_os = "linux")]
pub fn sync_filesystem(folder: impl AsFd) -> io::Result<()> {
    let folder = folder.as_fd();
    faults::syncing(
        Call::SyncAll,
        || Step::of(folder),
        || rustix::fs::syncfs(folder).map_err(io::Error::from),
    )
}

/// Pauses between two attempts; not while a test makes calls fail, so that its cases take no time.
pub fn pause(time: Duration) {
    match faults::armed() {
        true => std::thread::yield_now(),
        false => std::thread::sleep(time),
    }
}

/// Opens `name` in the open folder `above`.
pub fn open_at(
    above: impl AsFd,
    name: impl AsRef<OsStr>,
    flags: OFlags,
    mode: Mode,
) -> io::Result<OwnedFd> {
    let (above, name) = (above.as_fd(), name.as_ref());
    let call = match flags.contains(OFlags::CREATE) {
        true => Call::Create,
        false => Call::Open,
    };
    retried(|| {
        faults::around(
            call,
            || Step::inside(above, name),
            || Ok(rustix::fs::openat(above, name.as_bytes(), flags, mode)?),
        )
    })
}

/// Opens the folder `name`, several parts, below the open folder `above`. Follows no link on the way.
///
/// # Errors
/// `Unsupported` where the system can't do that in one call.
pub fn open_folder_beneath(above: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let (above, name) = (above.as_fd(), OsStr::new(name));
    faults::around(
        Call::Open,
        || Step::inside(above, name),
        || open_without_links(above, name, true),
    )
}

/// Opens the folder at `path`, of which no part is a link; errors as for [`open_folder_beneath`].
pub fn open_folder_without_links(path: &Path) -> io::Result<OwnedFd> {
    faults::around(
        Call::Open,
        || Step::at(path),
        || open_without_links(rustix::fs::CWD, path.as_os_str(), false),
    )
}

#[cfg(target_os = "linux")]
fn open_without_links(above: BorrowedFd, name: &OsStr, is_beneath: bool) -> io::Result<OwnedFd> {
    use rustix::fs::ResolveFlags;
    use rustix::io::Errno;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = match is_beneath {
        true => ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
        false => ResolveFlags::NO_SYMLINKS,
    };
    retried(|| {
        match rustix::fs::openat2(above, name.as_bytes(), flags, Mode::empty(), resolve) {
            // Refused by an older kernel or a filter of calls; or a name was moved meanwhile.
            Err(Errno::NOSYS | Errno::PERM | Errno::AGAIN) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            opened => Ok(opened?),
        }
    })
}

#[cfg(not(target_os = "linux"))]
fn open_without_links(_above: BorrowedFd, _name: &OsStr, _below: bool) -> io::Result<OwnedFd> {
    Err(io::ErrorKind::Unsupported.into())
}

pub fn stat_at(above: impl AsFd, name: impl AsRef<OsStr>, flags: AtFlags) -> io::Result<Stat> {
    let (above, name) = (above.as_fd(), name.as_ref());
    faults::around(
        Call::Stat,
        || Step::inside(above, name),
        || Ok(rustix::fs::statat(above, name.as_bytes(), flags)?),
    )
}

pub fn stat_of(opened: &OwnedFd) -> io::Result<Stat> {
    faults::around(
        Call::Stat,
        || Step::of(opened.as_fd()),
        || Ok(rustix::fs::fstat(opened)?),
    )
}

pub fn set_mode_of(opened: &OwnedFd, mode: Mode) -> io::Result<()> {
    faults::around(
        Call::Permit,
        || Step::of(opened.as_fd()),
        || Ok(rustix::fs::fchmod(opened, mode)?),
    )
}

/// The entries of an open folder.
pub fn list(folder: &OwnedFd) -> io::Result<rustix::fs::Dir> {
    faults::around(
        Call::List,
        || Step::of(folder.as_fd()),
        || Ok(rustix::fs::Dir::read_from(folder)?),
    )
}

pub fn create_dir_at(above: impl AsFd, name: impl AsRef<OsStr>, mode: Mode) -> io::Result<()> {
    let (above, name) = (above.as_fd(), name.as_ref());
    faults::around(
        Call::MakeFolder,
        || Step::inside(above, name),
        || Ok(rustix::fs::mkdirat(above, name.as_bytes(), mode)?),
    )
}

pub fn remove_file_at(above: impl AsFd, name: impl AsRef<OsStr>) -> io::Result<()> {
    let (above, name) = (above.as_fd(), name.as_ref());
    faults::around(
        Call::Remove,
        || Step::inside(above, name),
        || {
            let flags = AtFlags::empty();
            Ok(rustix::fs::unlinkat(above, name.as_bytes(), flags)?)
        },
    )
}

pub fn rename_at(
    above: impl AsFd,
    name: impl AsRef<OsStr>,
    new_above: impl AsFd,
    new_name: impl AsRef<OsStr>,
) -> io::Result<()> {
    let (above, name) = (above.as_fd(), name.as_ref());
    let (new_above, new_name) = (new_above.as_fd(), new_name.as_ref());
    faults::around(
        Call::Rename,
        || Step::inside_both((above, name), (new_above, new_name)),
        || {
            Ok(rustix::fs::renameat(
                above,
                name.as_bytes(),
                new_above,
                new_name.as_bytes(),
            )?)
        },
    )
}

/// What [`rename_new_at`] has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewName {
    Only,
    /// The file system has no such rename: the old name is still there.
    BesideOld,
}

/// Names a file in another folder unless the name is taken.
pub fn rename_new_at(
    above: impl AsFd,
    name: impl AsRef<OsStr>,
    new_above: impl AsFd,
    new_name: impl AsRef<OsStr>,
) -> io::Result<NewName> {
    use rustix::io::Errno;
    let (above, name) = (above.as_fd(), name.as_ref());
    let (new_above, new_name) = (new_above.as_fd(), new_name.as_ref());
    let (old, new) = (name.as_bytes(), new_name.as_bytes());
    let step = || Step::inside_both((above, name), (new_above, new_name));
    let renamed = faults::around(Call::Rename, step, || {
        let flags = RenameFlags::NOREPLACE;
        Ok(rustix::fs::renameat_with(
            above, old, new_above, new, flags,
        )?)
    });
    let without = [Errno::INVAL, Errno::NOSYS, Errno::NOTSUP].map(Errno::raw_os_error);
    match renamed {
        Err(error) if without.map(Some).contains(&error.raw_os_error()) => {
            faults::around(Call::Link, step, || {
                let flags = AtFlags::empty();
                rustix::fs::linkat(above, old, new_above, new, flags)?;
                Ok(NewName::BesideOld)
            })
        }
        renamed => renamed.map(|()| NewName::Only),
    }
}

/// Repeats a call that a signal interrupted, as `std::fs` does where it opens and writes.
fn retried<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// An open file or folder.
#[derive(Debug)]
pub struct File(fs::File);

impl File {
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Self::open_with(path.as_ref(), OpenOptions::new().read(true))
    }

    pub fn create_new(path: impl AsRef<Path>) -> io::Result<Self> {
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .clone();
        Self::open_with(path.as_ref(), &options)
    }

    pub fn open_with(path: &Path, options: &OpenOptions) -> io::Result<Self> {
        faults::around(Call::Open, || Step::at(path), || options.open(path)).map(Self)
    }

    /// A call on the open file.
    fn around<T>(&self, call: Call, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        faults::around(call, || Step::of(self.as_fd()), work)
    }

    /// A call that moves up to `length` bytes.
    fn moving(
        &self,
        call: Call,
        length: usize,
        work: impl FnOnce(usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        faults::moving(call, || Step::of(self.as_fd()), length, work)
    }

    pub fn metadata(&self) -> io::Result<Metadata> {
        self.around(Call::Stat, || self.0.metadata())
    }

    pub fn sync_all(&self) -> io::Result<()> {
        faults::syncing(Call::Sync, || Step::of(self.as_fd()), || self.0.sync_all())
    }

    pub fn sync_data(&self) -> io::Result<()> {
        faults::syncing(Call::Sync, || Step::of(self.as_fd()), || self.0.sync_data())
    }

    pub fn set_permissions(&self, permissions: Permissions) -> io::Result<()> {
        self.around(Call::Permit, || self.0.set_permissions(permissions))
    }

    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.set_permissions(Permissions::from_mode(mode))
    }

    pub fn set_len(&self, length: u64) -> io::Result<()> {
        self.around(Call::Truncate, || self.0.set_len(length))
    }

    pub fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.around(Call::Permit, || self.0.set_modified(time))
    }

    pub fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// Waits for an exclusive lock.
    pub fn lock(&self) -> io::Result<()> {
        self.locked(|| self.0.lock())
    }

    /// Waits for a shared lock.
    pub fn lock_shared(&self) -> io::Result<()> {
        self.locked(|| self.0.lock_shared())
    }

    pub fn try_lock(&self) -> Result<(), TryLockError> {
        self.tried(|| self.0.try_lock())
    }

    pub fn try_lock_shared(&self) -> Result<(), TryLockError> {
        self.tried(|| self.0.try_lock_shared())
    }

    pub fn unlock(&self) -> io::Result<()> {
        self.0.unlock()
    }

    /// A signal may interrupt the wait for a lock, and the lock is still wanted.
    fn locked(&self, lock: impl Fn() -> io::Result<()>) -> io::Result<()> {
        retried(|| self.around(Call::Lock, &lock))
    }

    fn tried(&self, lock: impl Fn() -> Result<(), TryLockError>) -> Result<(), TryLockError> {
        let once = || match lock() {
            Err(TryLockError::Error(error)) => Err(error),
            Err(TryLockError::WouldBlock) => Ok(false),
            Ok(()) => Ok(true),
        };
        match retried(|| self.around(Call::Lock, once)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TryLockError::WouldBlock),
            Err(error) => Err(TryLockError::Error(error)),
        }
    }
}

impl Read for File {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        (&*self).read(bytes)
    }

    fn read_to_end(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        match faults::armed() {
            // Reserves the file's size first.
            false => self.0.read_to_end(bytes),
            true => (&*self).read_to_end(bytes),
        }
    }
}

impl Read for &File {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.moving(Call::Read, bytes.len(), |most| {
            (&self.0).read(&mut bytes[..most])
        })
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.moving(Call::Write, bytes.len(), |most| {
            (&self.0).write(&bytes[..most])
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for File {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.0.seek(place)
    }
}

impl FileExt for File {
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        self.moving(Call::Read, bytes.len(), |most| {
            self.0.read_at(&mut bytes[..most], offset)
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.moving(Call::Write, bytes.len(), |most| {
            self.0.write_at(&bytes[..most], offset)
        })
    }
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// For maps of files, which are read outside of this layer.
impl AsRawFd for File {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for File {
    fn from(opened: OwnedFd) -> Self {
        Self(fs::File::from(opened))
    }
}

/// For what reads outside of this layer: processes, the network.
impl From<File> for fs::File {
    fn from(file: File) -> Self {
        file.0
    }
}
