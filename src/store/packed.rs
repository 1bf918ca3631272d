//! The file format of everything in a store that is derived: a line with the name and the version of
//! the format, the content, and the BLAKE3 of both. Anything torn, foreign or of another version
//! counts as empty.
//!
//! Content has its fields in fixed order; strings and lists are prefixed by their length as u32,
//! numbers are little-endian, digests and stamps are as they are. Reading takes a tenth of the time
//! of JSON.

use std::collections::BTreeMap;
use std::path::Path;

use memmap2::Mmap;

use crate::digest::Digest;
use crate::fsx::{self, Stamp};

/// Bytes of the checksum at the end of a file.
pub(super) const CHECKSUM: usize = 32;

/// Bytes that one core hashes in about a millisecond. For fewer, starting the threads costs more
/// than it saves.
const ONE_CORE: usize = 4 << 20;

/// The first line of a file, with the version of its format.
#[derive(Clone, Copy)]
pub(super) struct Format(pub &'static [u8]);

impl Format {
    /// Begins a file.
    pub fn writer(self) -> Writer {
        Writer(self.0.to_vec())
    }

    /// The bytes before the content.
    pub const fn head(self) -> usize {
        self.0.len()
    }

    /// The content of an intact file of this format.
    pub fn content(self, file: &[u8]) -> Option<&[u8]> {
        intact(file)?.strip_prefix(self.0)
    }
}

/// Appends the checksum.
pub(super) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = checksum(&bytes);
    bytes.extend(checksum.as_bytes());
    bytes
}

/// The bytes before the checksum; `None` if it is wrong.
pub(super) fn intact(file: &[u8]) -> Option<&[u8]> {
    let (bytes, found) = file.split_last_chunk::<CHECKSUM>()?;
    (checksum(bytes).as_bytes() == found).then_some(bytes)
}

fn checksum(bytes: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    match bytes.len() {
        0..ONE_CORE => hasher.update(bytes),
        _ => hasher.update_rayon(bytes),
    };
    hasher.finalize()
}

/// Maps a file that is only ever replaced as a whole.
pub(super) fn map(path: &Path) -> Option<Mmap> {
    let file = fsx::open_regular(path).ok()?;
    // SAFETY: such a file is written under another name and replaced as a whole, never changed.
    unsafe { Mmap::map(&file) }.ok()
}

pub(super) struct Writer(pub Vec<u8>);

impl Writer {
    /// Ends a file that [`Format::writer`] began.
    pub fn sealed(self) -> Vec<u8> {
        seal(self.0)
    }

    pub fn tag(&mut self, tag: u8) {
        self.0.push(tag);
    }

    pub fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    pub fn length(&mut self, length: usize) {
        self.0.extend((length as u32).to_le_bytes());
    }

    pub fn text(&mut self, text: &str) {
        self.length(text.len());
        self.0.extend(text.as_bytes());
    }

    pub fn digest(&mut self, digest: &Digest) {
        self.0.extend(digest.as_bytes());
    }

    pub fn stamp(&mut self, stamp: &Stamp) {
        self.0.extend(stamp.to_bytes());
    }

    pub fn json(&mut self, value: &impl serde::Serialize) {
        // Encoding what was parsed from a record's JSON can't fail.
        self.text(&serde_json::to_string(value).unwrap_or_default());
    }

    pub fn map<T>(&mut self, map: &BTreeMap<String, T>, write: impl Fn(&mut Self, &T)) {
        self.length(map.len());
        for (name, value) in map {
            self.text(name);
            write(self, value);
        }
    }
}

/// Reads the output of a [`Writer`]; `None` for anything else.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub fn tag(&mut self) -> Option<u8> {
        self.array().map(|[tag]| tag)
    }

    pub fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn length(&mut self) -> Option<usize> {
        self.array().map(u32::from_le_bytes).map(|it| it as usize)
    }

    pub fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).ok()
    }

    pub fn digest(&mut self) -> Option<Digest> {
        self.array().map(Digest::from_bytes)
    }

    pub fn stamp(&mut self) -> Option<Stamp> {
        self.array().map(|bytes| Stamp::from_bytes(&bytes))
    }

    pub fn json<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        serde_json::from_str(self.text()?).ok()
    }

    pub fn list<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.length()?;
        (0..length).map(|_| read(self)).collect()
    }

    pub fn map<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<BTreeMap<String, T>> {
        let length = self.length()?;
        let mut map = BTreeMap::new();
        for _ in 0..length {
            map.insert(self.text()?.to_string(), read(self)?);
        }
        Some(map)
    }
}
