//! Trees of tensors as ordinary `.safetensors` files, which every other tool reads.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::Value;

use super::artifact::{BlobError, Blobs, TensorEntry, Tensors, dtype};
use super::tensors::{bytes, keep, problem};
use crate::fsx;
use crate::fsx::calls::File;

/// The limit of the format's own library on a header.
const LARGEST_HEADER: u64 = 100_000_000;

/// Writes `tensors` to a new file at `path`, one tensor at a time.
///
/// The bytes depend only on the tensors: these are in the format's own order (wide dtypes first,
/// then by name), and there is no metadata. The config is not in the file.
///
/// # Errors
/// The file exists already, or a blob is missing or damaged.
pub fn export(blobs: &dyn Blobs, tensors: &Tensors, path: &Path) -> Result<(), BlobError> {
    let mut ordered = Vec::new();
    for (name, entry) in &tensors.tensors {
        let dtype = dtype(&entry.dtype)
            .ok_or_else(|| problem(name, format!("dtype `{}` is not known", entry.dtype)))?;
        ordered.push((dtype, name, entry));
    }
    ordered.sort_by(|(left, a, _), (right, b, _)| right.cmp(left).then(a.cmp(b)));

    let mut end = 0;
    let infos = ordered.iter().map(|(dtype, name, entry)| {
        let start = end;
        end += entry.bytes() as usize;
        let info = TensorInfo {
            dtype: *dtype,
            shape: entry.shape.clone(),
            data_offsets: (start, end),
        };
        (name.to_string(), info)
    });
    let header = Metadata::new(None, infos.collect())
        .map_err(|error| problem("the header", error.to_string()))
        .and_then(|metadata| {
            serde_json::to_vec(&metadata).map_err(|error| problem("the header", error.to_string()))
        })?;

    let entries = ordered.iter().map(|(_, _, entry)| *entry);
    write_file(blobs, path, header, entries)
}

fn write_file<'a>(
    blobs: &dyn Blobs,
    path: &Path,
    mut header: Vec<u8>,
    entries: impl Iterator<Item = &'a TensorEntry>,
) -> Result<(), BlobError> {
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create_new(path).map_err(BlobError::io(path))?);
    file.write_all(&(header.len() as u64).to_le_bytes())
        .and_then(|()| file.write_all(&header))
        .map_err(BlobError::io(path))?;
    for entry in entries {
        file.write_all(&bytes(blobs, entry)?)
            .map_err(BlobError::io(path))?;
    }
    file.flush().map_err(BlobError::io(path))
}

/// Stores the tensors of a `.safetensors` file, one at a time, with `config`. Drops the file's own
/// metadata.
///
/// # Errors
/// The file is not a complete `.safetensors` file.
pub fn import(blobs: &dyn Blobs, config: Value, path: &Path) -> Result<Tensors, BlobError> {
    let mut file = fsx::open_regular(path).map_err(BlobError::io(path))?;
    let metadata = read_header(&mut file).map_err(BlobError::io(path))?;
    let mut tensors = Tensors {
        config,
        ..Tensors::default()
    };
    // The validated header guarantees that offsets are contiguous and names are in their order.
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else {
            continue;
        };
        let mut content = vec![0; info.data_offsets.1 - info.data_offsets.0];
        file.read_exact(&mut content).map_err(BlobError::io(path))?;
        let entry = keep(blobs, &name, &info.dtype.to_string(), &info.shape, &content)?;
        tensors.tensors.insert(name, entry);
    }
    Ok(tensors)
}

/// The validated header; leaves the file position at the first tensor.
fn read_header(file: &mut File) -> io::Result<Metadata> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let length = file.metadata()?.len();
    let mut size = [0; 8];
    file.read_exact(&mut size)
        .map_err(|_| invalid("not a .safetensors file".to_string()))?;
    let size = u64::from_le_bytes(size);
    if size > LARGEST_HEADER.min(length.saturating_sub(8)) {
        return Err(invalid("not a .safetensors file".to_string()));
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header)
        .map_err(|error| invalid(format!("not a .safetensors file: {error}")))?;
    let expected = size + 8 + metadata.data_len() as u64;
    if expected != length {
        let why = format!("truncated or too long: {length} bytes, expected {expected}");
        return Err(invalid(why));
    }
    Ok(metadata)
}
