//! Pins: named sets of keys whose records, and all they name, no cleaning takes away.
//!
//! A pin is of a workflow file: two projects may have one of the same name each. The first is in
//! `NAME.json`, the next in `NAME@PLACE.json`.

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

/// The version of the file's format. A pin that knows no workflow file has format 1.
const FORMAT: u32 = 2;
/// Longest name of a pin.
const LONGEST: usize = 100;
/// Hexadecimal digits of a place in the name of a file.
const PLACE_DIGITS: usize = 16;
/// The same where a person reads them.
const LABEL_DIGITS: usize = 8;
/// Fewer could be typed by mistake.
const FEWEST_DIGITS: usize = 4;
/// In a label, in the place of digits.
const NO_PLACE: &str = "unknown";

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
    /// Tells the workflow's file from others, as in the header of a journal. Missing in pins of
    /// earlier versions, and where the store has no identity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Digest>,
    pub nodes: Vec<Pinned>,
}

/// What became of a pin that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The pin of that name and that project whose place it took.
    pub replaced: Option<Pin>,
    /// Another project's pin has that name, too.
    pub is_beside: bool,
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
            format: 1,
            name: name.to_string(),
            workflow: workflow.to_string(),
            at,
            place: None,
            nodes,
        }
    }

    /// The same, of the workflow file that `place` stands for.
    pub fn of_file(mut self, place: Option<Digest>) -> Self {
        self.format = if place.is_some() { FORMAT } else { 1 };
        self.place = place;
        self
    }

    /// What `unpin` takes: the name, and where several of `pins` have it, whose it is.
    pub fn label(&self, pins: &[Self]) -> String {
        let of_name = pins.iter().filter(|pin| pin.name == self.name);
        match of_name.count() {
            0 | 1 => self.name.clone(),
            _ => label(&self.name, self.place.as_ref()),
        }
    }

    /// Whether `other`, of the same name, may go for this one. One that knows no file may be
    /// anybody's: it goes if nothing that it keeps is lost.
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
    /// Keeps what `pin` names from now on; replaces the same project's pin of the same name.
    ///
    /// # Errors
    /// A key without a record here: it could not be kept.
    pub fn pin(&self, pin: &Pin) -> Result<Placed, StoreError> {
        if !Pin::is_name(&pin.name) {
            return Err(StoreError::PinName(pin.name.clone()));
        }
        let tmp = self.session_folder()?;
        // So that no cleaning is half done with what is pinned, and no other pin takes the name.
        let _publishing = self.publishing()?;
        for Pinned { id, key } in &pin.nodes {
            if self.record_names(key)?.is_empty() {
                return Err(StoreError::NothingToPin { id: id.clone() });
            }
        }
        let (path, placed) = self.place_of(pin)?;
        // Names, numbers and digests always encode.
        let bytes = check::document(pin).unwrap_or_default();
        fsx::replace_durably(&path, &tmp, fsx::SHARED, &bytes).map_err(StoreError::io(&path))?;
        Ok(placed)
    }

    /// The file of `pin`, and what is there now. A damaged one is replaced.
    fn place_of(&self, pin: &Pin) -> Result<(PathBuf, Placed), StoreError> {
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
        let placed = Placed {
            replaced,
            is_beside,
        };
        Ok((path, placed))
    }

    /// Takes a pin away; false where there is none of that name. `label` is its name, or as
    /// [`Pin::label`] gives it.
    ///
    /// # Errors
    /// Several projects have one of that name.
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
            [(_, path)] => match fs::remove_file(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                removed => removed.map_err(StoreError::io(path)).map(|()| true),
            },
            _ => Err(StoreError::SeveralPins {
                name: name.to_string(),
                labels: found.into_iter().map(|(label, _)| label).collect(),
            }),
        }
    }

    /// Every pin, in the order of their names.
    ///
    /// # Errors
    /// One that can't be read: what it keeps can't be told.
    pub fn pins(&self) -> Result<Vec<Pin>, StoreError> {
        let files = self.pin_files()?;
        files.iter().map(|(name, path)| read(name, path)).collect()
    }

    /// The pins that are not as they were written.
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

    /// The files of pins, by their names without the ending.
    fn pin_files(&self) -> Result<Vec<(String, PathBuf)>, StoreError> {
        let files = entries(&self.root.join(PINS))?.into_iter();
        let pins = files.filter_map(|(name, path)| {
            let name = name.strip_suffix(".json")?;
            Some((name.to_string(), path))
        });
        Ok(pins.collect())
    }

    /// The pin at `path`; one that is damaged counts as none.
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

/// The name of a file, without its ending, beside another project's of the same name.
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

/// What a person types for the place of these digits; none where it is not known.
fn label_digits(place: &str) -> &str {
    match place.get(..LABEL_DIGITS) {
        Some(digits) => digits,
        None => NO_PLACE,
    }
}

/// The digits of a pin's place, as far as they can be told: its file may be damaged.
fn place_of_file(name: &str, path: &Path) -> String {
    let of_name = || {
        let (_, digits) = name.split_once('@')?;
        (digits != NO_PLACE).then(|| digits.to_string())
    };
    let pin = read(name, path).ok();
    let place = pin.and_then(|pin| Some(pin.place?.to_hex()));
    place.or_else(of_name).unwrap_or_default()
}

/// Whether a person means the place of these digits by `whose`.
fn is_meant(whose: &str, place: &str) -> bool {
    match place.is_empty() {
        true => whose == NO_PLACE,
        false => whose.len() >= FEWEST_DIGITS && place.starts_with(whose),
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
    let plain = name.split_once('@').map_or(name, |(plain, _)| plain);
    let pin = check::read_document(&bytes).ok();
    let pin = pin.and_then(|(pin, _)| serde_json::from_value(pin).ok());
    pin.ok_or_else(|| StoreError::Damaged {
        path: path.to_path_buf(),
        remedy: format!(
            "what it keeps can't be told, so nothing is cleaned; `ribflow cache pin FILE --name \
             {plain}` writes it anew, `ribflow cache unpin {name}` takes it away"
        ),
    })
}
