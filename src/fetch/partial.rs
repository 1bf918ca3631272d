//! Downloads that outlive the process: an incomplete download has its own folder, named by its URL.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::digest::Digest;
use crate::fsx::{self, HeldLock, Locks};

/// Downloads without progress for this long are removed.
const FORGOTTEN: Duration = Duration::from_secs(30 * 24 * 3600);

/// The folder of one download, locked by this process.
#[derive(Debug)]
pub struct Partial {
    folder: PathBuf,
    lock: HeldLock,
}

impl Partial {
    /// The folder of `url` under `downloads`; `None` while another process or thread holds it.
    ///
    /// Also removes forgotten downloads.
    pub fn open(downloads: &Path, locks: &Locks, url: &str) -> io::Result<Option<Self>> {
        fsx::make_folders(downloads)?;
        sweep(downloads, locks)?;
        let folder = downloads.join(Digest::of(url.as_bytes()).to_hex());
        let Some(lock) = locks.try_acquire(&lock_of(&folder))? else {
            return Ok(None);
        };
        fsx::unlink_if_link(&folder)?;
        fsx::make_folders(&folder)?;
        let partial = Self { folder, lock };
        fsx::unlink_if_link(&partial.file())?;
        Ok(Some(partial))
    }

    /// The file for the content.
    pub fn file(&self) -> PathBuf {
        self.folder.join("content")
    }

    /// Moves the complete content to `target` and removes the folder.
    pub fn finish(self, target: &Path) -> io::Result<()> {
        let file = self.file();
        // Moving to another file system requires a copy.
        fs::rename(&file, target).or_else(|_| fs::copy(&file, target).map(drop))?;
        self.give_up()
    }

    /// Removes the download.
    pub fn give_up(self) -> io::Result<()> {
        fsx::remove_tree(&self.folder)?;
        drop(self.lock);
        Ok(())
    }
}

/// The lock is beside the folder, so that the folder can be removed while it is held.
fn lock_of(folder: &Path) -> PathBuf {
    folder.with_extension("lock")
}

fn sweep(downloads: &Path, locks: &Locks) -> io::Result<()> {
    for entry in fs::read_dir(downloads)? {
        let folder = entry?.path();
        if !fsx::is_folder(&folder) || !is_forgotten(&folder) {
            continue;
        }
        if let Ok(Some(_held)) = locks.try_acquire(&lock_of(&folder)) {
            // Another process may be sweeping it, too.
            let _ = fsx::remove_tree(&folder);
        }
    }
    Ok(())
}

fn is_forgotten(folder: &Path) -> bool {
    let modified = fs::symlink_metadata(folder.join("content"))
        .or_else(|_| fs::symlink_metadata(folder))
        .and_then(|metadata| metadata.modified());
    let age = modified.map(|modified| SystemTime::now().duration_since(modified));
    matches!(age, Ok(Ok(age)) if age > FORGOTTEN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locks() -> Locks {
        Locks::of_one_host(Path::new(""))
    }

    #[test]
    fn a_place_is_held_by_one_and_keeps_its_content() {
        let space = tempfile::tempdir().unwrap();
        let open = || Partial::open(space.path(), &locks(), "https://h/x").unwrap();
        let first = open().unwrap();
        assert!(open().is_none());
        assert!(
            Partial::open(space.path(), &locks(), "https://h/y")
                .unwrap()
                .is_some()
        );
        fs::write(first.file(), "half").unwrap();
        drop(first);
        let again = open().unwrap();
        assert_eq!(fs::read(again.file()).unwrap(), b"half");
        let target = space.path().join("whole");
        again.finish(&target).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"half");
        assert!(!open().unwrap().file().exists());
    }

    #[test]
    fn forgotten_downloads_go() {
        let space = tempfile::tempdir().unwrap();
        let old = Partial::open(space.path(), &locks(), "https://h/x")
            .unwrap()
            .unwrap();
        let file = fs::File::create(old.file()).unwrap();
        file.set_modified(SystemTime::now() - 2 * FORGOTTEN)
            .unwrap();
        let place = old.file();
        let other = || Partial::open(space.path(), &locks(), "https://h/y").unwrap();
        drop(other());
        assert!(place.exists(), "it is held");
        drop(old);
        drop(other());
        assert!(!place.exists());
    }
}
