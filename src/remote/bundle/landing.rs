//! The target folder of an import. The folder is marked before it gets any other content. Files are
//! written completely below a hidden folder and renamed into place, the workflow last. An
//! interrupted import leaves a folder that is marked as unfinished; the same bundle can be imported
//! there again.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::fsx;
use crate::fsx::calls::{self, File};
use crate::remote::mark::{self, MARK};

/// The files of a workflow: plain relative paths and their bytes.
pub type Files = BTreeMap<String, Vec<u8>>;

const STAGING: &str = ".ribflow-import.new";
const LOCK: &str = ".ribflow-import.lock";
/// An import may have created its store here.
const STORE: &str = "cache";

#[derive(Debug, thiserror::Error)]
pub enum LandingError {
    #[error("{} is not empty", .0.display())]
    Occupied(PathBuf),
    #[error("an import into {} was interrupted, and {held:?} there is not from this bundle", folder.display())]
    Another { folder: PathBuf, held: String },
    #[error("another import into {} is running", .0.display())]
    Busy(PathBuf),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

impl LandingError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

/// A folder into which an import is writing.
#[derive(Debug)]
pub struct Landing {
    folder: PathBuf,
    /// Whether this import created the folder.
    made: bool,
    /// Whether an earlier import was interrupted here.
    resumed: bool,
    lock: Option<fsx::Lock>,
}

impl Landing {
    /// Checks that an import of `files` can begin in `folder`: it is new, empty, or has only the
    /// files of an interrupted import of the same files.
    pub fn check(folder: &Path, files: &Files) -> Result<(), LandingError> {
        let metadata = match calls::symlink_metadata(folder) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(LandingError::io(folder)(error)),
        };
        if metadata.is_file() {
            return Err(LandingError::Occupied(folder.to_path_buf()));
        }
        let entries = calls::read_dir(folder).map_err(LandingError::io(folder))?;
        let names: Result<Vec<_>, io::Error> = entries
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect();
        let mut names = names.map_err(LandingError::io(folder))?;
        // Another import creates its lock first; `begin` finds out whether it is still running.
        names.retain(|name| name != LOCK);
        match mark::of(folder) {
            _ if names.is_empty() => Ok(()),
            Some(marked) if !marked.finished => check_rest(folder, folder, files),
            _ => Err(LandingError::Occupied(folder.to_path_buf())),
        }
    }

    /// Marks `folder`; creates it if it does not exist.
    pub fn begin(folder: &Path, files: &Files) -> Result<Self, LandingError> {
        let made = !folder.exists();
        calls::create_dir_all(folder).map_err(LandingError::io(folder))?;
        let lock = folder.join(LOCK);
        let lock = fsx::Lock::try_acquire(&lock).map_err(LandingError::io(&lock))?;
        let Some(lock) = lock else {
            return Err(LandingError::Busy(folder.to_path_buf()));
        };
        // Check again, now that no other import can begin here.
        Self::check(folder, files)?;
        let landing = Self {
            folder: folder.to_path_buf(),
            made,
            resumed: mark::of(folder).is_some(),
            lock: Some(lock),
        };
        match mark::begin(folder) {
            Ok(()) => Ok(landing),
            Err(source) => {
                landing.abandon();
                Err(LandingError::io(folder)(source))
            }
        }
    }

    /// `text` with the final paths of staged files, which are the ones the user knows.
    pub fn reworded(text: &str) -> String {
        text.replace(&format!("/{STAGING}"), "")
    }

    /// Writes the files into the hidden folder, and returns that folder.
    pub fn stage(&self, files: &Files) -> Result<PathBuf, LandingError> {
        let staging = self.folder.join(STAGING);
        fsx::remove_tree(&staging).map_err(LandingError::io(&staging))?;
        for (relative, content) in files {
            // An error names the path that the user asked for.
            write(&staging.join(relative), content)
                .map_err(LandingError::io(&self.folder.join(relative)))?;
        }
        Ok(staging)
    }

    /// Moves the staged files into place, `workflow` after all others.
    pub fn place(&self, files: &Files, workflow: &str) -> Result<(), LandingError> {
        let others = files.keys().map(String::as_str);
        let others = others.filter(|relative| *relative != workflow);
        for relative in others.chain([workflow]) {
            let path = self.folder.join(relative);
            let staged = self.folder.join(STAGING).join(relative);
            fsx::rename(&staged, &path).map_err(LandingError::io(&path))?;
        }
        Ok(())
    }

    /// Completes the import: makes everything durable, then updates the mark.
    pub fn finish(self) -> Result<(), LandingError> {
        let folder = self.folder.as_path();
        let failed = || LandingError::io(folder);
        fsx::sync_filesystem(folder, &[]).map_err(failed())?;
        let staging = folder.join(STAGING);
        calls::create_dir_all(&staging).map_err(failed())?;
        mark::finish(folder, &staging).map_err(failed())?;
        // The import is complete: a leftover empty folder is not worth an error.
        let _ = fsx::remove_tree(&staging);
        Ok(())
    }

    /// Undoes this import, if nothing has been placed yet. The content and the mark of an earlier
    /// one stay.
    pub fn abandon(mut self) {
        // Leftovers that can't be removed are harmless, and the mark stays beside them.
        let staged = fsx::remove_tree(&self.folder.join(STAGING));
        if !self.resumed && staged.is_ok() {
            let _ = calls::remove_file(self.folder.join(MARK));
        }
        drop(self.lock.take());
        if self.made {
            // Fails unless it is empty.
            let _ = calls::remove_dir(&self.folder);
        }
    }
}

