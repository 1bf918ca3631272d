//! The files that state dicts come in: safetensors, whole or sharded, and PyTorch's zip archives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Component, Path, PathBuf};

use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor, safetensors};
use serde_json::Value;

use super::StateDict;
use crate::ml::{Error, Result};

/// Beside the files of a folder of shards: which tensor lies in which.
const INDEX: &str = ".safetensors.index.json";
/// What a folder's weights may be called, best first.
const USUAL: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
];
/// Keys under which training scripts keep the state dict.
const WRAPPERS: [&str; 3] = ["state_dict", "model", "model_state_dict"];
/// What wrappers of models put before every name.
const PREFIXES: [&str; 3] = ["module.", "model.", "_orig_mod."];

/// Reads the state dict in `path`: a `.safetensors` file, the index of a sharded one, a `.pth`,
/// `.pt` or `.bin` archive of PyTorch, or a folder with one of these under its usual name.
///
/// Pickles are read, never executed. A state dict under `state_dict` or `model`, and the prefix
/// `module.` before all names, are seen through.
pub fn read(path: &Path) -> Result<StateDict> {
    if path.is_dir() {
        return read(&usual(path)?);
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    let tensors = if name.ends_with(INDEX) {
        sharded(path)?
    } else if name.ends_with(".safetensors") {
        whole(path)?
    } else {
        archive(path)?
    };
    unwrapped(tensors)
        .into_iter()
        .map(|(name, tensor)| Ok((name, plain(tensor)?)))
        .collect()
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

fn whole(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let tensors = safetensors::load(path, &Device::Cpu).map_err(|error| damaged(path, &error))?;
    Ok(tensors.into_iter().collect())
}

/// The tensors of all shards that the index names.
fn sharded(index: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = fs::read(index).map_err(|error| damaged(index, &error))?;
    let document: Value = serde_json::from_slice(&bytes).map_err(|error| damaged(index, &error))?;
    let Some(map) = document["weight_map"].as_object() else {
        return Err(damaged(index, &"there is no `weight_map`"));
    };
    let shards: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    let mut tensors = BTreeMap::new();
    for shard in shards {
        let mut parts = Path::new(shard).components();
        let (Some(Component::Normal(_)), None) = (parts.next(), parts.next()) else {
            return Err(damaged(
                index,
                &format!("`{shard}` leads out of its folder"),
            ));
        };
        let path = index.with_file_name(shard);
        tensors.extend(whole(&path)?);
    }
    match map.keys().find(|name| !tensors.contains_key(*name)) {
        Some(name) => Err(damaged(
            index,
            &format!("`{name}` is in none of its shards"),
        )),
        None => Ok(tensors),
    }
}

/// A zip archive as `torch.save` writes it since PyTorch 1.6.
fn archive(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let start = fs::File::open(path).and_then(|mut file| {
        let mut start = [0; 4];
        std::io::Read::read_exact(&mut file, &mut start)?;
        Ok(start)
    });
    let start = start.map_err(|error| damaged(path, &error))?;
    if start != *b"PK\x03\x04" {
        let why = "it is neither safetensors nor a zip archive of PyTorch. What \
                   `torch.save` wrote before PyTorch 1.6 can be loaded and saved again there";
        return Err(damaged(path, &why));
    }
    let mut tensors = archived(path, None)?;
    for key in WRAPPERS {
        if !tensors.is_empty() {
            break;
        }
        // The key is not there, or holds something else.
        tensors = archived(path, Some(key)).unwrap_or_default();
    }
    if tensors.is_empty() {
        return Err(damaged(path, &"no state dict was found in it"));
    }
    Ok(tensors)
}

fn archived(path: &Path, key: Option<&str>) -> Result<BTreeMap<String, Tensor>> {
    // The reader indexes into whatever the pickle holds; nothing of it outlives a panic.
    let reading = catch_unwind(AssertUnwindSafe(|| {
        let archive = PthTensors::new(path, key)?;
        let names: Vec<String> = archive.tensor_infos().keys().cloned().collect();
        let mut tensors = BTreeMap::new();
        for name in names {
            if let Some(tensor) = archive.get(&name)? {
                tensors.insert(name, tensor);
            }
        }
        candle_core::Result::Ok(tensors)
    }));
    match reading {
        Ok(Ok(tensors)) => Ok(tensors),
        Ok(Err(error)) => Err(damaged(path, &error)),
        Err(_) => Err(damaged(path, &"its pickle is not one of a state dict")),
    }
}

/// The same without a prefix that stands before all names.
fn unwrapped(mut tensors: BTreeMap<String, Tensor>) -> BTreeMap<String, Tensor> {
    for prefix in PREFIXES {
        if !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(prefix)) {
            tensors = tensors
                .into_iter()
                .map(|(name, tensor)| (name[prefix.len()..].to_string(), tensor))
                .collect();
        }
    }
    tensors
}

fn plain(tensor: Tensor) -> Result<Tensor> {
    Ok(match tensor.dtype() {
        DType::F32 | DType::I64 => tensor.contiguous()?,
        DType::U8 | DType::U32 | DType::I16 | DType::I32 => tensor.to_dtype(DType::I64)?,
        _ => tensor.to_dtype(DType::F32)?.contiguous()?,
    })
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> Error {
    let name = path.file_name().unwrap_or(path.as_os_str());
    Error::Invalid(format!("{}: {why}", name.to_string_lossy()))
}
