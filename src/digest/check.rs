//! Checksums in small files that decide something: a bit that flips in one of them must not pass
//! for another decision. A file without a checksum is of an earlier version, and valid.

use serde::Serialize;
use serde_json::Value;

use super::Digest;

/// The field of a JSON document that holds its checksum.
pub const FIELD: &str = "check";
/// Hexadecimal digits of a checksum.
const DIGITS: usize = 16;

/// The content does not have the checksum that it names, or can't be what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its content does not match its checksum")]
pub struct Damaged;

/// The checksum of `bytes`.
pub fn sum(bytes: &[u8]) -> String {
    Digest::of(bytes).to_hex()[..DIGITS].to_string()
}

/// A JSON document for people to read, with its checksum. `value` must encode to an object.
pub fn document(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(value)?;
    let sum = sum(&canonical(&value));
    value[FIELD] = Value::String(sum);
    let mut bytes = serde_json::to_vec_pretty(&value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A JSON document without its checksum, and whether it has one.
///
/// # Errors
/// It is no JSON, or another document than was written.
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

/// The names in order and no white space, so that a document may be laid out anew.
fn canonical(value: &Value) -> Vec<u8> {
    // A value always encodes.
    serde_json::to_vec(value).unwrap_or_default()
}

const BEFORE: &[u8] = b",\"check\":\"";
const AFTER: &[u8] = b"\"}";

/// A JSON document on one line, with its checksum as the last field. `value` must encode to an
/// object that is not empty.
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

/// The document on a line without its checksum, and whether it has one. The line's end is not part
/// of `line`.
///
/// # Errors
/// The checksum is that of another line.
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

    /// Every way in which one bit of `bytes` can flip.
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
                // A name that is not known, which its reader refuses.
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
        // Older readers take it as it is.
        let whole: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(whole["what"], value["what"]);
    }
}
