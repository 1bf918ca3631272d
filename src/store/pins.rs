//! Pins: named sets of keys. Garbage collection keeps their records and everything these reference.
//!
//! A pin belongs to a workflow file, so two projects may use the same name. The first one is in
//! `NAME.json`, the next in `NAME@PLACE.json`.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layout::PINS;
use super::{Store, StoreError};
use crate::digest::{Digest, check};
use crate::fsx;
use crate::fsx::calls;

/// The version of the file's format. A pin without a workflow file has format 1.
const FORMAT: u32 = 2;
/// Maximum length of a pin's name.
const LONGEST: usize = 100;
/// Hexadecimal digits of a place in a file name.
const PLACE_DIGITS: usize = 16;
/// The same in a label.
const LABEL_DIGITS: usize = 8;
/// Fewer digits could be typed by mistake.
const FEWEST_DIGITS: usize = 4;
/// Replaces the digits in a label if the place is unknown.
const NO_PLACE: &str = "unknown";

/// A named set of keys to keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    format: u32,
    pub name: String,
    /// The workflow of the nodes.
    pub workflow: String,
    /// Seconds since 1970, UTC.
    pub at: u64,
    /// Identifies the workflow file, as in the header of a journal. Missing in pins of earlier
    /// versions, and in stores without an identity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Digest>,
    pub nodes: Vec<Pinned>,
}

/// The result of pinning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinResult {
    /// The pin of the same name and project that it replaced.
    pub replaced: Option<Pin>,
    /// Another project has a pin of the same name.
    pub is_beside: bool,
}

/// A pinned node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    pub id: String,
    pub key: Digest,
}

impl Pin {
    pub fn new(name: &str, workflow: &str, at: u64, nodes: Vec<Pinned>) -> Self {
        Self {
            format: 1,
            name: name.to_string(),
            workflow: workflow.to_string(),
            at,
            place: None,
            nodes,
        }
    }

    /// The same pin for the workflow file with the digest `place`.
    pub fn of_file(mut self, place: Option<Digest>) -> Self {
        self.format = if place.is_some() { FORMAT } else { 1 };
        self.place = place;
        self
    }

    /// The argument of `unpin`: the name, followed by the place if several of `pins` share the
    /// name.
    pub fn label(&self, pins: &[Self]) -> String {
        let of_name = pins.iter().filter(|pin| pin.name == self.name);
        match of_name.count() {
            0 | 1 => self.name.clone(),
            _ => label(&self.name, self.place.as_ref()),
        }
    }

    /// Whether this pin may replace `other`, of the same name. A pin without a file could belong to
    /// any project: it may be replaced if this one keeps everything that it keeps.
    fn stands_for(&self, other: &Self) -> bool {
        match (self.place, other.place) {
            (Some(own), Some(other)) => own == other,
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(_), None) => {
                let keeps = |key: &Digest| self.nodes.iter().any(|node| node.key == *key);
                other.nodes.iter().all(|node| keeps(&node.key))
            }
        }
    }

    /// Whether a pin may have this name, which becomes a file name.
    pub fn is_name(name: &str) -> bool {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.=+".contains(letter);
        !name.is_empty()
            && name.len() <= LONGEST
            && !name.starts_with('.')
            && name.chars().all(plain)
    }
}

impl Store {
    /// Adds `pin`; replaces the same project's pin of the same name.
    ///
    /// # Errors
    /// A key has no record here, so nothing could be kept.
    pub fn pin(&self, pin: &Pin) -> Result<PinResult, StoreError> {
        if !Pin::is_name(&pin.name) {
            return Err(StoreError::PinName(pin.name.clone()));
        }
        let tmp = self.session_folder()?;
        // Excludes garbage collection while the pin is written, and another pin of the same name.
        let _publishing = self.publishing()?;
        for Pinned { id, key } in &pin.nodes {
            if self.record_names(key)?.is_empty() {
                return Err(StoreError::NothingToPin { id: id.clone() });
            }
        }
        let (path, placed) = self.place_of(pin)?;
        // Encoding names, numbers and digests can't fail.
        let bytes = check::document(pin).unwrap_or_default();
        fsx::replace_durably(&path, &tmp, fsx::SHARED, &bytes).map_err(StoreError::io(&path))?;
        Ok(placed)
    }

    /// The file for `pin`, and what writing it replaces. A damaged file is replaced.
    fn place_of(&self, pin: &Pin) -> Result<(PathBuf, PinResult), StoreError> {
        let own = self.pin_path(&file_name(&pin.name, pin.place.as_ref()));
        let plain = self.pin_path(&pin.name);
        let at_own = self.whole_pin(&own)?;
        let at_plain = self.whole_pin(&plain)?;
        let is_free = at_plain.as_ref().is_none_or(|other| pin.stands_for(other));
        let is_beside = !is_free || (at_own.is_some() && at_plain.is_some());
        let (path, replaced) = match at_own {
            Some(before) => (own, Some(before)),
            None if is_free => (plain, at_plain),
            None => (own, None),
        };
        let placed = PinResult {
            replaced,
            is_beside,
        };
        Ok((path, placed))
    }

