//! The file formats of state dicts, distinguished by their first bytes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde_json::Value;

use super::choice::{Part, prefixed};
use super::{StateDict, Weights, safetensors, torch};
use crate::{Error, Result};

/// Index files of sharded checkpoints, which map each tensor to a shard: of safetensors and of
/// `torch.save`.
const INDICES: [&str; 2] = [".safetensors.index.json", ".bin.index.json"];
/// The usual names of weights in a folder, best first.
pub const USUAL: [&str; 5] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];
/// Prefixes that wrappers of models add to every name.
const PREFIXES: [&str; 11] = [
    "_orig_mod.",
    "module.",
    "model.",
    "net.",
    "network.",
    "backbone.",
    "encoder.",
    "teacher.",
    "student.",
    "ema.",
    "ema_model.",
];
/// Bytes of an index: that of a model with a hundred thousand tensors has about ten million.
const LONGEST_INDEX: u64 = 64 << 20;
/// The maximum nesting of wrappers.
const MOST_WRAPPERS: usize = 8;

/// Reads the state dict in `path`: a safetensors file, the index of a sharded one, a file of
/// `torch.save`, or a folder with one of these under its usual name.
///
/// Pickles are parsed, never executed. Of several state dicts in one file, the one at `wanted` is
/// selected: keys and a prefix of names, joined by dots. The default is the one that timm's
/// `load_state_dict` selects: `state_dict_ema`, `model_ema`, `state_dict`, `model`; and
/// `model_state_dict`. If none of these exists, it is the only state dict of the file, or the first
/// under a further usual key, such as `ema`, `teacher` or `net`. Prefixes such as `module.` that
/// all names share are removed.
pub fn read(path: &Path, wanted: Option<&str>) -> Result<Weights> {
    if path.is_dir() {
        return read(&usual(path)?, wanted);
    }
    let weights = match is_index(path) {
        true => sharded(path, wanted)?,
        false => single(path, wanted)?,
    };
    Ok(unwrapped(weights))
}

/// Whether `path` is the index of a sharded file.
pub fn is_index(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| INDICES.iter().any(|end| name.ends_with(end)))
}

/// The files that `index` names, in the same folder.
pub fn shards(index: &Path) -> Result<BTreeSet<String>> {
    Ok(weight_map(index)?
        .into_iter()
        .map(|(_, shard)| shard)
        .collect())
}

fn usual(folder: &Path) -> Result<PathBuf> {
    let places = USUAL.iter().map(|name| folder.join(name));
    let found = places.into_iter().find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::Invalid(format!(
            "{} holds none of {}",
            folder.display(),
            USUAL.join(", ")
        ))
    })
}

fn single(path: &Path, wanted: Option<&str>) -> Result<Weights> {
    let start = start(path).map_err(|error| damaged(path, &error))?;
    let weights = if start.starts_with(torch::ZIP) {
        torch::zipped(path, wanted)
    } else if start.first() == Some(&torch::PICKLE) {
        torch::legacy(path, wanted)
    } else if safetensors::is_safetensors(&start) {
        safetensors::read(path).and_then(|tensors| part(tensors, wanted))
    } else {
        Err("it is neither a safetensors file nor one of `torch.save`".to_string())
    };
    weights.map_err(|why| damaged(path, &why))
}

/// Selects from tensors without keys around them.
fn part(tensors: StateDict, wanted: Option<&str>) -> std::result::Result<Weights, String> {
    match wanted {
        Some(wanted) => prefixed(tensors, wanted),
        None => Ok(Part {
            tensors,
            place: Vec::new(),
            beside: Vec::new(),
        }),
    }
}

fn start(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    fs::File::open(path)?.take(64).read_to_end(&mut start)?;
    Ok(start)
}

/// The tensors of all shards that the index names.
fn sharded(index: &Path, wanted: Option<&str>) -> Result<Weights> {
    let mut tensors = StateDict::new();
    for shard in shards(index)? {
        let found = single(&index.with_file_name(&shard), None)?.tensors;
        if let Some(name) = found.keys().find(|name| tensors.contains_key(*name)) {
            let why = format!("`{name}` is in `{shard}` and in another of its shards");
            return Err(damaged(index, &why));
        }
        tensors.extend(found);
    }
    let mut names = weight_map(index)?.into_iter().map(|(name, _)| name);
    match names.find(|name| !tensors.contains_key(name)) {
        Some(name) => Err(damaged(
            index,
            &format!("`{name}` is in none of its shards"),
        )),
        None => part(tensors, wanted).map_err(|why| damaged(index, &why)),
    }
}

/// The file of each tensor that `index` names, which is a plain name.
fn weight_map(index: &Path) -> Result<Vec<(String, String)>> {
    let mut bytes = Vec::new();
    fs::File::open(index)
        .and_then(|file| file.take(LONGEST_INDEX + 1).read_to_end(&mut bytes))
        .map_err(|error| damaged(index, &error))?;
    if bytes.len() as u64 > LONGEST_INDEX {
        return Err(damaged(index, &"it is larger than any index of shards"));
    }
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(index, &error))?;
    let Some(map) = document["weight_map"].as_object() else {
        return Err(damaged(index, &"there is no `weight_map`"));
    };
    map.iter()
        .map(|(name, shard)| {
            let shard = shard.as_str().unwrap_or_default();
            let mut parts = Path::new(shard).components();
            match (parts.next(), parts.next()) {
                // A path forgets a slash or a dot at its end.
                (Some(Component::Normal(part)), None) if part == shard => {
                    Ok((name.clone(), shard.to_string()))
                }
                _ => Err(damaged(
                    index,
                    &format!("the shard `{shard}` is not a file beside it"),
                )),
            }
        })
        .collect()
}

/// Removes prefixes that all names share.
fn unwrapped(mut weights: Weights) -> Weights {
    for _ in 0..MOST_WRAPPERS {
        let tensors = &weights.tensors;
        let before_all = |prefix: &&&str| tensors.keys().all(|name| name.starts_with(**prefix));
        let Some(prefix) = PREFIXES
            .iter()
            .find(before_all)
            .filter(|_| !tensors.is_empty())
        else {
            break;
        };
        weights.tensors = std::mem::take(&mut weights.tensors)
            .into_iter()
            .map(|(name, tensor)| (name[prefix.len()..].to_string(), tensor))
            .collect();
        let prefix = prefix.trim_end_matches('.');
        weights.place.push(prefix.to_string());
    }
    weights
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> Error {
    let name = path.file_name().unwrap_or(path.as_os_str());
    Error::Invalid(format!("{}: {why}", name.to_string_lossy()))
}
