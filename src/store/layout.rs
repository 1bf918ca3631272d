//! Where things lie inside a store, and the file that says which format it has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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

/// `store.json`. Later formats keep these three names, so that every version can say who reads it.
#[derive(Debug, Serialize, Deserialize)]
struct Description {
    format: u64,
    /// How processes keep each other off a node: `flock`, locks of one host.
    claims: String,
    /// The first version of ribflow that reads this format.
    needs_ribflow: String,
}

const CLAIMS_BY_FLOCK: &str = "flock";

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

/// Makes sure that `root` holds a store which this build may use.
pub(super) fn prepare(root: &Path) -> Result<(), StoreError> {
    if root.is_file() {
        return Err(StoreError::NotAStore {
            root: root.to_path_buf(),
            why: "it is a file; a store is a folder".to_string(),
        });
    }
    let description = root.join(DESCRIPTION);
    if !description.exists() {
        refuse_other_content(root)?;
        create(root, &description)?;
    }
    let bytes = fs::read(&description).map_err(StoreError::io(&description))?;
    check(root, &bytes)?;
    for folder in FOLDERS.map(|name| root.join(name)) {
        fsx::make_folders(&folder).map_err(StoreError::io(&folder))?;
    }
    Ok(())
}

fn check(root: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let not_a_store = |why: String| StoreError::NotAStore {
        root: root.to_path_buf(),
        why,
    };
    let value: serde_json::Value = serde_json::from_slice(bytes)
        .map_err(|error| not_a_store(format!("{DESCRIPTION} can't be read ({error})")))?;
    let format = value["format"]
        .as_u64()
        .ok_or_else(|| not_a_store(format!("{DESCRIPTION} names no format")))?;
    if format > STORE_FORMAT {
        let needs = value["needs_ribflow"].as_str();
        return Err(StoreError::NewerStore {
            root: root.to_path_buf(),
            found: format,
            needs: needs.unwrap_or("(unknown)").to_string(),
        });
    }
    match value["claims"].as_str() {
        Some(CLAIMS_BY_FLOCK) => Ok(()),
        mechanism => Err(StoreError::UnknownClaims {
            root: root.to_path_buf(),
            mechanism: mechanism.unwrap_or_default().to_string(),
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

/// Writes `store.json` before the folders, so that a half-made store is never mistaken for other
/// files. If another process was faster, its file stays: it may be of a newer version.
fn create(root: &Path, description: &Path) -> Result<(), StoreError> {
    let tmp = root.join(TMP);
    fsx::make_folders(&tmp).map_err(StoreError::io(&tmp))?;
    let content = Description {
        format: STORE_FORMAT,
        claims: CLAIMS_BY_FLOCK.to_string(),
        needs_ribflow: "0.1.0".to_string(),
    };
    // Two numbers and two texts always encode.
    let mut bytes = serde_json::to_vec_pretty(&content).unwrap_or_default();
    bytes.push(b'\n');
    let file = fsx::stage(&tmp, fsx::SHARED, &bytes).map_err(StoreError::io(&tmp))?;
    match file.persist_noclobber(description) {
        Err(failed) if failed.error.kind() != io::ErrorKind::AlreadyExists => {
            Err(StoreError::io(description)(failed.error))
        }
        _ => Ok(()),
    }
}
