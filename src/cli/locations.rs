//! Where things lie: the default store and the default folder of reports.

use std::path::{Path, PathBuf};

use super::common::Common;
use crate::fsx;

/// The folders of one command, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    pub store: StoreLocation,
    pub out: PathBuf,
}

/// Where a store lies, or will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    pub root: PathBuf,
    /// The user has named it, by `--store` or RIBFLOW_STORE; else it was found.
    pub named: bool,
}

impl StoreLocation {
    pub fn named(root: &Path) -> Self {
        Self {
            root: absolute(root.to_path_buf()),
            named: true,
        }
    }

    /// Whether something is there that no store can be made of: opening it says what.
    pub fn is_other(&self) -> bool {
        self.root.is_file() || fsx::leads_nowhere(&self.root)
    }

    /// Whether a store is there.
    pub fn exists(&self) -> bool {
        // A link is refused when the store is opened.
        self.root.join("store.json").symlink_metadata().is_ok()
    }
}

impl Locations {
    pub fn of(workflow: &Path, common: &Common) -> Self {
        let home = home(workflow);
        let store = match &common.store {
            Some(root) => StoreLocation::named(root),
            None => StoreLocation {
                root: absolute(home.join("cache")),
                named: false,
            },
        };
        let out = common.out.clone().unwrap_or_else(|| home.join("out"));
        Self {
            store,
            out: absolute(out),
        }
    }
}

fn absolute(path: PathBuf) -> PathBuf {
    // Fails only for an empty path or without a current folder; then it stays as it is.
    std::path::absolute(&path).unwrap_or(path)
}

/// `path` as a person at the prompt would write it: relative to the current folder, where it lies
/// below it.
pub fn shown(path: &Path) -> String {
    let folder = std::env::current_dir().and_then(|folder| folder.canonicalize());
    let below = folder
        .ok()
        .and_then(|folder| path.strip_prefix(folder).ok());
    below.unwrap_or(path).display().to_string()
}

/// The folder whose `cache/` is the default store: the nearest one, from the workflow's own
/// upwards, that holds `cache/store.json` or `cache/README.md`; else the workflow's own.
fn home(workflow: &Path) -> PathBuf {
    let folder = match workflow.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Without links and `..`, so that the folders above are the real ones. A folder that isn't
    // there is reported when the workflow is read.
    let folder = folder
        .canonicalize()
        .unwrap_or_else(|_| folder.to_path_buf());
    let is_home = |folder: &&Path| {
        ["cache/store.json", "cache/README.md"]
            .iter()
            .any(|mark| folder.join(mark).is_file())
    };
    folder
        .ancestors()
        .find(is_home)
        .unwrap_or(&folder)
        .to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_store_is_the_nearest_one_above_or_beside_the_workflow() {
        let space = tempfile::tempdir().unwrap();
        let root = space.path().canonicalize().unwrap();
        let workflows = root.join("project/workflows");
        fs::create_dir_all(&workflows).unwrap();
        let workflow = workflows.join("grid.yaml");
        assert_eq!(home(&workflow), workflows);

        fs::create_dir_all(root.join("cache")).unwrap();
        fs::write(root.join("cache/README.md"), "").unwrap();
        assert_eq!(home(&workflow), root);

        fs::create_dir_all(root.join("project/cache")).unwrap();
        assert_eq!(home(&workflow), root, "an empty cache/ marks nothing");
        fs::write(root.join("project/cache/store.json"), "{}").unwrap();
        assert_eq!(home(&workflow), root.join("project"));
        assert_eq!(
            home(&workflows.join("../workflows/grid.yaml")),
            root.join("project")
        );
    }
}
