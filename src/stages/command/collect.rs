//! Collects the outputs of a line under `out/` as file trees.
//!
//! A link counts as its target, if that is in the node's folder: a tree holds content, and content
//! from elsewhere was not declared.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, FileType, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use rustix::io::Errno;

use super::super::task::TaskError;
use super::OUT;
use crate::fsx::calls::open_folder_without_links;
use crate::store::artifact::{BlobError, Blobs, Files, TreeFile};

/// The execute permission of a file's owner.
const OWNER_RUNS: u32 = 0o100;
/// A folder with several links to it is in the output once for each. This limits the repeated
/// entries, because nested links to folders can grow without bound.
const MOST_REPEATED: usize = 250_000;
/// The number of characters at each end of a shortened path in a message.
const SHOWN: usize = 80;

/// The output at the path `name` of a line that ran in `folder`, whose path contains no link.
///
/// # Errors
/// The output is missing, or it contains something that is neither a readable file nor a folder in
/// the node's folder.
pub(super) fn collect(folder: &Path, name: &str, blobs: &dyn Blobs) -> Result<Files, TaskError> {
    let Walk {
        found,
        empty_folders,
        ..
    } = walk(folder, name)?;
    let kept: Result<BTreeMap<String, TreeFile>, TaskError> = found
        .into_par_iter()
        .map(|(path, file)| {
            let kept = file.keep(blobs, &shown(name, &path))?;
            Ok((path, kept))
        })
        .collect();
    Ok(Files {
        empty_folders,
        files: kept?,
    })
}

/// The place of the one file at the path `name`, with links resolved.
///
/// # Errors
/// As for [`collect`], or it is a folder.
pub(super) fn file(folder: &Path, name: &str) -> Result<PathBuf, TaskError> {
    let mut walk = walk(folder, name)?;
    let file = walk.found.remove("").map(|file| file.place);
    file.ok_or_else(|| {
        let shown = shown(name, "");
        TaskError::Failed(format!(
            "{shown} is a folder, but its type is that of a file"
        ))
    })
}

fn walk<'a>(folder: &'a Path, name: &'a str) -> Result<Walk<'a>, TaskError> {
    let place = folder.join(OUT).join(name);
    let Ok(metadata) = fs::symlink_metadata(&place) else {
        let message = format!("the command did not create `{OUT}/{name}`");
        return Err(TaskError::Failed(message));
    };
    let mut walk = Walk {
        folder,
        name,
        found: BTreeMap::new(),
        empty_folders: BTreeSet::new(),
        around: Vec::new(),
        seen: HashSet::new(),
        repeated: 0,
    };
    // The line may have replaced `out/` itself, or a folder on the way, with a link.
    let (parent, base) = match name.rsplit_once('/') {
        Some((parent, base)) => (folder.join(OUT).join(parent), base),
        None if open_folder_without_links(&folder.join(OUT)).is_ok() => {
            walk.visit_known(&place, &metadata, "")?;
            return Ok(walk);
        }
        None => (folder.join(OUT), name),
    };
    let parent = walk.follow(&parent, &format!("`{OUT}`"))?;
    walk.visit(&parent.join(base), "")?;
    Ok(walk)
}

/// Adds `part`, the output called `name`, to the tree of all outputs.
pub(super) fn add(whole: &mut Files, name: &str, part: &Files) {
    let path = |path: &String| match path.as_str() {
        "" => name.to_string(),
        path => format!("{name}/{path}"),
    };
    let files = part.files.iter();
    let files = files.map(|(place, file)| (path(place), file.clone()));
    whole.files.extend(files);
    whole
        .empty_folders
        .extend(part.empty_folders.iter().map(path));
}

struct Walk<'a> {
    folder: &'a Path,
    name: &'a str,
    found: BTreeMap<String, KeptFile>,
    empty_folders: BTreeSet<String>,
    /// The folders on the current path, by device and inode.
    around: Vec<(u64, u64)>,
    /// Every folder visited so far.
    seen: HashSet<(u64, u64)>,
    /// The number of entries of folders visited before.
    repeated: usize,
}

/// A file to keep, with links resolved.
struct KeptFile {
    place: PathBuf,
    executable: bool,
}

impl KeptFile {
    fn keep(self, blobs: &dyn Blobs, shown: &str) -> Result<TreeFile, TaskError> {
        match blobs.write_file(&self.place) {
            Ok(blob) => Ok(TreeFile {
                executable: self.executable,
                ..blob.into()
            }),
            Err(BlobError::Io { path, source }) if path == self.place => {
                Err(unreadable(shown, &source))
            }
            Err(error) => Err(error.into()),
        }
    }
}