    /// Removes a pin; returns false if there is none of that name. `label` is its name or its
    /// [`Pin::label`].
    ///
    /// # Errors
    /// Several projects have a pin of that name.
    pub fn unpin(&self, label: &str) -> Result<bool, StoreError> {
        let (name, whose) = match label.split_once('@') {
            Some((name, whose)) => (name, Some(whose)),
            None => (label, None),
        };
        let mut found = Vec::new();
        for (file, path) in self.pin_files()? {
            let of_name = file.split_once('@').map_or(file.as_str(), |(name, _)| name) == name;
            let place = || place_of_file(&file, &path);
            if of_name && whose.is_none_or(|whose| is_meant(whose, &place())) {
                found.push((format!("{name}@{}", label_digits(&place())), path));
            }
        }
        match found.as_slice() {
            [] => Ok(false),
            [(_, path)] => match calls::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                removed => removed.map_err(StoreError::io(path)).map(|()| true),
            },
            _ => Err(StoreError::SeveralPins {
                name: name.to_string(),
                labels: found.into_iter().map(|(label, _)| label).collect(),
            }),
        }
    }

    /// All pins, sorted by name.
    ///
    /// # Errors
    /// A pin can't be read, so its keys are unknown.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let files = self.pin_files()?;
        files.iter().map(|(name, path)| read(name, path)).collect()
    }

    /// The files of damaged pins.
    pub(super) fn damaged_pins(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut damaged = Vec::new();
        for (name, path) in self.pin_files()? {
            match read(&name, &path) {
                Err(StoreError::Damaged { path, .. }) => damaged.push(path),
                Err(error) => return Err(error),
                Ok(_) => {}
            }
        }
        Ok(damaged)
    }

    /// The files of pins, with their names without the extension.
    fn pin_files(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let folder = self.root.join(PINS);
        let listed = match calls::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.map_err(StoreError::io(&folder))?,
        };
        let mut pins = Vec::new();
        // Links count too: a pin that is not a file is a damaged pin, and not no pin.
        for entry in listed {
            let entry = entry.map_err(StoreError::io(&folder))?;
            let name = entry.file_name().into_string().ok();
            if let Some(name) = name.as_deref().and_then(|name| name.strip_suffix(".json")) {
                pins.push((name.to_string(), entry.path()));
            }
        }
        pins.sort();
        Ok(pins)
    }

    /// The pin at `path`; `None` if it is damaged.
    fn whole_pin(&self, path: &Path) -> Result<Option<Pin>, StoreError> {
        match read("", path) {
            Ok(pin) => Ok(Some(pin)),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn pin_path(&self, name: &str) -> PathBuf {
        self.root.join(PINS).join(format!("{name}.json"))
    }
}

/// The file name, without its extension, of a pin beside another project's pin of the same name.
fn file_name(name: &str, place: Option<&Digest>) -> String {
    match place {
        Some(place) => format!("{name}@{}", &place.to_hex()[..PLACE_DIGITS]),
        None => format!("{name}@{NO_PLACE}"),
    }
}

fn label(name: &str, place: Option<&Digest>) -> String {
    let place = place.map(Digest::to_hex).unwrap_or_default();
    format!("{name}@{}", label_digits(&place))
}

/// The digits of a place that a label shows; empty if the place is unknown.
fn label_digits(place: &str) -> &str {
    match place.get(..LABEL_DIGITS) {
        Some(digits) => digits,
        None => NO_PLACE,
    }
}

/// The digits of a pin's place, as far as they can be determined: its file may be damaged.
fn place_of_file(name: &str, path: &Path) -> String {
    let of_name = || {
        let (_, digits) = name.split_once('@')?;
        (digits != NO_PLACE).then(|| digits.to_string())
    };
    let pin = read(name, path).ok();
    let place = pin.and_then(|pin| Some(pin.place?.to_hex()));
    place.or_else(of_name).unwrap_or_default()
}

/// Whether `whose`, as typed by a user, refers to the place of these digits.
fn is_meant(whose: &str, place: &str) -> bool {
    match place.is_empty() {
        true => whose == NO_PLACE,
        false => whose.len() >= FEWEST_DIGITS && place.starts_with(whose),
    }
}

fn read(name: &str, path: &Path) -> Result<Pin, StoreError> {
    let is_file = calls::symlink_metadata(path).map(|metadata| metadata.is_file());
    let bytes = match is_file.map_err(StoreError::io(path))? {
        true => fsx::read_plain(path).map_err(StoreError::io(path))?,
        false => Vec::new(),
    };
    // The format comes first, since a later one may have other checksums.
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
    let plain = name.split_once('@').map_or(name, |(plain, _)| plain);
    let pin = check::read_document(&bytes).ok();
    let pin = pin.and_then(|(pin, _)| serde_json::from_value(pin).ok());
    pin.ok_or_else(|| StoreError::Damaged {
        path: path.to_path_buf(),
        remedy: format!(
            "its keys are unknown, so nothing is collected; `ribflow cache pin FILE --name \
             {plain}` rewrites it, `ribflow cache unpin {name}` removes it"
        ),
    })
}
