//! Walks folders with few system calls and without an allocation for each file. The listing of a
//! folder is one block of rows, each a stamp and a name, in the order of the file system. The
//! digest of the block shows whether anything in it has changed.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use rayon::prelude::*;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::ignore::Ignore;
use super::source_error::{MOST_REPEATED, SourceError};
use crate::digest::Digest;
use crate::fsx::Stamp;

/// The folders that a walk has visited, by device and inode, and the number of entries that it has
/// reached again.
#[derive(Default)]
struct Visited {
    folders: Mutex<HashSet<(u64, u64)>>,
    repeated: AtomicUsize,
}

impl Visited {
    /// Whether the walk may continue with a folder of `entries` entries.
    fn allows(&self, folder: &AncestorDirs, entries: usize) -> bool {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = folders.insert((folder.device, folder.inode));
        drop(folders);
        is_new || self.repeated.fetch_add(entries, Ordering::Relaxed) + entries <= MOST_REPEATED
    }
}

/// What a walk returns for each file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalkOutput {
    /// Names only; all stamps are zero.
    Names,
    /// Names and stamps.
    Rows,
    /// Nothing; only the digests of the folders are needed.
    Digests,
}

/// The options of a walk.
#[derive(Clone, Copy)]
pub(super) struct Walk<'a> {
    pub root: &'a Path,
    /// Selects files by name.
    pub wanted: fn(&str) -> bool,
    pub look: WalkOutput,
    /// What the folder that is walked leaves out, by path below it.
    pub ignore: Option<&'a Ignore>,
}

/// The files of one folder.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The path below the root of the walk; empty for the root.
    pub path: String,
    /// A stamp, a name and a zero byte for each file.
    rows: Vec<u8>,
    pub digest: Option<Digest>,
}

impl Folder {
    pub fn new(path: String, rows: Vec<u8>, look: WalkOutput) -> Self {
        let digest = (look != WalkOutput::Names).then(|| Digest::of(&rows));
        let rows = if look == WalkOutput::Digests {
            Vec::new()
        } else {
            rows
        };
        Self { path, rows, digest }
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn files(&self) -> impl Iterator<Item = (&str, Stamp)> {
        let mut rest = self.rows.as_slice();
        std::iter::from_fn(move || {
            let (stamp, named) = rest.split_first_chunk()?;
            let end = named.iter().position(|byte| *byte == 0)?;
            rest = &named[end + 1..];
            // Only UTF-8 names become rows.
            let name = std::str::from_utf8(&named[..end]).ok()?;
            Some((name, Stamp::from_bytes(stamp)))
        })
    }
}

/// Adds a file to a block of rows.
pub(super) fn put_row(rows: &mut Vec<u8>, stamp: Stamp, name: &str) {
    rows.extend(stamp.to_bytes());
    rows.extend(name.as_bytes());
    rows.push(0);
}

/// The path of `name` in `folder`.
pub(super) fn join(folder: &str, name: &str) -> String {
    match folder {
        "" => name.to_string(),
        folder => [folder, "/", name].concat(),
    }
}

/// The ancestors of the current folder, nearest first.
struct AncestorDirs<'a> {
    device: u64,
    inode: u64,
    above: Option<&'a AncestorDirs<'a>>,
}

impl<'a> AncestorDirs<'a> {
    fn of(
        folder: &OwnedFd,
        full: &Path,
        above: Option<&'a AncestorDirs<'a>>,
    ) -> Result<Self, SourceError> {
        let stat =
            rustix::fs::fstat(folder).map_err(|error| SourceError::io(full)(error.into()))?;
        let Stamp { device, inode, .. } = Stamp::of_stat(&stat);
        Ok(Self {
            device,
            inode,
            above,
        })
    }

    fn leads_back(&self) -> bool {
        let mut above = self.above;
        while let Some(folder) = above {
            if (folder.device, folder.inode) == (self.device, self.inode) {
                return true;
            }
            above = folder.above;
        }
        false
    }
}

