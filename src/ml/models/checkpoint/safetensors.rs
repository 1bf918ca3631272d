//! Reads a `.safetensors` file, tensor by tensor.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::Tensor;
use safetensors::tensor::{Metadata, TensorInfo};

use super::StateDict;
use super::element::Element;

/// The number of bytes of the header's length.
const PREFIX: u64 = 8;
/// The limit of the format.
const LONGEST_HEADER: u64 = 100_000_000;

/// Whether a file that begins like this has the format: the length of its header, and a brace.
pub(super) fn is_safetensors(start: &[u8]) -> bool {
    start.get(PREFIX as usize) == Some(&b'{') && header_length(start) <= LONGEST_HEADER
}

fn header_length(start: &[u8]) -> u64 {
    let prefix = start.first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(prefix)
}

/// The tensors of the file.
pub(super) fn read(path: &Path) -> Result<StateDict, String> {
    let mut file = File::open(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    let (data, header) = header(&mut file, length)?;
    let expected = data.saturating_add(header.data_len() as u64);
    if length != expected {
        let how = if length < expected { "short" } else { "long" };
        return Err(format!(
            "it is too {how}: {length} bytes in place of {expected}"
        ));
    }
    header
        .tensors()
        .into_iter()
        .map(|(name, info)| {
            let tensor = tensor(&mut file, data, info);
            let tensor = tensor.map_err(|why| format!("`{name}`: {why}"))?;
            Ok((name, tensor))
        })
        .collect()
}

/// The header, validated by the library, and the start of the data after it.
fn header(file: &mut File, length: u64) -> Result<(u64, Metadata), String> {
    let mut bytes = Vec::new();
    file.take(PREFIX).read_to_end(&mut bytes).map_err(text)?;
    let size = header_length(&bytes);
    if size > LONGEST_HEADER || PREFIX + size > length {
        return Err("its header is cut short".to_string());
    }
    bytes.clear();
    file.take(size).read_to_end(&mut bytes).map_err(text)?;
    let header = serde_json::from_slice(&bytes).map_err(|why| format!("its header: {why}"))?;
    Ok((PREFIX + size, header))
}

fn tensor(file: &mut File, data: u64, info: &TensorInfo) -> Result<Tensor, String> {
    let (begin, end) = info.data_offsets;
    let element = Element::of_safetensors(info.dtype)?;
    let mut bytes = vec![0; end.saturating_sub(begin)];
    file.seek(SeekFrom::Start(data + begin as u64))
        .map_err(text)?;
    file.read_exact(&mut bytes).map_err(text)?;
    element.tensor(&bytes, &info.shape)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