impl Walk<'_> {
    /// Adds the file or folder at `place`, called `path` in the output.
    fn visit(&mut self, place: &Path, path: &str) -> Result<(), TaskError> {
        let metadata = fs::symlink_metadata(place)
            .map_err(|error| unreadable(&shown(self.name, path), &error))?;
        self.visit_known(place, &metadata, path)
    }

    fn visit_known(
        &mut self,
        place: &Path,
        metadata: &Metadata,
        path: &str,
    ) -> Result<(), TaskError> {
        if !metadata.is_symlink() {
            return self.visit_real(place, metadata, path);
        }
        let shown = shown(self.name, path);
        let unreadable = |error: io::Error| unreadable(&shown, &error);
        let real = self.follow(place, &shown)?;
        let metadata = fs::symlink_metadata(&real).map_err(unreadable)?;
        self.visit_real(&real, &metadata, path)
    }

    fn visit_real(
        &mut self,
        place: &Path,
        metadata: &Metadata,
        path: &str,
    ) -> Result<(), TaskError> {
        if metadata.is_dir() {
            return self.visit_folder(place, metadata, path);
        }
        if !metadata.is_file() {
            let shown = shown(self.name, path);
            let what = special(metadata.file_type());
            let message = format!("{shown} is {what}: only files and folders are kept");
            return Err(TaskError::Failed(message));
        }
        let file = KeptFile {
            place: place.to_path_buf(),
            executable: metadata.mode() & OWNER_RUNS != 0,
        };
        self.found.insert(path.to_string(), file);
        Ok(())
    }

    fn visit_folder(
        &mut self,
        place: &Path,
        metadata: &Metadata,
        path: &str,
    ) -> Result<(), TaskError> {
        let shown = shown(self.name, path);
        let unreadable = |error: io::Error| unreadable(&shown, &error);
        let identity = (metadata.dev(), metadata.ino());
        if self.around.contains(&identity) {
            let message = format!("{shown} is a link to a folder that contains it");
            return Err(TaskError::Failed(message));
        }
        self.around.push(identity);
        let is_repeated = !self.seen.insert(identity);
        let mut is_empty = true;
        for entry in fs::read_dir(place).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            is_empty = false;
            self.repeated += usize::from(is_repeated);
            if self.repeated > MOST_REPEATED {
                return Err(too_many_links(&shown));
            }
            let name = entry.file_name().into_string().map_err(|name| {
                let message = format!("{shown} holds {name:?}, a name that is not UTF-8");
                TaskError::Failed(message)
            })?;
            let path = match path {
                "" => name,
                path => format!("{path}/{name}"),
            };
            self.visit(&entry.path(), &path)?;
        }
        self.around.pop();
        if is_empty {
            self.empty_folders.insert(path.to_string());
        }
        Ok(())
    }

    /// The target of `place`, which must be inside the node's folder.
    fn follow(&self, place: &Path, shown: &str) -> Result<PathBuf, TaskError> {
        let failed = |message: String| Err(TaskError::Failed(message));
        let real = place.canonicalize();
        // The link may be a parent folder.
        let target = fs::read_link(place).or_else(|_| place.canonicalize());
        let target = target.unwrap_or_default();
        let target = target.display();
        match real {
            Ok(real) if real.starts_with(self.folder) => Ok(real),
            Ok(_) => failed(format!(
                "{shown} is a link to `{target}`, outside the node's folder: copy the target \
                 instead"
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => failed(format!(
                "{shown} is a link to `{target}`, which does not exist"
            )),
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => failed(
                format!("{shown} is a link to `{target}`, a circle of links"),
            ),
            Err(error) => Err(unreadable(shown, &error)),
        }
    }
}

fn too_many_links(shown: &str) -> TaskError {
    TaskError::Failed(format!(
        "{shown} is a link to a folder, one of too many: links are followed, so the output has more \
         than {MOST_REPEATED} repeated files and folders; remove links from `{OUT}/`"
    ))
}

/// The name of a file type other than folders and regular files.
fn special(kind: FileType) -> &'static str {
    match () {
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "not a regular file",
    }
}

/// A path in the output for a message, shortened because it may have thousands of characters.
fn shown(name: &str, path: &str) -> String {
    let whole = match path {
        "" => format!("{OUT}/{name}"),
        path => format!("{OUT}/{name}/{path}"),
    };
    let letters: Vec<char> = whole.chars().collect();
    if letters.len() <= 2 * SHOWN {
        return format!("`{whole}`");
    }
    let part = |letters: &[char]| letters.iter().collect::<String>();
    let end = &letters[letters.len() - SHOWN..];
    format!("`{}…{}`", part(&letters[..SHOWN]), part(end))
}

fn unreadable(shown: &str, error: &io::Error) -> TaskError {
    let message = match error.raw_os_error() {
        Some(code) if code == Errno::NAMETOOLONG.raw_os_error() => {
            format!("{shown} can't be kept: its path is longer than 4,095 bytes")
        }
        _ => format!("{shown} can't be read: {error}"),
    };
    TaskError::Failed(message)
}
