//! Files of `torch.save`: zip archives, and the format from before PyTorch 1.6, in which older
//! weights were published.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use candle_core::Tensor;
use zip::read::{ArchiveOffset, Config};

use super::choice::{Part, state_dict};
use super::growth::Growth;
use super::pickle::{self, Node, Pickle, Stored};

/// The first bytes of a zip archive.
pub(super) const ZIP: &[u8] = b"PK\x03\x04";
/// The first byte of a pickle.
pub(super) const PICKLE: u8 = 0x80;
/// An upper bound on the size of a state dict's pickle.
const LONGEST_PICKLE: u64 = 1 << 26;
/// The maximum ratio of the tensors' size to that of their storages. Tied weights count as one
/// tensor; slices of a flat parameter use each byte once.
const MOST_VIEWS: usize = 8;
/// The ratio ignores this number of bytes.
const SMALL: u64 = 1 << 24;

type ReadResult<T> = Result<T, String>;
type Archive = zip::ZipArchive<BufReader<File>>;

/// Where the bytes of a storage are.
enum StorageBytes {
    InFile {
        begin: u64,
        bytes: u64,
    },
    /// In memory, because they were compressed.
    Here(Vec<u8>),
}

impl StorageBytes {
    fn bytes(&self) -> usize {
        match self {
            StorageBytes::InFile { bytes, .. } => usize::try_from(*bytes).unwrap_or(usize::MAX),
            StorageBytes::Here(bytes) => bytes.len(),
        }
    }
}

/// The places of the storages, by key, and whether their elements are little-endian.
struct Storages {
    places: HashMap<String, StorageBytes>,
    little_endian: bool,
}

/// The state dict of a zip archive: the one at `wanted`, or the default one.
pub(super) fn zipped(path: &Path, wanted: Option<&str>) -> ReadResult<Part<Tensor>> {
    let file = BufReader::new(File::open(path).map_err(text)?);
    let cut = |why| format!("it is truncated, or not a zip archive: {why}");
    // PyTorch's archives start at the beginning of the file. Guessing the start from the entries
    // finds the second entry for some name lengths.
    let config = Config {
        archive_offset: ArchiveOffset::Known(0),
    };
    let mut archive = Archive::with_config(config, file).map_err(cut)?;
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
    let bytes = contents(&mut archive, pickled)?;
    let pickle = pickle::read(&mut bytes.as_slice())?;
    let part = state_dict(pickle.root(), wanted)?;
    let mut places = HashMap::new();
    let length = path.metadata().map_err(text)?.len();
    let mut growth = Growth::of(length);
    for tensor in part.tensors.values() {
        if !places.contains_key(&tensor.storage) {
            let name = format!("{folder}data/{}", tensor.storage);
            let place = place(&mut archive, &name, &mut growth)?;
            places.insert(tensor.storage.clone(), place);
        }
    }
    let storages = Storages {
        places,
        little_endian: !order.is_ok_and(|order| order == b"big"),
    };
    tensors_of(path, part, &storages)
}

/// The place of an entry of the archive. A compressed entry is decompressed; `growth` limits the
/// total size of all of these.
fn place(archive: &mut Archive, name: &str, growth: &mut Growth) -> ReadResult<StorageBytes> {
    let entry = archive
        .by_name(name)
        .map_err(|why| format!("{name}: {why}"))?;
    let stored = entry.compression() == zip::CompressionMethod::Stored;
    if let Some(begin) = entry.data_start().filter(|_| stored) {
        return Ok(StorageBytes::InFile {
            begin,
            bytes: entry.size(),
        });
    }
    growth.read(entry, name).map(StorageBytes::Here)
}

fn contents(archive: &mut Archive, name: &str) -> ReadResult<Vec<u8>> {
    let entry = archive
        .by_name(name)
        .map_err(|why| format!("{name}: {why}"))?;
    bounded(entry, name)
}

fn bounded(from: impl Read, name: &str) -> ReadResult<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = from.take(LONGEST_PICKLE + 1).read_to_end(&mut bytes);
    match read.map_err(text)? as u64 > LONGEST_PICKLE {
        true => Err(format!("{name} is larger than any state dict's")),
        false => Ok(bytes),
    }
}

