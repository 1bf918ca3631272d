//! Files as a store needs them: sealed, renamed into place, locked, made durable, compared by their
//! stamps, and copied and removed as trees. Knows nothing about their content.
//!
//! Nothing here writes to a final name: bytes go to a temporary file on the same file system, which
//! is then renamed. The caller decides whether they are also made durable, so that many files can
//! share one flush ([`sync_filesystem`]).

mod again;
mod beneath;
pub mod calls;
mod draft;
pub mod faults;
pub mod lease;
mod locking;
mod locks;
mod plain;
mod random;
mod regular;
mod removal;

pub use again::again;
pub use plain::{
    entries, folders, is_folder, is_link, leads_nowhere, may_exist, open_plain, read_plain,
    refuse_links, unlink_if_link,
};

use std::ffi::OsStr;
use std::fs::{Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

pub use beneath::{Beneath, NewFolder, Temporary, leads_over_link};
use calls::File;
pub use draft::{Draft, DraftFolder};
pub use locking::{HeldLock, LockState, Locks, StandingLock};
pub use locks::{Lock, StandingFlock, is_unwritable, shared_in};
pub use regular::{
    check_regular, open_regular, open_unless_waiting, read_regular, read_regular_text,
    read_regular_within,
};
pub use removal::remove_tree;

/// Everyone may read, no one may write: content that is named by its digest.
pub const SEALED: u32 = 0o444;
/// Everyone may read, the owner may write.
pub const SHARED: u32 = 0o644;

/// Distinguishes two states of a file without reading it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stamp {
    pub device: u64,
    pub inode: u64,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
    /// Nanoseconds since 1970. Changes with every change of content or metadata; no program can set
    /// it.
    pub changed: i64,
}

impl Stamp {
    /// The number of bytes of [`Stamp::to_bytes`].
    pub const BYTES: usize = 40;

    pub fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The stamp from a call that takes a name in an open folder.
    #[allow(clippy::unnecessary_cast)] // systems differ in the widths and signs of the fields
    pub fn of_stat(stat: &rustix::fs::Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified: nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }

    /// The stamp of `path` in an open folder; `None` if it can't be determined.
    pub fn at(folder: impl AsFd, path: impl AsRef<OsStr>) -> Option<Self> {
        let stat = calls::stat_at(folder, path, AtFlags::empty());
        Some(Self::of_stat(&stat.ok()?))
    }

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let numbers = [
            self.device,
            self.inode,
            self.size,
            self.modified as u64,
            self.changed as u64,
        ];
        let mut bytes = [0; Self::BYTES];
        for (place, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (numbers, _) = bytes.as_chunks::<8>();
        let number = |index: usize| u64::from_le_bytes(numbers[index]);
        Self {
            device: number(0),
            inode: number(1),
            size: number(2),
            modified: number(3) as i64,
            changed: number(4) as i64,
        }
    }

