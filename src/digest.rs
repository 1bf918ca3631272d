//! BLAKE3 digests, and the canonical encoding of plain values that keys are computed from.

pub mod check;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// A BLAKE3 digest: 32 bytes, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of the bytes that `hasher` has taken.
    pub fn finish(hasher: &blake3::Hasher) -> Self {
        Self(*hasher.finalize().as_bytes())
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn to_hex(&self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }

    /// The first twelve hexadecimal digits, for display.
    pub fn short(&self) -> String {
        self.to_hex()[..12].to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({})", self.short())
    }
}

/// A text that is not 64 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a digest: 64 lower-case hexadecimal digits are expected")]
pub struct NotADigest(String);

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let canonical = text.len() == 64 && !text.bytes().any(|byte| byte.is_ascii_uppercase());
        blake3::Hash::from_hex(text)
            .ok()
            .filter(|_| canonical)
            .map(|hash| Self(*hash.as_bytes()))
            .ok_or_else(|| NotADigest(text.to_string()))
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Takes bytes to be hashed: a hasher, or a buffer that collects short pieces, because a hasher has
/// a cost for each call.
pub trait HashInto {
    fn feed(&mut self, bytes: &[u8]);
}

impl HashInto for blake3::Hasher {
    fn feed(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

impl HashInto for Vec<u8> {
    fn feed(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Feeds `value` to `hasher`. Two different values never feed the same bytes.
///
/// Each part starts with a tag of its own; texts, lists and maps continue with their length; map
/// entries are in the order of their names; floats are fed as bits. `1` and `1.0` are different
/// values.
pub fn hash_value(hasher: &mut impl HashInto, value: &Value) {
    match value {
        Value::Null => {
            hasher.feed(b"n");
        }
        Value::Bool(flag) => {
            hasher.feed(if *flag { b"t" } else { b"f" });
        }
        Value::Number(number) => hash_number(hasher, number),
        Value::String(text) => hash_text(hasher, b's', text),
        Value::Array(items) => {
            hash_length(hasher, b'a', items.len());
            items.iter().for_each(|item| hash_value(hasher, item));
        }
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            hash_length(hasher, b'o', names.len());
            for name in names {
                hash_text(hasher, b'k', name);
                hash_value(hasher, &fields[name]);
            }
        }
    }
}

/// As [`hash_value`] of a text.
pub fn hash_string(hasher: &mut impl HashInto, text: &str) {
    hash_text(hasher, b's', text);
}

fn hash_number(hasher: &mut impl HashInto, number: &serde_json::Number) {
    if let Some(unsigned) = number.as_u64() {
        feed_number(hasher, b'u', unsigned.to_le_bytes());
    } else if let Some(signed) = number.as_i64() {
        feed_number(hasher, b'i', signed.to_le_bytes());
    } else {
        // serde_json represents neither NaN nor infinity, so every float has well-defined bits.
        let float = number.as_f64().unwrap_or_default();
        let float = if float == 0.0 { 0.0 } else { float }; // -0.0 is 0.0
        feed_number(hasher, b'd', float.to_bits().to_le_bytes());
    }
}

fn hash_text(hasher: &mut impl HashInto, tag: u8, text: &str) {
    hash_length(hasher, tag, text.len());
    hasher.feed(text.as_bytes());
}

fn hash_length(hasher: &mut impl HashInto, tag: u8, length: usize) {
    feed_number(hasher, tag, (length as u64).to_le_bytes());
}

fn feed_number(hasher: &mut impl HashInto, tag: u8, number: [u8; 8]) {
    hasher.feed(&[tag]);
    hasher.feed(&number);
}

/// `value` as JSON with sorted names and without white space: documents are named by the digest of
/// these bytes.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(&mut text, value);
    text
}

fn write_canonical(text: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_canonical(text, item);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut names: Vec<&String> = fields.keys().collect();
            names.sort();
            text.push('{');
            for (index, name) in names.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                write_canonical(text, &fields[name]);
            }
            text.push('}');
        }
        leaf => text.push_str(&leaf.to_string()),
    }
}