/// The state dict of a file from before PyTorch 1.6: four pickles and a list of keys, then each
/// storage with its number of elements before it.
pub(super) fn legacy(path: &Path, wanted: Option<&str>) -> ReadResult<Part<Tensor>> {
    let mut file = File::open(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    let mut head = Vec::new();
    (&mut file)
        .take(LONGEST_PICKLE)
        .read_to_end(&mut head)
        .map_err(text)?;
    let mut rest = head.as_slice();
    if !pickle::read(&mut rest)?.is_magic() {
        return Err("it is a pickle, but not one of `torch.save`".to_string());
    }
    let _protocol = pickle::read(&mut rest)?;
    let _machine = pickle::read(&mut rest)?;
    let root = pickle::read(&mut rest)?;
    let keys = pickle::read(&mut rest)?;
    let keys = texts(&keys).ok_or("it does not list its storages")?;
    let begin = (head.len() - rest.len()) as u64;
    let storages = Storages {
        places: behind(&mut file, &root, &keys, begin, length)?,
        little_endian: true,
    };
    tensors_of(path, state_dict(root.root(), wanted)?, &storages)
}

fn texts(keys: &Pickle) -> Option<Vec<&str>> {
    let keys = keys.root().all_members()?.into_iter();
    keys.map(Node::text).collect()
}

/// The storages after the pickles, which begin at `begin` of a file of `length` bytes.
fn behind(
    file: &mut File,
    root: &Pickle,
    keys: &[&str],
    mut begin: u64,
    length: u64,
) -> ReadResult<HashMap<String, StorageBytes>> {
    let known = root.storages()?;
    let mut places = HashMap::new();
    for key in keys {
        let storage = known
            .get(*key)
            .ok_or("it has a storage that nothing uses")?;
        let mut count = [0; size_of::<u64>()];
        file.seek(SeekFrom::Start(begin)).map_err(text)?;
        file.read_exact(&mut count)
            .map_err(|_| "it is truncated".to_string())?;
        if u64::from_le_bytes(count) != storage.count as u64 {
            return Err("a storage and its tensors differ in their number of elements".to_string());
        }
        let size = storage.element.map_or(1, |element| element.bytes());
        let bytes = (storage.count as u64).checked_mul(size as u64);
        begin += size_of::<u64>() as u64;
        let end = bytes.and_then(|bytes| begin.checked_add(bytes));
        let (Some(bytes), Some(end)) = (bytes, end.filter(|end| *end <= length)) else {
            return Err("it is truncated".to_string());
        };
        let place = StorageBytes::InFile { begin, bytes };
        if places.insert((*key).to_string(), place).is_some() {
            return Err("it has a storage twice".to_string());
        }
        begin = end;
    }
    Ok(places)
}

fn tensors_of(path: &Path, part: Part<Stored>, storages: &Storages) -> ReadResult<Part<Tensor>> {
    let mut file = File::open(path).map_err(text)?;
    let length = file.metadata().map_err(text)?.len();
    // Does not reserve more memory than the file can fill.
    let held = |place: &&StorageBytes| match place {
        StorageBytes::InFile { begin, bytes } => {
            begin.checked_add(*bytes).is_some_and(|end| end <= length)
        }
        StorageBytes::Here(_) => true,
    };
    // Entries of an archive may overlap, but hold no more than the file.
    let in_file = length.min(usize::MAX as u64) as usize;
    let decompressed = storages.places.values().map(|place| match place {
        StorageBytes::InFile { .. } => 0,
        StorageBytes::Here(bytes) => bytes.len(),
    });
    let mut budget = decompressed
        .fold(in_file, usize::saturating_add)
        .saturating_mul(MOST_VIEWS)
        .saturating_add(SMALL as usize);
    let mut read: HashMap<Stored, Tensor> = HashMap::new();
    let mut tensors = BTreeMap::new();
    for (name, stored) in part.tensors {
        let found = match read.get(&stored) {
            Some(found) => Ok(found.clone()),
            None => {
                let place = storages.places.get(&stored.storage).filter(held);
                place
                    .ok_or_else(|| "its storage is not there".to_string())
                    .and_then(|place| {
                        tensor(
                            &mut file,
                            &stored,
                            place,
                            storages.little_endian,
                            &mut budget,
                        )
                    })
            }
        };
        let found = found.map_err(|why| format!("`{name}`: {why}"))?;
        read.entry(stored).or_insert_with(|| found.clone());
        tensors.insert(name, found);
    }
    Ok(Part {
        tensors,
        place: part.place,
        beside: part.beside,
    })
}

fn tensor(
    file: &mut File,
    stored: &Stored,
    place: &StorageBytes,
    little_endian: bool,
    budget: &mut usize,
) -> ReadResult<Tensor> {
    let size = stored.element.bytes();
    let there = place.bytes() / size;
    let count = stored
        .shape
        .iter()
        .try_fold(1usize, |all, side| all.checked_mul(*side));
    let end = count.and_then(|count| end(stored, count));
    // A tensor with more elements than its storage repeats some, which no model's weights do.
    let (Some(count), Some(end)) = (count.filter(|it| *it <= there), end) else {
        return Err("its shape does not fit its storage".to_string());
    };
    if end > there {
        return Err("its storage is too short".to_string());
    }
    // A strided tensor is read with what is between its elements.
    let span = (end - stored.offset).max(count);
    *budget = budget
        .checked_sub(span.saturating_mul(size))
        .ok_or_else(|| {
            format!("the tensors are more than {MOST_VIEWS} times as large as their storages")
        })?;
    let mut bytes = part(file, place, stored.offset * size, end * size)?;
    if !little_endian {
        bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
    }
    let bytes = in_order(stored, count, size, bytes);
    stored.element.tensor(&bytes, &stored.shape)
}

/// Bytes `from` to `to` of a storage, which must contain them.
fn part(file: &mut File, place: &StorageBytes, from: usize, to: usize) -> ReadResult<Vec<u8>> {
    match place {
        StorageBytes::InFile { begin, .. } => {
            let mut bytes = vec![0; to.saturating_sub(from)];
            file.seek(SeekFrom::Start(begin + from as u64))
                .map_err(text)?;
            file.read_exact(&mut bytes).map_err(text)?;
            Ok(bytes)
        }
        StorageBytes::Here(all) => all
            .get(from..to)
            .map(<[u8]>::to_vec)
            .ok_or_else(|| "its storage is too short".to_string()),
    }
}

/// The end of the last element, in elements of the storage. `None` on overflow.
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

/// The elements in row-major order, regardless of the strides.
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
