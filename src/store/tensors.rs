//! Trees of tensors: a checkpoint or named arrays. Each large tensor is a blob of its own, so that
//! models with common weights share them on disk.

use serde_json::Value;

use super::artifact::{BlobError, Blobs, INLINE_BYTES, TensorEntry, Tensors, size};
use crate::digest::Digest;

/// One tensor to store: name, safetensors dtype (`F32`, `U8`, `I64`), shape, and the row-major
/// little-endian bytes.
pub type NamedTensor<'a> = (String, &'a str, Vec<usize>, Vec<u8>);

/// Stores `tensors` and describes them. Their order does not matter.
///
/// # Errors
/// A duplicate name, an unknown dtype, or bytes that do not match dtype and shape.
pub fn save(
    blobs: &dyn Blobs,
    config: Value,
    tensors: &[NamedTensor],
) -> Result<Tensors, BlobError> {
    let mut saved = Tensors {
        config,
        ..Tensors::default()
    };
    for (name, dtype, shape, bytes) in tensors {
        let entry = keep(blobs, name, dtype, shape, bytes)?;
        if saved.tensors.insert(name.clone(), entry).is_some() {
            return Err(problem(name, "duplicate name"));
        }
    }
    Ok(saved)
}

/// Stores one tensor.
pub(super) fn keep(
    blobs: &dyn Blobs,
    name: &str,
    dtype: &str,
    shape: &[usize],
    bytes: &[u8],
) -> Result<TensorEntry, BlobError> {
    let mut entry = TensorEntry {
        dtype: dtype.to_string(),
        shape: shape.to_vec(),
        digest: Digest::from_bytes([0; 32]),
        inline: None,
    };
    check_size(&entry, bytes.len() as u64).map_err(|why| problem(name, why))?;
    if bytes.len() <= INLINE_BYTES {
        entry.digest = Digest::of(bytes);
        entry.inline = Some(to_hex(bytes));
    } else {
        entry.digest = blobs.write(bytes)?.digest;
    }
    Ok(entry)
}

/// The row-major little-endian bytes of a tensor.
///
/// # Errors
/// A blob is missing or damaged, or its content does not match dtype and shape.
pub fn bytes(blobs: &dyn Blobs, entry: &TensorEntry) -> Result<Vec<u8>, BlobError> {
    let unreadable = |why: String| BlobError::Unreadable {
        digest: entry.digest,
        why,
    };
    let bytes = match &entry.inline {
        None => blobs.read(&entry.digest)?,
        Some(text) => from_hex(text)
            .filter(|bytes| Digest::of(bytes) == entry.digest)
            .ok_or_else(|| unreadable("its inline bytes are damaged".to_string()))?,
    };
    check_size(entry, bytes.len() as u64).map_err(unreadable)?;
    Ok(bytes)
}

fn check_size(entry: &TensorEntry, found: u64) -> Result<(), String> {
    let TensorEntry { dtype, shape, .. } = entry;
    match size(dtype, shape) {
        Some(expected) if expected == found => Ok(()),
        Some(_) => Err(format!("{found} bytes do not match {dtype} {shape:?}")),
        None => Err(format!("{dtype} {shape:?} is not a known tensor type")),
    }
}

pub(super) fn problem(name: &str, why: impl Into<String>) -> BlobError {
    BlobError::Tensor {
        name: name.to_string(),
        why: why.into(),
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `None` if `text` is not an even number of hexadecimal digits.
fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect()
}
