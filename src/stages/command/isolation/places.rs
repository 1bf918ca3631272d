//! What an isolated line reads of the machine: the system's folders, and the programs and Python
//! environments of `PATH`. Home folders are never among them.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders of the system: programs, libraries and their settings.
const SYSTEM: [&str; 12] = [
    "/bin",
    "/etc",
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix/store",
    "/opt",
    "/proc",
    "/sbin",
    "/usr",
];
/// What libraries ask the kernel for: cores, caches and limits.
const KERNEL: [&str; 3] = [
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
];
const DEVICES: [&str; 5] = [
    "/dev/full",
    "/dev/null",
    "/dev/random",
    "/dev/urandom",
    "/dev/zero",
];
/// Devices of graphics processors: names in `/dev`, or their beginnings.
const PROCESSORS: [&str; 3] = ["dri", "kfd", "nvidia"];
/// Where names of hosts are resolved. Often a link to a file of a service.
const RESOLVER: &str = "/etc/resolv.conf";
/// Programs that may be links to an environment elsewhere.
const INTERPRETERS: [&str; 2] = ["python3", "python"];

/// What may be done with a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read files, list folders, run programs.
    Read,
    /// Read and write a device.
    Device,
    /// Everything.
    Write,
}

/// A file, or a folder and everything below it.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: PathBuf,
    pub access: Access,
}

impl Place {
    pub fn new(path: impl AsRef<Path>, access: Access) -> Self {
        let path = path.as_ref().to_path_buf();
        Self { path, access }
    }
}

/// The places of the machine that a line run by `program` may read.
pub fn of_system(program: &Path, network: bool) -> Vec<Place> {
    let read = |path: PathBuf| Place::new(path, Access::Read);
    let mut found: Vec<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    found.extend(KERNEL.iter().map(PathBuf::from));
    found.push(program.to_path_buf());
    found.extend(folders("LD_LIBRARY_PATH"));
    for folder in folders("PATH") {
        found.extend(environments(&folder));
        found.push(folder);
    }
    if network {
        found.extend(fs::canonicalize(RESOLVER));
    }
    let homes: Vec<PathBuf> = home().into_iter().collect();
    let mut places: Vec<Place> = smallest(found, &homes).into_iter().map(read).collect();
    let devices = DEVICES.iter().map(PathBuf::from).chain(processors());
    let devices = devices.filter(|path| path.exists());
    places.extend(devices.map(|path| Place::new(path, Access::Device)));
    places
}

/// The environments that the programs of a folder belong to, as places to read.
pub fn of_environment(folder: &Path) -> Vec<Place> {
    let homes: Vec<PathBuf> = home().into_iter().collect();
    let found = smallest(environments(folder), &homes).into_iter();
    found.map(|path| Place::new(path, Access::Read)).collect()
}

/// The Python environments that the programs of `folder` belong to.
pub fn environments(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let above = folder.parent();
    found.extend(
        above
            .filter(|root| is_environment(root))
            .map(Path::to_path_buf),
    );
    for name in INTERPRETERS {
        // A link of a virtual environment leads to the installation that it was made from.
        let Ok(program) = folder.join(name).canonicalize() else {
            continue;
        };
        let root = program.parent().and_then(Path::parent);
        found.extend(root.filter(|root| has_library(root)).map(Path::to_path_buf));
    }
    found
}

/// Whether a folder is an environment as a whole: of venv or uv, of conda, or the root of pyenv.
fn is_environment(root: &Path) -> bool {
    let marks = ["pyvenv.cfg", "conda-meta", "libexec/pyenv"];
    marks.iter().any(|mark| root.join(mark).exists())
}

/// Whether a folder is an installation of Python: `lib/python3.*` has the standard library, not
/// only packages as below `~/.local`.
fn has_library(root: &Path) -> bool {
    let entries = fs::read_dir(root.join("lib")).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.path());
    let is_python = |path: &Path| {
        let name = path.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("python"))
    };
    names
        .filter(|path| is_python(path))
        .any(|path| path.join("os.py").is_file())
}

/// Those that exist, each once, without those below another one, and without the whole system or
/// a folder that contains one of `homes`.
fn smallest(mut found: Vec<PathBuf>, homes: &[PathBuf]) -> Vec<PathBuf> {
    found.retain(|path| {
        let real = path.canonicalize();
        real.is_ok_and(|real| !homes.iter().any(|home| home.starts_with(&real)))
    });
    found.sort();
    found.dedup();
    let all = found.clone();
    let below = |path: &PathBuf| {
        all.iter()
            .any(|other| path != other && path.starts_with(other))
    };
    found.retain(|path| !below(path));
    found
}

/// The absolute folders of a search path.
fn folders(variable: &str) -> Vec<PathBuf> {
    let value = env::var_os(variable).unwrap_or_default();
    let folders = env::split_paths(&value);
    folders.filter(|folder| folder.is_absolute()).collect()
}

/// The home folder of the user, and `/` where there is none: no place contains it.
fn home() -> Option<PathBuf> {
    let home = env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.map_or_else(|| PathBuf::from("/"), PathBuf::from);
    home.canonicalize().ok()
}

fn processors() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        PROCESSORS.iter().any(|start| name.starts_with(start))
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(wanted).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(root: &Path, name: &str) -> PathBuf {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn no_place_contains_a_home_folder() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let home = folder(&root, "home/ann");
        let programs = folder(&home, "bin");
        let deeper = folder(&programs, "more");
        let found = vec![root, home.clone(), programs.clone(), deeper, "/".into()];
        assert_eq!(smallest(found, &[home]), [programs]);
    }

    /// `~/.local/bin` has programs, and `~/.local` keyrings beside packages.
    #[test]
    fn environments_are_recognised_and_folders_of_packages_are_not() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let python = folder(&root, "python/bin").join("python3");
        fs::write(&python, "").unwrap();
        fs::write(folder(&root, "python/lib/python3.12").join("os.py"), "").unwrap();
        let local = folder(&root, ".local/bin");
        folder(&root, ".local/lib/python3.12/site-packages");
        std::os::unix::fs::symlink(&python, local.join("python3")).unwrap();
        assert_eq!(environments(&local), [root.join("python")]);

        let venv = folder(&root, "venv/bin");
        fs::write(root.join("venv/pyvenv.cfg"), "").unwrap();
        std::os::unix::fs::symlink(&python, venv.join("python")).unwrap();
        let both = [root.join("venv"), root.join("python")];
        assert_eq!(environments(&venv), both);
    }
}
