//! Where things lie inside a store, and the file that says which format it has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::description::{self, Description};
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx;

/// The format that this build writes, and the newest that it reads.
pub const STORE_FORMAT: u64 = 1;

pub(super) const OBJECTS: &str = "objects";
pub(super) const RECORDS: &str = "records";
pub(super) const CLAIMS: &str = "claims";
pub(super) const RUNS: &str = "runs";
pub(super) const TMP: &str = "tmp";
/// Files that are only partly fetched. Made when there is one; deletable at any time.
pub(super) const DOWNLOADS: &str = "downloads";
/// What can be made again: decoded pixels, features, logits. Deletable at any time.
pub(super) const DERIVED: &str = "derived";
/// Blobs and records that were found damaged, kept for whoever wants to know why.
pub(super) const DAMAGED: &str = "damaged";
/// What no cleaning takes away, by name.
pub(super) const PINS: &str = "pins";
/// Recomputed samples that agreed.
pub(super) const SAMPLES: &str = "samples";
/// Markers for blobs that stay here.
pub(super) const WITHHELD: &str = "withheld";
/// The stat cache, of files and of whole trees. Derived: deletable at any time.
pub(super) const STAT_INDEX: &str = "index.stat";
pub(super) const TREE_INDEX: &str = "index.trees";
/// Copies of chosen records. Derived likewise.
pub(super) const RECORD_INDEX: &str = "index.records";
/// What runs that found everything done rested on. Derived likewise.
pub(super) const RECEIPTS: &str = "index.runs";
pub(super) const DESCRIPTION: &str = "store.json";

const FOLDERS: [&str; 5] = [OBJECTS, RECORDS, CLAIMS, RUNS, TMP];

/// Everything that lies in a store's own folder.
const NAMES: [&str; 16] = [
    OBJECTS,
    RECORDS,
    CLAIMS,
    RUNS,
    TMP,
    DOWNLOADS,
    DERIVED,
    DAMAGED,
    PINS,
    SAMPLES,
    WITHHELD,
    STAT_INDEX,
    TREE_INDEX,
    RECORD_INDEX,
    RECEIPTS,
    DESCRIPTION,
];

impl Store {
    pub(super) fn object_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.root.join(OBJECTS).join(&hex[..2]).join(&hex[2..])
    }

    pub(super) fn record_folder(&self, key: &Digest) -> PathBuf {
        let hex = key.to_hex();
        self.root.join(RECORDS).join(&hex[..2]).join(hex)
    }
}

/// Makes sure that `root` holds a store which this build may use; a new one gets the identity `id`.
pub(super) fn prepare(root: &Path, id: Option<Digest>) -> Result<Description, StoreError> {
    if root.is_file() {
        return Err(StoreError::NotAStore {
            root: root.to_path_buf(),
            why: "it is a file; a store is a folder".to_string(),
        });
    }
    refuse_links(root)?;
    let description = match Description::read(root)? {
        Some(description) => description,
        None => make(root, id)?,
    };
    for folder in FOLDERS.map(|name| root.join(name)) {
        // Where it can't be made, whoever wants to write into it says so: what is there can be
        // read all the same.
        let _ = fsx::make_folders(&folder);
    }
    Ok(description)
}

fn make(root: &Path, id: Option<Digest>) -> Result<Description, StoreError> {
    refuse_other_content(root)?;
    let id = id.map_or_else(description::new_id, Ok)?;
    description::create(root, id)?;
    Description::read(root)?.ok_or_else(|| StoreError::NotAStore {
        root: root.to_path_buf(),
        why: format!("its {DESCRIPTION} was removed when it had just been made"),
    })
}

/// A store lies in one piece. A link in place of one of its folders would have files written, or
/// removed, that belong to somebody else.
fn refuse_links(root: &Path) -> Result<(), StoreError> {
    let links = NAMES.iter().find(|name| fsx::is_link(&root.join(name)));
    match links {
        None => Ok(()),
        Some(name) => Err(StoreError::NotAStore {
            root: root.to_path_buf(),
            why: format!("its `{name}` is a link, and links in a store are not followed"),
        }),
    }
}

/// A store is only made in a folder that is missing or empty but for what a repository keeps
/// there: a mistyped `--store` must not mix a store into someone's files.
fn refuse_other_content(root: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(root)(error)),
    };
    for entry in entries {
        let name = entry.map_err(StoreError::io(root))?.file_name();
        let name = name.to_string_lossy();
        // `tmp` is the first thing that appears while another process makes the same store, and
        // `store.json` the second.
        let expected = name.starts_with('.') || ["README.md", "lost+found", TMP].contains(&&*name);
        if !expected && !root.join(DESCRIPTION).exists() {
            return Err(StoreError::NotAStore {
                root: root.to_path_buf(),
                why: format!("it holds `{name}` and no {DESCRIPTION}"),
            });
        }
    }
    Ok(())
}