impl Walk<'_> {
    /// The names of the folders directly in the root, sorted.
    pub fn folders(&self) -> Result<Vec<String>, SourceError> {
        let opened = open(self.root)?;
        let mut folders = Vec::new();
        let stray = |name: &CStr, kind| !leads_to_folder(&opened, name, kind);
        each_entry(&opened, self.root, stray, |name, text, kind| {
            if leads_to_folder(&opened, name, kind) {
                folders.push(text.to_string());
            }
            Ok(())
        })?;
        folders.sort_unstable();
        Ok(folders)
    }

    /// The folder `path` below the root and all folders in it; follows links.
    pub fn under(&self, path: &str) -> Result<Vec<Folder>, SourceError> {
        let visited = Visited::default();
        if path.is_empty() {
            return self.folder(String::new(), None, &visited);
        }
        let root = AncestorDirs::of(&open(self.root)?, self.root, None)?;
        self.folder(path.to_string(), Some(&root), &visited)
    }

    fn folder(
        &self,
        path: String,
        above: Option<&AncestorDirs>,
        visited: &Visited,
    ) -> Result<Vec<Folder>, SourceError> {
        let full = self.full(&path);
        let opened = open(&full)?;
        let around = AncestorDirs::of(&opened, &full, above)?;
        if around.leads_back() {
            return Err(SourceError::Loop(full));
        }
        let (rows, mut inner, entries) = self.rows(&opened, &path, &full)?;
        if !visited.allows(&around, entries) {
            return Err(SourceError::TooManyLinks(full));
        }
        // Deep nesting must not exhaust the open files of the process.
        drop(opened);
        inner.sort_unstable();
        let below: Result<Vec<Vec<Folder>>, SourceError> = match inner.is_empty() {
            true => Ok(Vec::new()),
            false => inner
                .into_par_iter()
                .map(|name| self.folder(join(&path, &name), Some(&around), visited))
                .collect(),
        };
        let mut folders = vec![Folder::new(path, rows, self.look)];
        folders.extend(below?.into_iter().flatten());
        Ok(folders)
    }

    /// The files of an open folder, the names of the folders in it, and how many entries it has.
    fn rows(
        &self,
        opened: &OwnedFd,
        path: &str,
        full: &Path,
    ) -> Result<(Vec<u8>, Vec<String>, usize), SourceError> {
        let (mut rows, mut inner) = (Vec::new(), Vec::new());
        let mut entries = 0;
        let stray = |name: &CStr, kind| {
            !(self.wanted)(&name.to_string_lossy()) && !leads_to_folder(opened, name, kind)
        };
        each_entry(opened, full, stray, |name, text, kind| {
            if self.leaves_out(path, text) {
                return Ok(());
            }
            entries += 1;
            let wanted = (self.wanted)(text);
            let plain = kind == FileType::RegularFile;
            if kind == FileType::Directory {
                inner.push(text.to_string());
            } else if plain && (!wanted || self.look == WalkOutput::Names) {
                if wanted {
                    put_row(&mut rows, Stamp::default(), text);
                }
            } else {
                // A link counts as its target.
                match rustix::fs::statat(opened, name, AtFlags::empty()) {
                    Ok(stat) if is_folder(&stat) => inner.push(text.to_string()),
                    Ok(stat) if wanted && !is_file(&stat) => {
                        return Err(SourceError::NotAFile(full.join(text)));
                    }
                    Ok(stat) if wanted => put_row(&mut rows, Stamp::of_stat(&stat), text),
                    Err(_) if wanted && self.look == WalkOutput::Names => {
                        put_row(&mut rows, Stamp::default(), text);
                    }
                    Err(error) if wanted => {
                        return Err(SourceError::io(&full.join(text))(error.into()));
                    }
                    _ => {}
                }
            }
            Ok(())
        })?;
        Ok((rows, inner, entries))
    }

    /// Whether the folder that is walked, the first component of `folder`, leaves out `name`.
    fn leaves_out(&self, folder: &str, name: &str) -> bool {
        self.ignore.is_some_and(|ignore| {
            let below = folder.split_once('/').map_or("", |(_, below)| below);
            ignore.leaves_out(&join(below, name))
        })
    }

    fn full(&self, path: &str) -> PathBuf {
        match path {
            "" => self.root.to_path_buf(),
            path => self.root.join(path),
        }
    }
}

fn open(folder: &Path) -> Result<OwnedFd, SourceError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).map_err(|error| match error {
        rustix::io::Errno::NOTDIR => SourceError::NotAFolder(folder.to_path_buf()),
        error => SourceError::io(folder)(error.into()),
    })
}

fn is_file(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

fn is_folder(stat: &rustix::fs::Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// A dangling link counts as a file that can't be read.
fn leads_to_folder(opened: &OwnedFd, name: &CStr, kind: FileType) -> bool {
    match kind {
        FileType::Directory => true,
        FileType::RegularFile => false,
        _ => rustix::fs::statat(opened, name, AtFlags::empty()).is_ok_and(|stat| is_folder(&stat)),
    }
}

/// Visits every entry of an open folder: its name, as bytes and as text, and its type, if the file
/// system provides it. A name that is not UTF-8 is an error, unless the entry is a `stray` one,
/// which does not count anyway.
fn each_entry(
    opened: &OwnedFd,
    full: &Path,
    stray: impl Fn(&CStr, FileType) -> bool,
    mut look: impl FnMut(&CStr, &str, FileType) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    each_raw_entry(opened, full, |name, kind| {
        let bytes = name.to_bytes();
        if matches!(bytes, b"." | b"..") {
            return Ok(());
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => look(name, text, kind),
            Err(_) if stray(name, kind) => Ok(()),
            Err(_) => Err(SourceError::Name(full.join(OsStr::from_bytes(bytes)))),
        }
    })
}

#[cfg(target_os = "linux")]
fn each_raw_entry(
    opened: &OwnedFd,
    full: &Path,
    mut look: impl FnMut(&CStr, FileType) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let mut buffer: Vec<u8> = Vec::with_capacity(1 << 16);
    let mut entries = rustix::fs::RawDir::new(opened, buffer.spare_capacity_mut());
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(|error| SourceError::io(full)(error.into()))?;
        look(entry.file_name(), entry.file_type())?;
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn each_raw_entry(
    opened: &OwnedFd,
    full: &Path,
    mut look: impl FnMut(&CStr, FileType) -> Result<(), SourceError>,
) -> Result<(), SourceError> {
    let entries = rustix::fs::Dir::read_from(opened);
    for entry in entries.map_err(|error| SourceError::io(full)(error.into()))? {
        let entry = entry.map_err(|error| SourceError::io(full)(error.into()))?;
        look(entry.file_name(), entry.file_type())?;
    }
    Ok(())
}
