//! Files of `torch.save`: zip archives, and the format from before PyTorch 1.6, in which older
//! weights were published.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::{Device, Tensor};

use super::choice::{Part, state_dict};
use super::pickle::{self, Storage, Stored};

/// What a zip archive begins with.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";
/// The pickled magic number and protocol that the older format begins with.
pub(super) const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.";
/// More bytes than any state dict's pickle has.
const LONGEST_PICKLE: u64 = 1 << 26;

type Found<T> = Result<T, String>;

/// Where a storage lies in the file.
#[derive(Clone, Copy)]
struct Place {
    begin: u64,
    bytes: u64,
}

/// The state dict of a zip archive: the one at `wanted`, else the usual one.
pub(super) fn zipped(path: &Path, wanted: Option<&str>) -> Found<Part<Tensor>> {
    let file = BufReader::new(File::open(path).map_err(text)?);
    let cut = |why| format!("it is cut short, or no zip archive: {why}");
    let mut archive = zip::ZipArchive::new(file).map_err(cut)?;
    let names: Vec<String> = archive
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .collect();
    let pickled = names
        .iter()
        .find(|name| *name == "data.pkl" || name.ends_with("/data.pkl"));
    let pickled = pickled.ok_or("the archive holds no `data.pkl`")?;
    let folder = pickled.trim_end_matches("data.pkl");
    let order = contents(&mut archive, &format!("{folder}byteorder"));
    if order.is_ok_and(|order| order != b"little") {
        return Err("it was written on a big-endian machine".to_string());
    }
    let bytes = contents(&mut archive, pickled)?;
    let root = pickle::object(&mut bytes.as_slice())?;
    let part = state_dict(&root, wanted)?;
    let mut places = HashMap::new();
    for tensor in part.tensors.values() {
        let name = format!("{folder}data/{}", tensor.storage);
        let entry = archive
            .by_name(&name)
            .map_err(|why| format!("{name}: {why}"))?;
        let stored = entry.compression() == zip::CompressionMethod::Stored;
        let place = entry.data_start().filter(|_| stored).map(|begin| Place {
            begin,
            bytes: entry.size(),
        });
        let place = place.ok_or_else(|| format!("{name} is compressed"))?;
        places.insert(tensor.storage.clone(), place);
    }
    tensors_of(path, part, &places)
}

fn contents(archive: &mut zip::ZipArchive<BufReader<File>>, name: &str) -> Found<Vec<u8>> {
    let entry = archive
        .by_name(name)
        .map_err(|why| format!("{name}: {why}"))?;
    bounded(entry, name)
}

fn bounded(from: impl Read, name: &str) -> Found<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(LONGEST_PICKLE + 1).read_to_end(&mut bytes);
    match read.map_err(text)? as u64 > LONGEST_PICKLE {
        true => Err(format!("{name} is larger than any state dict's")),
        false => Ok(bytes),
    }
}

