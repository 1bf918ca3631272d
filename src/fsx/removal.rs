//! Removes trees, including read-only and very deep ones.

use super::calls;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Removes a tree even if its folders are read-only, or nested so deeply that their paths exceed
/// the limit of the system.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let metadata = match calls::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.is_dir() {
        return calls::remove_file(path);
    }
    let mut removal = Removal {
        top: path,
        raised: Vec::new(),
        number: 0,
    };
    removal.empty(path)?;
    while let Some(folder) = removal.raised.pop() {
        removal.empty(&folder)?;
        calls::remove_dir(folder)?;
    }
    calls::remove_dir(path)
}

/// A folder whose path is longer than the root's by this much is moved to the top. Systems take
/// 4096 bytes, and a name has at most 255.
const LONG: usize = 2000;

struct Removal<'a> {
    top: &'a Path,
    /// Folders that were deep in the tree and have been moved to its top.
    raised: Vec<PathBuf>,
    number: usize,
}

impl Removal<'_> {
    /// Removes the entries of `folder`, which may be read-only.
    fn empty(&mut self, folder: &Path) -> io::Result<()> {
        match self.try_empty(folder) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let mode = calls::symlink_metadata(folder)?.mode();
                if mode & 0o700 == 0o700 {
                    return Err(error);
                }
                calls::set_permissions(folder, Permissions::from_mode(0o700))?;
                self.try_empty(folder)
            }
            emptied => emptied,
        }
    }

    fn try_empty(&mut self, folder: &Path) -> io::Result<()> {
        for entry in calls::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            match entry.file_type() {
                // It was moved to the top meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(kind) if !kind.is_dir() => calls::remove_file(path)?,
                _ if folder != self.top && self.is_long(&path) => self.raise(&path)?,
                _ if self.raised.contains(&path) => {}
                _ => {
                    self.empty(&path)?;
                    calls::remove_dir(path)?;
                }
            }
        }
        Ok(())
    }

    fn is_long(&self, path: &Path) -> bool {
        path.as_os_str().len() > self.top.as_os_str().len() + LONG
    }

    fn raise(&mut self, path: &Path) -> io::Result<()> {
        // A folder must be writable itself to be moved.
        calls::set_permissions(path, Permissions::from_mode(0o700))?;
        let place = loop {
            let place = self.top.join(format!(".raised-{}", self.number));
            self.number += 1;
            if calls::symlink_metadata(&place).is_err() {
                break place;
            }
        };
        calls::rename(path, &place)?;
        self.raised.push(place);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Creates a deep tree as a program that changes its working folder does, here by renaming.
    #[test]
    fn trees_with_paths_longer_than_the_system_takes_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (tree, part) = (folder.path().join("tree"), folder.path().join("part"));
        let mut chain = PathBuf::new();
        for _ in 0..12 {
            chain.push("x".repeat(200));
        }
        fs::create_dir_all(tree.join(&chain)).unwrap();
        for _ in 0..4 {
            fs::create_dir_all(part.join(&chain)).unwrap();
            fs::write(part.join(&chain).join("file"), b"x").unwrap();
            fs::rename(&tree, part.join(&chain).join("y")).unwrap();
            fs::rename(&part, &tree).unwrap();
        }
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn read_only_trees_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        fs::create_dir_all(tree.join("inner")).unwrap();
        fs::write(tree.join("inner/file"), b"x").unwrap();
        fs::set_permissions(tree.join("inner"), Permissions::from_mode(0o555)).unwrap();
        remove_tree(&tree).unwrap();
        assert!(!tree.exists());
    }
}
