//! Checksums for small files that decisions depend on: a flipped bit must not be taken for another
//! decision. A file without a checksum comes from an earlier version and is valid.

use serde::Serialize;
use serde_json::Value;

use super::Digest;

/// The field of a JSON document that holds its checksum.
pub const FIELD: &str = "check";
/// Hexadecimal digits of a checksum.
const DIGITS: usize = 16;

/// The content does not match its checksum, or is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its content does not match its checksum")]
pub struct Damaged;

/// The checksum of `bytes`.
pub fn sum(bytes: &[u8]) -> String {
    Digest::of(bytes).to_hex()[..DIGITS].to_string()
}

/// A human-readable JSON document with its checksum. `value` must serialise to an object.
pub fn document(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(value)?;
    let sum = sum(&canonical(&value));
    value[FIELD] = Value::String(sum);
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Parses a JSON document; returns it without its checksum, and whether it had one.
///
/// # Errors
/// The text is not valid JSON, or does not match its checksum.
pub fn read_document(bytes: &[u8]) -> Result<(Value, bool), Damaged> {
    let mut value: Value = serde_json::from_slice(bytes).map_err(|_| Damaged)?;
    let named = match value.as_object_mut() {
        Some(fields) => fields.remove(FIELD),
        None => return Err(Damaged),
    };
    match named {
        None => Ok((value, false)),
        Some(named) if named == sum(&canonical(&value)).as_str() => Ok((value, true)),
        Some(_) => Err(Damaged),
    }
}

/// Sorted names and no white space, so that a document may be reformatted.
fn canonical(value: &Value) -> Vec<u8> {
    // A `Value` always serialises.
    serde_json::to_vec(value).unwrap_or_default()
}

const BEFORE: &[u8] = b",\"check\":\"";
const AFTER: &[u8] = b"\"}";

/// A JSON document on one line, with its checksum as the last field. `value` must serialise to a
/// non-empty object.
pub fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    let sum = sum(&line);
    line.pop();
    line.extend(BEFORE);
    line.extend(sum.as_bytes());
    line.extend(AFTER);
    line.push(b'\n');
    Ok(line)
}

/// Parses a document on one line; returns it without its checksum, and whether it had one. `line`
/// excludes the line break.
///
/// # Errors
/// The line does not match its checksum.
pub fn read_line(line: &[u8]) -> Result<(Vec<u8>, bool), Damaged> {
    let start = line.len().checked_sub(BEFORE.len() + DIGITS + AFTER.len());
    let Some((document, end)) = start.map(|start| line.split_at(start)) else {
        return Ok((line.to_vec(), false));
    };
    let named = end.strip_prefix(BEFORE);
    let Some(named) = named.and_then(|end| end.strip_suffix(AFTER)) else {
        return Ok((line.to_vec(), false));
    };
    let document = [document, b"}"].concat();
    match sum(&document).as_bytes() == named {
        true => Ok((document, true)),
        false => Err(Damaged),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `bytes` with each single bit flipped.
    fn flips(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        (0..bytes.len() * 8).map(move |bit| {
            let mut bytes = bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        })
    }

    #[test]
    fn no_flipped_bit_gives_another_checked_document() {
        let value = json!({ "name": "paper", "at": 17, "nodes": [{ "id": "a", "key": "00ff" }] });
        let bytes = document(&value).unwrap();
        assert_eq!(read_document(&bytes), Ok((value.clone(), true)));
        for flipped in flips(&bytes) {
            match read_document(&flipped) {
                Ok((found, true)) => assert_eq!(found, value),
                // The flip hit the name `check`; the reader refuses the unknown field.
                Ok((found, false)) => assert_eq!(found.as_object().unwrap().len(), 4),
                Err(Damaged) => {}
            }
        }
        assert_eq!(read_document(b"{\"a\": 1}"), Ok((json!({ "a": 1 }), false)));
        let compact = serde_json::to_vec(&serde_json::from_slice::<Value>(&bytes).unwrap());
        assert_eq!(read_document(&compact.unwrap()), Ok((value, true)));
    }

    #[test]
    fn no_flipped_bit_gives_another_checked_line() {
        let value = json!({ "at": 1.5, "what": { "node_reused": { "id": "a", "key": "00ff" } } });
        let bytes = line(&value).unwrap();
        let text = serde_json::to_vec(&value).unwrap();
        let bytes = bytes.strip_suffix(b"\n").unwrap();
        assert_eq!(read_line(bytes), Ok((text.clone(), true)));
        for flipped in flips(bytes) {
            assert_ne!(read_line(&flipped).map(|(_, checked)| checked), Ok(true));
        }
        assert_eq!(read_line(&text), Ok((text.clone(), false)));
        // Older readers take the line unchanged.
        let whole: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(whole["what"], value["what"]);
    }
}