/// The state dict of a file from before PyTorch 1.6: four pickles and a list of keys, then each
/// storage with its number of elements before it.
pub(super) fn legacy(path: &Path, wanted: Option<&str>) -> Found<Part<Tensor>> {
    let file = File::open(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    let mut head = Vec::new();
    file.take(LONGEST_PICKLE)
        .read_to_end(&mut head)
        .map_err(text)?;
    let mut rest = head
        .strip_prefix(LEGACY)
        .ok_or("it is not a file of PyTorch")?;
    let _machine = pickle::object(&mut rest)?;
    let root = pickle::object(&mut rest)?;
    let keys = pickle::object(&mut rest)?;
    let keys = pickle::texts(keys).ok_or("it does not list its storages")?;
    let known: HashMap<String, Storage> = pickle::storages(&root)?
        .into_iter()
        .map(|storage| (storage.key.clone(), storage))
        .collect();
    let mut places = HashMap::new();
    let mut begin = (head.len() - rest.len()) as u64;
    for key in keys {
        let storage = known
            .get(&key)
            .ok_or("it has a storage that nothing uses")?;
        let bytes = (storage.count as u64).checked_mul(storage.dtype.size_in_bytes() as u64);
        begin += size_of::<u64>() as u64;
        let end = bytes.and_then(|bytes| begin.checked_add(bytes));
        let (Some(bytes), Some(end)) = (bytes, end.filter(|end| *end <= length)) else {
            return Err("it is cut short".to_string());
        };
        places.insert(key, Place { begin, bytes });
        begin = end;
    }
    tensors_of(path, state_dict(&root, wanted)?, &places)
}

fn tensors_of(
    path: &Path,
    part: Part<Stored>,
    places: &HashMap<String, Place>,
) -> Found<Part<Tensor>> {
    let mut file = File::open(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    // No room is made for more than the file can hold.
    let held = |place: &&Place| {
        let end = place.begin.checked_add(place.bytes);
        end.is_some_and(|end| end <= length)
    };
    let tensors = part
        .tensors
        .into_iter()
        .map(|(name, stored)| {
            let place = places.get(&stored.storage).filter(held);
            let tensor = place
                .ok_or_else(|| "its storage is not there".to_string())
                .and_then(|place| tensor(&mut file, &stored, *place));
            Ok((
                name.clone(),
                tensor.map_err(|why| format!("`{name}`: {why}"))?,
            ))
        })
        .collect::<Found<_>>()?;
    Ok(Part {
        tensors,
        place: part.place,
        beside: part.beside,
    })
}

fn tensor(file: &mut File, stored: &Stored, place: Place) -> Found<Tensor> {
    let size = stored.dtype.size_in_bytes();
    let there = usize::try_from(place.bytes).map_err(text)? / size;
    let count = stored
        .shape
        .iter()
        .try_fold(1usize, |all, side| all.checked_mul(*side));
    let end = count.and_then(|count| end(stored, count));
    // A tensor with more elements than its storage repeats some: no model's weights do.
    let (Some(count), Some(end)) = (count.filter(|it| *it <= there), end) else {
        return Err("its shape does not fit its storage".to_string());
    };
    if end > there {
        return Err("its storage is too short".to_string());
    }
    let first = place.begin + (stored.offset * size) as u64;
    let mut bytes = vec![0; (end - stored.offset) * size];
    file.seek(SeekFrom::Start(first)).map_err(text)?;
    file.read_exact(&mut bytes).map_err(text)?;
    let bytes = in_order(stored, count, size, bytes);
    Tensor::from_raw_buffer(&bytes, stored.dtype, &stored.shape, &Device::Cpu).map_err(text)
}

/// Behind the last element, in elements of the storage. `None` where that is past counting.
fn end(stored: &Stored, count: usize) -> Option<usize> {
    if count == 0 {
        return Some(stored.offset);
    }
    let steps = stored.shape.iter().zip(&stored.strides);
    let last = steps
        .map(|(side, stride)| (side - 1).checked_mul(*stride))
        .try_fold(stored.offset, |sum, step| sum.checked_add(step?))?;
    last.checked_add(1)
}

/// The elements row by row, whatever order they are kept in.
fn in_order(stored: &Stored, count: usize, size: usize, bytes: Vec<u8>) -> Vec<u8> {
    if is_in_order(stored) {
        return bytes;
    }
    let mut ordered = Vec::with_capacity(count * size);
    let mut index = vec![0; stored.shape.len()];
    for _ in 0..count {
        let steps = index.iter().zip(&stored.strides);
        let at = steps.map(|(at, stride)| at * stride).sum::<usize>() * size;
        ordered.extend_from_slice(&bytes[at..at + size]);
        for (at, side) in index.iter_mut().zip(&stored.shape).rev() {
            *at += 1;
            if *at < *side {
                break;
            }
            *at = 0;
        }
    }
    ordered
}

fn is_in_order(stored: &Stored) -> bool {
    let mut expected = 1;
    let sides = stored.shape.iter().zip(&stored.strides).rev();
    for (side, stride) in sides.filter(|(side, _)| **side != 1) {
        if *stride != expected {
            return false;
        }
        expected *= side;
    }
    true
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
