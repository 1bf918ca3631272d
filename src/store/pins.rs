//! Pins: named sets of keys whose records, and all they name, no cleaning takes away.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::inventory::entries;
use super::layout::PINS;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx;

/// The version of the file's format.
const FORMAT: u32 = 1;
/// Longest name of a pin.
const LONGEST: usize = 100;

/// What is kept, under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    format: u32,
    pub name: String,
    /// The workflow that the nodes are of.
    pub workflow: String,
    /// Seconds since 1970, UTC.
    pub at: u64,
    pub nodes: Vec<Pinned>,
}

/// A node that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    pub id: String,
    pub key: Digest,
}

impl Pin {
    pub fn new(name: &str, workflow: &str, at: u64, nodes: Vec<Pinned>) -> Self {
        Self {
            format: FORMAT,
            name: name.to_string(),
            workflow: workflow.to_string(),
            at,
            nodes,
        }
    }

    /// Whether a pin may be called so: the name is one of a file.
    pub fn is_name(name: &str) -> bool {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.=+".contains(letter);
        !name.is_empty()
            && name.len() <= LONGEST
            && !name.starts_with('.')
            && name.chars().all(plain)
    }
}

impl Store {
    /// Keeps what `pin` names from now on; replaces a pin of the same name.
    ///
    /// # Errors
    /// A key without a record here: it could not be kept.
    pub fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        if !Pin::is_name(&pin.name) {
            return Err(StoreError::PinName(pin.name.clone()));
        }
        let tmp = self.session_folder()?;
        // So that no cleaning is half done with what is pinned.
        let _publishing = self.publishing()?;
        for Pinned { id, key } in &pin.nodes {
            if self.record_names(key)?.is_empty() {
                return Err(StoreError::NothingToPin { id: id.clone() });
            }
        }
        let path = self.pin_path(&pin.name);
        // Names, numbers and digests always encode.
        let mut bytes = serde_json::to_vec_pretty(pin).unwrap_or_default();
        bytes.push(b'\n');
        fsx::replace(&path, &tmp, fsx::SHARED, &bytes).map_err(StoreError::io(&path))?;
        fsx::sync_filesystem(&self.root, std::slice::from_ref(&path)).map_err(StoreError::io(&path))
    }

    /// Takes a pin away; false where there is none of that name.
    pub fn unpin(&self, name: &str) -> Result<bool, StoreError> {
        if !Pin::is_name(name) {
            return Ok(false);
        }
        let path = self.pin_path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map_err(StoreError::io(&path)).map(|()| true),
        }
    }

    /// Every pin, in the order of their names.
    ///
    /// # Errors
    /// One that can't be read: what it keeps can't be told.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let mut pins = Vec::new();
        for (name, path) in entries(&self.root.join(PINS))? {
            if !name.ends_with(".json") {
                continue;
            }
            let bytes = fs::read(&path).map_err(StoreError::io(&path))?;
            let pin: Pin = serde_json::from_slice(&bytes).map_err(|error| {
                StoreError::io(&path)(io::Error::new(io::ErrorKind::InvalidData, error))
            })?;
            if pin.format > FORMAT {
                return Err(StoreError::NewerRecord {
                    path,
                    found: u64::from(pin.format),
                });
            }
            pins.push(pin);
        }
        Ok(pins)
    }

    fn pin_path(&self, name: &str) -> PathBuf {
        self.root.join(PINS).join(format!("{name}.json"))
    }
}