/// Checks that everything below `folder` was left by an interrupted import: files of the bundle,
/// and its own.
fn check_rest(root: &Path, folder: &Path, files: &Files) -> Result<(), LandingError> {
    for entry in calls::read_dir(folder).map_err(LandingError::io(folder))? {
        let entry = entry.map_err(LandingError::io(folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(LandingError::io(&path))?;
        let relative = path.strip_prefix(root).unwrap_or(&path);
        let relative = relative.to_string_lossy().into_owned();
        let is_own = match relative.as_str() {
            MARK | LOCK => kind.is_file(),
            STAGING => kind.is_dir(),
            // No bundle contains anything of that name.
            _ => kind.is_dir() && path.file_name().is_some_and(|name| name == STORE),
        };
        let below = format!("{relative}/");
        match kind {
            _ if is_own => {}
            kind if kind.is_file() && files.contains_key(&relative) => {}
            kind if kind.is_dir() && files.keys().any(|file| file.starts_with(&below)) => {
                check_rest(root, &path, files)?;
            }
            _ => {
                return Err(LandingError::Another {
                    folder: root.to_path_buf(),
                    held: relative,
                });
            }
        }
    }
    Ok(())
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        calls::create_dir_all(folder)?;
    }
    let mut file = File::create_new(path)?;
    file.write_all(content)
}

#[cfg(test)]
mod tests {
    use std::mem;

    use std::fs;

    use super::*;

    fn files() -> Files {
        let files = [
            ("grid.yaml", "a"),
            ("grid.yaml.lock", "b"),
            ("tools/x.sh", "c"),
        ];
        let files = files.map(|(path, text)| (path.to_string(), text.as_bytes().to_vec()));
        BTreeMap::from(files)
    }

    /// Performs `steps` steps, then stops like a killed process.
    fn import(folder: &Path, steps: usize) -> Result<(), LandingError> {
        let files = files();
        Landing::check(folder, &files)?;
        let landing = Landing::begin(folder, &files)?;
        if steps > 1 {
            landing.stage(&files)?;
        }
        let placed = steps.saturating_sub(2).min(files.len());
        let some: Files = files.clone().into_iter().rev().take(placed).collect();
        if let Some((last, _)) = some.first_key_value() {
            landing.place(&some, last)?;
        }
        if steps > files.len() + 2 {
            return landing.finish();
        }
        // The lock of a dead process is free, and its file stays.
        let lock = folder.join(LOCK);
        let kept = fs::read(&lock).unwrap();
        let mut landing = landing;
        drop(landing.lock.take());
        fs::write(&lock, kept).unwrap();
        mem::forget(landing);
        Ok(())
    }

    #[test]
    fn an_import_that_stops_anywhere_is_marked_and_can_be_repeated() {
        let steps = files().len() + 3;
        for stop in 1..steps {
            let space = tempfile::tempdir().unwrap();
            let folder = space.path().join("a/got");
            import(&folder, stop).unwrap();
            let marked = mark::of(&folder).unwrap();
            assert!(!marked.finished, "{stop}");
            // Interrupt it again.
            import(&folder, stop).unwrap();
            fs::create_dir(folder.join("cache")).unwrap();
            import(&folder, steps).unwrap();
            assert!(mark::of(&folder).unwrap().finished, "{stop}");
            for (relative, content) in files() {
                assert_eq!(fs::read(folder.join(relative)).unwrap(), content, "{stop}");
            }
            let names = fs::read_dir(&folder).unwrap().count();
            assert_eq!(names, 5, "{stop}: files, tools, cache and the mark");
            let again = import(&folder, steps);
            assert!(matches!(again, Err(LandingError::Occupied(_))), "{stop}");
        }
    }

    #[test]
    fn no_file_of_another_project_is_overwritten() {
        let space = tempfile::tempdir().unwrap();
        let own = space.path().join("own");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("grid.yaml"), "mine").unwrap();
        assert!(matches!(import(&own, 9), Err(LandingError::Occupied(_))));
        assert!(mark::of(&own).is_none());

        // A folder that is marked as unfinished, with links in place of files.
        for planted in ["grid.yaml", "tools", "cache", "other"] {
            let folder = space.path().join(format!("planted-{planted}"));
            fs::create_dir(&folder).unwrap();
            mark::begin(&folder).unwrap();
            std::os::unix::fs::symlink(&own, folder.join(planted)).unwrap();
            let refused = import(&folder, 9);
            let is_named =
                matches!(&refused, Err(LandingError::Another { held, .. }) if held == planted);
            assert!(is_named, "{planted}: {refused:?}");
        }
        assert_eq!(fs::read(own.join("grid.yaml")).unwrap(), b"mine");
        assert_eq!(fs::read_dir(&own).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_import_is_undone() {
        let space = tempfile::tempdir().unwrap();
        let (made, empty) = (space.path().join("made"), space.path().join("empty"));
        fs::create_dir(&empty).unwrap();
        for folder in [&made, &empty] {
            let landing = Landing::begin(folder, &files()).unwrap();
            landing.stage(&files()).unwrap();
            let busy = Landing::begin(folder, &files());
            assert!(matches!(busy, Err(LandingError::Busy(_))));
            landing.abandon();
        }
        assert!(!made.exists());
        assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    }
}
