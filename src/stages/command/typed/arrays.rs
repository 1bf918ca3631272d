//! Named arrays from a file of safetensors, npz or npy.
//!
//! Arrays with `features` are a set of points, as the kind `arrays` reads them, so that `ot` takes
//! them.

use std::fs::File;

use serde_json::json;
use zip::ZipArchive;

use super::npy::{self, Array};
use super::{OutputFile, base_name};
use crate::ml::models::checkpoint::Growth;
use crate::stages::arrays::{self, Points};
use crate::stages::command::outputs::extension_of;
use crate::stages::task::{Context, TaskError};
use crate::store::artifact::Tensors;
use crate::store::{tensorfile, tensors};

/// The name of the array with points.
const FEATURES: &str = "features";

pub(super) fn read(file: &OutputFile, path: &str, context: &Context) -> Result<Tensors, TaskError> {
    let config = json!({ "holds": "arrays" });
    let found = match extension_of(path) {
        Some("npy") => {
            let stem = base_name(path).trim_end_matches(".npy").to_string();
            let bytes = file.bytes(u64::MAX - 1)?;
            let array = npy::parse(&bytes).map_err(|wrong| file.wrong(wrong))?;
            save(vec![(stem, array)], config, context)?
        }
        Some("npz") => save(npz(file)?, config, context)?,
        _ => {
            let found = tensorfile::import(context.blobs, config, &file.place);
            found.map_err(|error| file.wrong(error))?
        }
    };
    if found.tensors.is_empty() {
        return Err(file.wrong("there are no arrays"));
    }
    match found.tensors.contains_key(FEATURES) {
        true => points(file, &found, context),
        false => Ok(found),
    }
}

fn save(
    arrays: Vec<(String, Array)>,
    config: serde_json::Value,
    context: &Context,
) -> Result<Tensors, TaskError> {
    let named: Vec<tensors::NamedTensor> = arrays
        .into_iter()
        .map(|(name, array)| (name, array.dtype, array.shape, array.bytes))
        .collect();
    Ok(tensors::save(context.blobs, config, &named)?)
}

/// The arrays of an archive that `numpy.savez` wrote.
fn npz(file: &OutputFile) -> Result<Vec<(String, Array)>, TaskError> {
    let wrong = |error: zip::result::ZipError| file.wrong(error);
    let archive = File::open(&file.place).map_err(|error| file.wrong(error))?;
    let length = archive.metadata().map_err(|error| file.wrong(error))?.len();
    let mut growth = Growth::of(length);
    let mut archive = ZipArchive::new(archive).map_err(wrong)?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index(index).map_err(wrong)?;
        let name = entry.name().map_err(wrong)?;
        let name = name.trim_end_matches(".npy").to_string();
        let bytes = growth.read(entry, &format!("`{name}`"));
        let bytes = bytes.map_err(|error| file.wrong(error))?;
        let array = npy::parse(&bytes);
        let array = array.map_err(|error| file.wrong(format_args!("`{name}`: {error}")))?;
        arrays.push((name, array));
    }
    Ok(arrays)
}

/// The same arrays as a set of points with labels and weights.
fn points(file: &OutputFile, found: &Tensors, context: &Context) -> Result<Tensors, TaskError> {
    let names: Vec<&str> = found.tensors.keys().map(String::as_str).collect();
    let points = Points {
        features: FEATURES,
        classes: &[],
    };
    let read = |name: &str| -> Result<Option<arrays::Array>, TaskError> {
        let Some(entry) = found.tensors.get(name) else {
            return Ok(None);
        };
        let bytes = tensors::bytes(context.blobs, entry)?;
        Ok(Some((entry.dtype.clone(), entry.shape.clone(), bytes)))
    };
    points.save(&names, read, |wrong| file.wrong(wrong), context)
}
