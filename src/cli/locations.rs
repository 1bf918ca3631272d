//! Locations of the default store and of the default folder for reports.

use std::path::{Path, PathBuf};

use super::common::Common;
use crate::fsx;

/// The folders of one command, absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locations {
    pub store: StoreLocation,
    pub out: PathBuf,
}

/// The location of a store that exists or will be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreLocation {
    pub root: PathBuf,
    /// Whether the user named it, by `--store` or RIBFLOW_STORE. Otherwise it was found.
    pub named: bool,
}

impl StoreLocation {
    pub fn named(root: &Path) -> Self {
        Self {
            root: absolute(root.to_path_buf()),
            named: true,
        }
    }

    /// Whether the path exists but can't be a store. Opening it reports the reason.
    pub fn is_other(&self) -> bool {
        self.root.is_file() || fsx::leads_nowhere(&self.root)
    }

    /// Whether the store exists.
    pub fn exists(&self) -> bool {
        // Opening the store refuses a link.
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
    // Fails only for an empty path or without a current folder; then the path stays unchanged.
    std::path::absolute(&path).unwrap_or(path)
}

/// `path` as a user would type it: relative to the current folder if it is below that.
pub fn shown(path: &Path) -> String {
    let folder = std::env::current_dir().and_then(|folder| folder.canonicalize());
    let below = folder
        .ok()
        .and_then(|folder| path.strip_prefix(folder).ok());
    below.unwrap_or(path).display().to_string()
}

/// The folder whose `cache/` is the default store: the nearest one, starting at the workflow's and
/// going up, that contains `cache/store.json` or `cache/README.md`; otherwise the workflow's.
fn home(workflow: &Path) -> PathBuf {
    let folder = match workflow.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    // Resolve links and `..`, so that parent folders are the real ones. Reading the workflow
    // reports a missing folder.
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
