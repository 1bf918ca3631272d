//! The mark of a folder with imported content. An import writes it before anything else, and it
//! stays: commands of workflows below it run only after the user has allowed them, whatever the
//! lists in the home folder contain.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::fsx;
use crate::fsx::calls::{self, File};

/// The file name of the mark. Bundles can't contain hidden files, so none adds or replaces it.
pub const MARK: &str = ".ribflow-import";

const TEXT: &str = "\
`ribflow import` wrote this folder: its content came from elsewhere. Commands of the workflows in it
and below it run only once `ribflow trust allow` allows them. docs/sharing.md says more.
";
const UNFINISHED: &str = "import: unfinished\n";
const FINISHED: &str = "import: finished\n";
/// The size limit of a mark.
const MOST_MARK: u64 = 4096;

/// A marked folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    pub folder: PathBuf,
    /// Whether the import that marked it was completed.
    pub finished: bool,
}

/// Marks `folder`, which must exist. The mark is permanent, and durable on return.
pub fn begin(folder: &Path) -> io::Result<()> {
    let path = folder.join(MARK);
    match File::create_new(&path) {
        Ok(mut file) => file.write_all(format!("{TEXT}{UNFINISHED}").as_bytes())?,
        // A mark is valid regardless of its content.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    flush(&path)
}

/// Marks the import into `folder` as completed. `scratch` is a folder on the same file system.
pub fn finish(folder: &Path, scratch: &Path) -> io::Result<()> {
    let path = folder.join(MARK);
    let text = format!("{TEXT}{FINISHED}");
    let file = fsx::stage(scratch, fsx::SHARED, text.as_bytes())?;
    file.file().sync_all()?;
    fsx::place(file, &path)?;
    flush(&path)
}

/// Makes a file and its name durable.
pub fn flush(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// The nearest marked folder above `file`, with and without resolving links. A folder that can't be
/// inspected counts as marked.
pub fn above(file: &Path) -> Option<Marked> {
    let written = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    let real = written.canonicalize().ok();
    let folder = |path: &Path| {
        let mut folders = path.ancestors().skip(1);
        folders.find_map(of)
    };
    real.as_deref()
        .and_then(folder)
        .or_else(|| folder(&written))
}

/// The mark of `folder` itself.
pub fn of(folder: &Path) -> Option<Marked> {
    let path = folder.join(MARK);
    let found = match calls::symlink_metadata(&path) {
        Ok(metadata) => metadata.is_file(),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return None,
            _ => false,
        },
    };
    Some(Marked {
        folder: folder.to_path_buf(),
        finished: found && is_finished(&path),
    })
}

fn is_finished(path: &Path) -> bool {
    let mut text = String::new();
    let read =
        fsx::open_regular(path).and_then(|file| file.take(MOST_MARK).read_to_string(&mut text));
    read.is_ok() && text.ends_with(FINISHED)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_mark_holds_below_its_folder_whatever_is_in_it() {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().canonicalize().unwrap();
        let folder = root.join("got");
        fs::create_dir_all(folder.join("sub/sub")).unwrap();
        let file = folder.join("sub/sub/grid.yaml");
        fs::write(&file, "").unwrap();
        fs::create_dir(root.join("mine")).unwrap();
        let link = root.join("mine/grid.yaml");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!((above(&file), above(&link)), (None, None));

        begin(&folder).unwrap();
        let marked = |finished| {
            let folder = folder.clone();
            Some(Marked { folder, finished })
        };
        assert_eq!(above(&file), marked(false));
        assert_eq!(above(&link), marked(false));
        assert_eq!(above(&root.join("mine/own.yaml")), None);
        begin(&folder).unwrap();
        finish(&folder, &folder).unwrap();
        assert_eq!(above(&file), marked(true));
        begin(&folder).unwrap();
        assert_eq!(above(&file), marked(true), "a mark is permanent");

        for broken in ["", "import: fin", "import: finished"] {
            fs::write(folder.join(MARK), broken).unwrap();
            assert_eq!(above(&file), marked(false), "{broken:?}");
        }
        fs::remove_file(folder.join(MARK)).unwrap();
        fs::create_dir(folder.join(MARK)).unwrap();
        assert_eq!(above(&file), marked(false));
    }
}
