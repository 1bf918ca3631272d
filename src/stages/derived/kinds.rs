//! The kinds of derived work, and the keys that their bytes follow from.

use std::sync::Arc;

use super::{InputArtifacts, Work};
use crate::digest::Digest;
use crate::ml::data::decode::DECODER;
use crate::ml::data::resize::Transform;
use crate::ml::models::Config;
use crate::ml::ops::KERNELS;
use crate::ml::train::infer::ROWS_APART;
use crate::stages::images;
use crate::store::artifact::{Artifact, Dataset, Images, Part, TensorEntry, Tensors};

/// The maximum size of a piece of pixels in bytes, unless one image is larger.
const PIXEL_PIECE: usize = 64 << 20;
/// The number of rows in a piece of features or logits.
const ROW_PIECE: usize = 32 * ROWS_APART;

/// The pixels of `part` under `target`; `None` if they are already stored in that form.
pub fn pixels(part: &Part, target: Option<&Transform>) -> Option<Work> {
    let target = target?;
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 derived pixels v2");
    // Strings and small numbers always encode.
    hasher.update(&serde_json::to_vec(&(DECODER, target)).unwrap_or_default());
    if let Images::Packed { height, width, .. } = &part.images
        && (*height, *width) == (target.crop, target.crop)
    {
        return None;
    }
    add_content(&mut hasher, part);
    let rows = images::count_of(part);
    let width = 3 * target.crop * target.crop;
    let size = format!("{0}×{0}", target.crop);
    Some(Work {
        kind: "pixels",
        key: Digest::finish(&hasher),
        what: format!("{rows} images as {size} u8, cut from {}", target.resize),
        rows,
        width,
        each: (PIXEL_PIECE / width.max(1)).max(1),
    })
}

/// The pooled features of a dataset before the classifier of a model.
pub fn features(model: &Tensors, config: &Config, data: &Dataset, device_class: &str) -> Work {
    let head = format!("{}.", config.head());
    let tensors = model.tensors.iter();
    let tensors = tensors.filter(|(name, _)| !name.starts_with(&head));
    let config = Config {
        arch: String::new(),
        classes: Vec::new(),
        embedding: None,
        headless: false,
        ..config.clone()
    };
    let key = of_model("features", &config, tensors, data, device_class);
    rows_of("features", key, config.features(), data)
}

/// A model's logits on a dataset.
pub fn logits(model: &Tensors, config: &Config, data: &Dataset, device_class: &str) -> Work {
    let outputs = config.outputs();
    let config = Config {
        arch: String::new(),
        classes: Vec::new(),
        embedding: Some(outputs),
        ..config.clone()
    };
    let key = of_model("logits", &config, model.tensors.iter(), data, device_class);
    rows_of("logits", key, outputs, data)
}

fn rows_of(kind: &'static str, key: Digest, width: usize, data: &Dataset) -> Work {
    let rows = images::count(data);
    Work {
        kind,
        key,
        what: format!("{rows} rows of {width} f32"),
        rows,
        width: 4 * width,
        each: ROW_PIECE,
    }
}

fn of_model<'a>(
    kind: &str,
    config: &Config,
    tensors: impl Iterator<Item = (&'a String, &'a TensorEntry)>,
    data: &Dataset,
    device_class: &str,
) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 derived rows v1");
    let head = (kind, device_class, KERNELS, DECODER, config);
    // Strings and finite numbers always encode.
    hasher.update(&serde_json::to_vec(&head).unwrap_or_default());
    for (name, entry) in tensors {
        hasher.update(&serde_json::to_vec(&(name, entry.digest)).unwrap_or_default());
    }
    for part in &data.parts {
        add_content(&mut hasher, part);
    }
    Digest::finish(&hasher)
}

/// Hashes what the pixels of a part follow from.
fn add_content(hasher: &mut blake3::Hasher, part: &Part) {
    match &part.images {
        Images::Packed {
            pixels,
            height,
            width,
            ..
        } => {
            hasher.update(&height.to_le_bytes());
            hasher.update(&width.to_le_bytes());
            hasher.update(pixels.digest.as_bytes());
        }
        Images::Encoded { files, border } => {
            hasher.update(&border.to_le_bytes());
            for file in files {
                hasher.update(file.blob.digest.as_bytes());
            }
        }
    }
}

/// The derived work of kinds that evaluate a model on a dataset: the pixels under the model's
/// transform, and what `more` adds.
pub fn of_model_and_data(
    given: &InputArtifacts,
    model: &str,
    data: &str,
    more: impl Fn(&Tensors, &Config, &Dataset) -> Vec<Work>,
) -> Vec<Work> {
    let of = |name: &str| given.get(name).map(Arc::as_ref);
    let (Some(Artifact::Tensors(tensors)), Some(Artifact::Dataset(dataset))) =
        (of(model), of(data))
    else {
        return Vec::new();
    };
    let Ok(config) = serde_json::from_value::<Config>(tensors.config.clone()) else {
        return Vec::new();
    };
    let transform = config.input.transform();
    let parts = dataset.parts.iter();
    let mut works: Vec<Work> = parts
        .filter_map(|part| pixels(part, Some(&transform)))
        .collect();
    works.extend(more(tensors, &config, dataset));
    works
}
