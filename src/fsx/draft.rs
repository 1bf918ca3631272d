//! Files and folders under temporary names, removed unless they get a final one.

use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::CWD;

use super::calls::{self, File, NewName};
use super::random::random_name;
use super::removal::remove_tree;

/// A new file under a temporary name. It is removed on drop, unless it has got its final name.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: File,
    /// Whether the temporary name is still there.
    named: bool,
}

impl Draft {
    /// A file in `folder` with exactly the permission bits `mode`, regardless of the umask.
    pub(super) fn new(folder: &Path, mode: u32) -> io::Result<Self> {
        let path = folder.join(random_name()?);
        let options = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .clone();
        let draft = Self {
            file: File::open_with(&path, &options)?,
            path,
            named: true,
        };
        draft.file.set_mode(mode)?;
        Ok(draft)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    pub fn file_mut(&mut self) -> &mut File {
        &mut self.file
    }

    /// Renames it to `path`, replacing an existing file.
    pub(super) fn rename(&mut self, path: &Path) -> io::Result<()> {
        calls::rename(&self.path, path)?;
        self.named = false;
        Ok(())
    }

    /// Renames it to `name` in an open folder, replacing an existing file.
    pub(super) fn rename_at(&mut self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        calls::rename_at(CWD, &self.path, folder, name)?;
        self.named = false;
        Ok(())
    }

    /// Renames it to `name` in an open folder unless there is something.
    pub(super) fn rename_new_at(&mut self, folder: &OwnedFd, name: &str) -> io::Result<()> {
        self.named = calls::rename_new_at(CWD, &self.path, folder, name)? == NewName::BesideOld;
        Ok(())
    }

    /// Names it `path` unless there is something.
    pub(super) fn rename_new(mut self, path: &Path) -> io::Result<()> {
        self.named = calls::rename_new(&self.path, path)? == NewName::BesideOld;
        Ok(())
    }
}

impl Write for Draft {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Read for Draft {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Seek for Draft {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.file.seek(place)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.named {
            // Nothing else has this name: its digits are random.
            let _ = calls::remove_file(&self.path);
        }
    }
}

/// A new folder, removed with its content on drop.
#[derive(Debug)]
pub struct DraftFolder(PathBuf);

impl DraftFolder {
    /// A folder in `folder` with a name that begins with `prefix`.
    pub fn new(folder: &Path, prefix: &str) -> io::Result<Self> {
        let path = folder.join(format!("{prefix}{}", random_name()?));
        calls::create_dir(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The folder, which then stays.
    pub fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for DraftFolder {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            // What can't be removed is swept with the folder above.
            let _ = remove_tree(&self.0);
        }
    }
}