    /// Whether a later change could leave the same stamp: the last change is less than two seconds
    /// before `now` (nanoseconds since 1970), and file systems round times (FAT: to two seconds).
    ///
    /// A modification time in the future was set by hand and proves nothing; the time of the last
    /// change can't be set.
    pub fn is_young(&self, now: i64) -> bool {
        const YOUNG: i64 = 2_000_000_000;
        let limit = now.saturating_sub(YOUNG);
        self.changed > limit || (self.modified > limit && self.modified <= now)
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The current time, for [`Stamp::is_young`].
pub fn nanoseconds_since_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |age| i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}

/// Opens a folder for [`Stamp::at`].
pub fn open_folder(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    calls::open_at(CWD, path, flags, Mode::empty()).ok()
}

/// A temporary file in `folder` with exactly the permission bits `mode`, regardless of the umask.
pub fn temporary(folder: &Path, mode: u32) -> io::Result<Draft> {
    Draft::new(folder, mode)
}

/// Writes `bytes` to a temporary file in `folder`; the caller names it with [`place`].
pub fn stage(folder: &Path, mode: u32, bytes: &[u8]) -> io::Result<Draft> {
    let mut file = temporary(folder, mode)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Renames a temporary file to `path`, replacing an existing file; creates the parent folder if it
/// is missing.
pub fn place(mut file: Draft, path: &Path) -> io::Result<()> {
    match file.rename(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        renamed => return renamed,
    }
    if let Some(parent) = path.parent() {
        make_folders(parent)?;
    }
    file.rename(path)
}

/// As [`place`], and durable once it returns.
pub fn place_durably(file: Draft, path: &Path) -> io::Result<()> {
    file.file().sync_all()?;
    place(file, path)?;
    sync_folder_of(path)
}

/// As [`place`], unless there is something at `path`, in a folder that exists; returns whether it
/// did.
pub fn place_new(file: Draft, path: &Path) -> io::Result<bool> {
    match file.rename_new(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates `folder` and its missing parents. Each new folder gets the permissions of its parent,
/// regardless of the umask, so that a folder that a group shares stays shared.
pub fn make_folders(folder: &Path) -> io::Result<()> {
    // The empty path is the current folder, as the parent of a bare name.
    if folder == Path::new("") || folder.is_dir() {
        return Ok(());
    }
    let above = folder.parent().filter(|above| *above != Path::new(""));
    if let Some(above) = above {
        make_folders(above)?;
    }
    match calls::create_dir(folder) {
        Ok(()) => {
            open_as(folder, above.unwrap_or(Path::new(".")));
            Ok(())
        }
        Err(_) if folder.is_dir() => Ok(()),
        // "File exists" would be no help.
        Err(error) => match leads_nowhere(folder) {
            true => Err(io::Error::new(
                error.kind(),
                format!("{} {}", folder.display(), nowhere(folder)),
            )),
            false => Err(error),
        },
    }
}

/// What to say of a link that [leads nowhere](leads_nowhere).
pub fn nowhere(link: &Path) -> String {
    let target = calls::read_link(link).unwrap_or_default();
    format!("is a link to {}, which is not there", target.display())
}

/// Gives a new folder the permissions of its parent.
pub fn open_as(folder: &Path, above: &Path) {
    if let Ok(metadata) = calls::metadata(above) {
        let mode = metadata.mode() & 0o2777 | 0o700;
        // Where that is not allowed, the permissions of the umask remain.
        let _ = calls::set_permissions(folder, Permissions::from_mode(mode));
    }
}

/// A new file that is written over time and that everyone may read.
pub fn create_shared(path: &Path) -> io::Result<File> {
    let file = File::create_new(path)?;
    file.set_mode(SHARED)?;
    Ok(file)
}

/// A file opened for appending that everyone may read.
pub fn append_shared(path: &Path) -> io::Result<File> {
    let created = File::open_with(path, OpenOptions::new().append(true).create_new(true));
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            File::open_with(path, OpenOptions::new().append(true))
        }
        created => {
            let file = created?;
            file.set_mode(SHARED)?;
            Ok(file)
        }
    }
}

/// Removes the file that another user has written at `path`, if this user may not append to it.
/// Users who share a folder may remove files from it.
pub fn give_way(path: &Path) {
    if calls::may_not_write(path) {
        // If this fails, so does the write, which reports why.
        let _ = calls::remove_file(path);
    }
}

/// Renames `from` to `path` on the same file system; creates the parent folder if it is missing.
pub fn rename(from: &Path, path: &Path) -> io::Result<()> {
    match calls::rename(from, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                make_folders(parent)?;
            }
            calls::rename(from, path)
        }
        result => result,
    }
}

/// Makes a file read-only for everyone.
pub fn seal(file: &File) -> io::Result<()> {
    file.set_mode(SEALED)
}

/// Replaces `path` with `bytes`: readers see the old content or the new, never a part. `folder`
/// must be on the same file system.
pub fn replace(path: &Path, folder: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    place(stage(folder, mode, bytes)?, path)
}

/// As [`replace`], and durable once it returns: for what a power failure must not lose or empty.
pub fn replace_durably(path: &Path, folder: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    place_durably(stage(folder, mode, bytes)?, path)
}

/// Creates a durable file with `bytes` at `path`, unless one exists; returns `false` if it does.
pub fn create_durably(path: &Path, folder: &Path, mode: u32, bytes: &[u8]) -> io::Result<bool> {
    let file = stage(folder, mode, bytes)?;
    file.file().sync_all()?;
    match place_new(file, path)? {
        true => sync_folder_of(path).map(|()| true),
        false => Ok(false),
    }
}

/// Makes the name of a file durable.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != Path::new(""));
    match File::open(folder.unwrap_or(Path::new(".")))?.sync_all() {
        // Some file systems (FUSE, network) have no flush for folders.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Makes everything that any process has written to the file system of `folder` so far durable.
///
/// One flush for many files: see docs/store.md for what it saves over flushing each.
#[cfg(target_os = "linux")]
pub fn sync_filesystem(folder: &Path, _files: &[PathBuf]) -> io::Result<()> {
    calls::sync_filesystem(&File::open(folder)?)
}

/// Makes `files` and their folders durable, one by one: for systems without `syncfs`.
#[cfg(not(target_os = "linux"))]
pub fn sync_filesystem(_folder: &Path, files: &[PathBuf]) -> io::Result<()> {
    let mut folders = std::collections::BTreeSet::new();
    for file in files {
        File::open(file)?.sync_all()?;
        // The parent too, because this folder may be new in it.
        folders.extend(file.ancestors().skip(1).take(2).map(Path::to_path_buf));
    }
    folders
        .into_iter()
        .try_for_each(|folder| File::open(folder)?.sync_all())
}

/// The digest and length of a stream, in constant memory.
pub fn hash_reader(reader: &mut impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(reader)?;
    Ok((Digest::finish(&hasher), hasher.count()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn replaced_files_have_the_asked_for_bits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file");
        replace(&path, folder.path(), SHARED, b"one").unwrap();
        replace(&path, folder.path(), SEALED, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, SEALED);
    }
}
