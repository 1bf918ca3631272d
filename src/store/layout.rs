//! The paths inside a store, and the version of its format.

use std::path::PathBuf;

use super::Store;
use crate::digest::Digest;

/// The format that this build writes, and the newest one that it reads.
pub const STORE_FORMAT: u64 = 1;

pub(super) const OBJECTS: &str = "objects";
pub(super) const RECORDS: &str = "records";
pub(super) const CLAIMS: &str = "claims";
pub(super) const RUNS: &str = "runs";
pub(super) const TMP: &str = "tmp";
/// Incomplete downloads. Created on demand; deletable at any time.
pub(super) const DOWNLOADS: &str = "downloads";
/// Recomputable data: decoded pixels, features, logits. Deletable at any time.
pub(super) const DERIVED: &str = "derived";
/// Environments of commands, built from lock files. Deletable while no run is active.
pub(super) const ENVIRONMENTS: &str = "environments";
/// Damaged blobs and records, kept for diagnosis.
pub(super) const DAMAGED: &str = "damaged";
/// Named sets of keys that garbage collection keeps.
pub(super) const PINS: &str = "pins";
/// Recomputed samples that agreed.
pub(super) const SAMPLES: &str = "samples";
/// Markers of blobs that must not leave this store.
pub(super) const WITHHELD: &str = "withheld";
/// The stat cache of files and of whole trees. Derived: deletable at any time.
pub(super) const STAT_INDEX: &str = "index.stat";
pub(super) const TREE_INDEX: &str = "index.trees";
/// Copies of chosen records. Derived likewise.
pub(super) const RECORD_INDEX: &str = "index.records";
/// The inputs of runs that found everything done. Derived likewise.
pub(super) const RECEIPTS: &str = "index.runs";
pub(super) const DESCRIPTION: &str = "store.json";

/// The folders of a new store.
pub(super) const FOLDERS: [&str; 5] = [OBJECTS, RECORDS, CLAIMS, RUNS, TMP];

/// Everything in the root folder of a store.
pub(super) const NAMES: [&str; 17] = [
    OBJECTS,
    RECORDS,
    CLAIMS,
    RUNS,
    TMP,
    DOWNLOADS,
    DERIVED,
    ENVIRONMENTS,
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
        self.root.join(object_name(digest))
    }

    pub(super) fn record_folder(&self, key: &Digest) -> PathBuf {
        self.root.join(record_folder_name(key))
    }
}

/// The path of a blob below the root.
pub(super) fn object_name(digest: &Digest) -> String {
    let hex = digest.to_hex();
    format!("{OBJECTS}/{}/{}", &hex[..2], &hex[2..])
}

/// The path of the folder of a key's records below the root.
pub(super) fn record_folder_name(key: &Digest) -> String {
    let hex = key.to_hex();
    format!("{RECORDS}/{}/{hex}", &hex[..2])
}
