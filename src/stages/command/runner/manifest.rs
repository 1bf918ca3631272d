//! The files of an environment as they were when it was built. An environment that has lost or changed
//! one of them is not used.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::fsx;

/// Folders of compiled code, which Python may write at any time.
const COMPILED: &str = "__pycache__";

/// The environments that this process has found whole.
static WHOLE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The files and links below `folder`, one a line.
pub(super) fn of(folder: &Path) -> io::Result<String> {
    let mut lines = Vec::new();
    add(folder, Path::new(""), &mut lines)?;
    lines.sort();
    Ok(lines.concat())
}

/// A file that the manifest in `path` lists and that is no longer the same below `folder`; looks once
/// in each process. Further files are none of the environment, and change nothing that it has.
pub(super) fn damage(path: &Path, folder: &Path) -> Option<String> {
    // The set is whole even if a thread panicked.
    let known = || WHOLE.lock().unwrap_or_else(|held| held.into_inner());
    if known().contains(folder) {
        return None;
    }
    let Ok(text) = fsx::read_regular_text(path) else {
        return path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
    };
    let found = text.lines().find(|line| {
        let name = line.split('\t').next_back().unwrap_or_default();
        state(folder, Path::new(name)).as_deref() != Some(line)
    });
    if found.is_none() {
        known().insert(folder.to_path_buf());
    }
    found.map(|line| line.split('\t').next_back().unwrap_or_default().to_string())
}

fn add(root: &Path, below: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true if entry.file_name() == COMPILED => {}
            true => add(root, &path, lines)?,
            false => lines.extend(state(root, &path).map(|line| line + "\n")),
        }
    }
    Ok(())
}

/// The line of the file or link at `path`: its size, its time of change and its path. `None` without a
/// file, and for a name that a line can't hold.
fn state(root: &Path, path: &Path) -> Option<String> {
    let name = path.to_str().filter(|name| !name.contains(['\n', '\t']))?;
    let metadata = fs::symlink_metadata(root.join(path)).ok()?;
    let (size, seconds, nanos) = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
    Some(format!("{size}\t{seconds}.{nanos:09}\t{name}"))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn lost_and_changed_files_are_found_and_new_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        // Each case has a folder of its own: a whole one is not looked at again.
        let case = |name: &str, change: &dyn Fn(&Path)| {
            let root = folder.path().join(name);
            fs::create_dir_all(root.join("lib/six/__pycache__")).unwrap();
            for file in ["lib/six/a.py", "lib/six/b.py", "lib/six/__pycache__/a.pyc"] {
                fs::write(root.join(file), "same").unwrap();
            }
            std::os::unix::fs::symlink("six", root.join("lib/other")).unwrap();
            let list = folder.path().join(format!("{name}.list"));
            fs::write(&list, of(&root).unwrap()).unwrap();
            change(&root);
            damage(&list, &root)
        };
        let nothing = case("nothing", &|_| {});
        assert_eq!(nothing, None);
        let more = case("more", &|root| {
            fs::write(root.join("lib/new.py"), "").unwrap()
        });
        assert_eq!(more, None);
        let compiled = "lib/six/__pycache__/a.pyc";
        let again = case("compiled", &|root| {
            fs::write(root.join(compiled), "x").unwrap()
        });
        assert_eq!(again, None);
        let lost = case("lost", &|root| {
            fs::remove_file(root.join("lib/six/b.py")).unwrap()
        });
        assert_eq!(lost.as_deref(), Some("lib/six/b.py"));
        let cut = case("cut", &|root| {
            fs::write(root.join("lib/six/a.py"), "").unwrap()
        });
        assert_eq!(cut.as_deref(), Some("lib/six/a.py"));
        let later = case("later", &|root| {
            let file = File::options().write(true).open(root.join("lib/six/a.py"));
            let time = SystemTime::now() + Duration::from_secs(5);
            file.unwrap().set_modified(time).unwrap();
        });
        assert_eq!(later.as_deref(), Some("lib/six/a.py"));
    }
}
