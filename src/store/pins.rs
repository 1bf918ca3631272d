//! Pins: named sets of keys whose records, and all they name, no cleaning takes away.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::inventory::entries;
use super::layout::PINS;
use super::{Store, StoreError};
use crate::digest::{Digest, check};
use crate::fsx;

/// The version of the file's format.
const FORMAT: u32 = 1;
/// Longest name of a pin.
const LONGEST: usize = 100;

/// What is kept, under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
#[serde(deny_unknown_fields)]
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
        let bytes = check::document(pin).unwrap_or_default();
        fsx::replace_durably(&path, &tmp, fsx::SHARED, &bytes).map_err(StoreError::io(&path))
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
            if let Some(name) = name.strip_suffix(".json") {
                pins.push(read(name, &path)?);
            }
        }
        Ok(pins)
    }

    /// The pin of this name; one that is damaged counts as none.
    pub fn pin_named(&self, name: &str) -> Result<Option<Pin>, StoreError> {
        let path = self.pin_path(name);
        match read(name, &path) {
            Ok(pin) => Ok(Some(pin)),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The pins that are not as they were written.
    pub(super) fn damaged_pins(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut damaged = Vec::new();
        for (name, path) in entries(&self.root.join(PINS))? {
            let name = name.strip_suffix(".json");
            match name.map(|name| read(name, &path)) {
                Some(Err(StoreError::Damaged { path, .. })) => damaged.push(path),
                Some(Err(error)) => return Err(error),
                _ => {}
            }
        }
        Ok(damaged)
    }

    fn pin_path(&self, name: &str) -> PathBuf {
        self.root.join(PINS).join(format!("{name}.json"))
    }
}

fn read(name: &str, path: &Path) -> Result<Pin, StoreError> {
    let bytes = fsx::read_plain(path).map_err(StoreError::io(path))?;
    // First, since a later format may have other checksums.
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match value["format"].as_u64() {
        Some(found) if found > u64::from(FORMAT) => {
            return Err(StoreError::NewerRecord {
                path: path.to_path_buf(),
                found,
            });
        }
        _ => {}
    }
    let pin = check::read_document(&bytes).ok();
    let pin = pin.and_then(|(pin, _)| serde_json::from_value(pin).ok());
    pin.ok_or_else(|| StoreError::Damaged {
        path: path.to_path_buf(),
        remedy: format!(
            "what it keeps can't be told, so nothing is cleaned; `ribflow cache pin FILE --name \
             {name}` writes it anew, `ribflow cache unpin {name}` takes it away"
        ),
    })
}
