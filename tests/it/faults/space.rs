//! A folder in memory that can be put back to an earlier state at once.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use ribflow::digest::Digest;

/// A folder on a file system in memory, where there is one.
pub fn folder() -> tempfile::TempDir {
    let builder = |folder: &Path| {
        let mut builder = tempfile::Builder::new();
        builder.prefix("ribflow-faults-").tempdir_in(folder)
    };
    let memory = Path::new(MEMORY);
    let made = is_in_memory(memory).then(|| builder(memory).ok()).flatten();
    made.unwrap_or_else(|| builder(&std::env::temp_dir()).unwrap())
}

const MEMORY: &str = "/dev/shm";
/// On a disk a case takes ten times as long as in memory.
const STRIDE_ON_DISK: usize = 10;

/// Whether `folder` is on Linux's file system in memory.
fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: rustix::fs::FsWord = 0x0102_1994;
    rustix::fs::statfs(folder).is_ok_and(|system| system.f_type == TMPFS)
}

/// A walk in `folder` tries one case of this many.
pub fn stride(folder: &Path) -> usize {
    match is_in_memory(folder) {
        true => 1,
        false => {
            println!("faults: no file system in memory: one case of {STRIDE_ON_DISK}");
            STRIDE_ON_DISK
        }
    }
}

/// Everything below a folder.
pub struct State {
    folders: Vec<(PathBuf, u32)>,
    files: Vec<(PathBuf, u32, SystemTime, Vec<u8>)>,
}

impl State {
    pub fn of(root: &Path) -> Self {
        let mut state = Self {
            folders: Vec::new(),
            files: Vec::new(),
        };
        state.read(root, Path::new(""));
        state
    }

    fn read(&mut self, root: &Path, folder: &Path) {
        for entry in fs::read_dir(root.join(folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                self.folders.push((path.clone(), metadata.mode()));
                self.read(root, &path);
            } else {
                let bytes = fs::read(root.join(&path)).unwrap();
                let time = metadata.modified().unwrap();
                self.files.push((path, metadata.mode(), time, bytes));
            }
        }
    }

    /// Makes `root` hold this and nothing else.
    pub fn restore(&self, root: &Path) {
        for entry in fs::read_dir(root).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => fs::remove_dir_all(path).unwrap(),
                false => fs::remove_file(path).unwrap(),
            }
        }
        for (path, mode) in &self.folders {
            fs::create_dir(root.join(path)).unwrap();
            fs::set_permissions(root.join(path), Permissions::from_mode(*mode)).unwrap();
        }
        for (path, mode, time, bytes) in &self.files {
            let mut file = File::create_new(root.join(path)).unwrap();
            file.write_all(bytes).unwrap();
            file.set_modified(*time).unwrap();
            file.set_permissions(Permissions::from_mode(*mode)).unwrap();
        }
    }
}

/// The digests of the files below `root` whose path, relative to it, `counts`.
pub fn files(root: &Path, counts: fn(&str) -> bool) -> BTreeMap<String, Digest> {
    if !root.exists() {
        return BTreeMap::new();
    }
    let state = State::of(root);
    let files = state.files.into_iter().map(|(path, _, _, bytes)| {
        let path = path.to_str().expect("names of the store").to_string();
        (path, Digest::of(&bytes))
    });
    files.filter(|(path, _)| counts(path)).collect()
}

/// Makes everything right in `folder`, or anywhere in it, look old, as if its process had died a
/// while ago.
pub fn age(folder: &Path, anywhere: bool) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if anywhere && path.is_dir() {
            age(&path, true);
        }
        let file = File::open(path).unwrap();
        let time = SystemTime::now() - Duration::from_secs(600);
        file.set_modified(time).unwrap();
    }
}
