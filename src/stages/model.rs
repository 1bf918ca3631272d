//! Converts models between artifacts (trees of tensors) and the library.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::task::{Context, TaskError, TaskInput};
use crate::diag::nearest;
use crate::ml::models::{Config, Model, catalogue};
use crate::store::artifact::{Artifact, TensorEntry, Tensors};
use crate::store::tensors as stored;

/// Loads the model in `input` onto the device of `context`.
pub fn read(context: &Context, input: &TaskInput) -> Result<Model, TaskError> {
    let tree = tensors(input)?;
    let config = config(input)?;
    let tensors = tree
        .tensors
        .iter()
        .map(|(name, entry)| Ok((name.clone(), decode(context, name, entry)?)))
        .collect::<Result<BTreeMap<_, _>, TaskError>>()?;
    Ok(Model::from_tensors(config, tensors)?)
}

/// The config of the model in `input`.
pub fn config(input: &TaskInput) -> Result<Config, TaskError> {
    serde_json::from_value(tensors(input)?.config.clone())
        .map_err(|error| TaskError::Input(format!("this version can't read the model: {error}")))
}

/// The tree of tensors in `input`.
pub fn tensors(input: &TaskInput) -> Result<&Tensors, TaskError> {
    match &input.artifact {
        Artifact::Tensors(tree) => Ok(tree),
        _ => Err(TaskError::Input("expected a model".to_string())),
    }
}

/// Writes `model` as a tree of tensors.
pub fn write(context: &Context, model: &Model) -> Result<Artifact, TaskError> {
    // A config contains only strings and finite numbers, which always encode.
    let config = serde_json::to_value(model.config()).unwrap_or_default();
    let named = model
        .tensors()
        .iter()
        .map(|(name, tensor)| {
            let (dtype, bytes) = encode(tensor)?;
            Ok((name.clone(), dtype, tensor.dims().to_vec(), bytes))
        })
        .collect::<Result<Vec<_>, TaskError>>()?;
    let tree = stored::save(context.blobs, config, &named)?;
    Ok(Artifact::Tensors(tree))
}

fn encode(tensor: &Tensor) -> Result<(&'static str, Vec<u8>), TaskError> {
    let flat = tensor.flatten_all()?;
    Ok(match tensor.dtype() {
        DType::I64 => {
            let values = flat.to_vec1::<i64>()?;
            (
                "I64",
                values.iter().flat_map(|it| it.to_le_bytes()).collect(),
            )
        }
        _ => {
            let values = flat.to_dtype(DType::F32)?.to_vec1::<f32>()?;
            (
                "F32",
                values.iter().flat_map(|it| it.to_le_bytes()).collect(),
            )
        }
    })
}

fn decode(context: &Context, name: &str, entry: &TensorEntry) -> Result<Tensor, TaskError> {
    let bytes = stored::bytes(context.blobs, entry)?;
    let (shape, device) = (entry.shape.as_slice(), &context.device);
    match entry.dtype.as_str() {
        "F32" => Ok(Tensor::from_vec(
            numbers(&bytes, f32::from_le_bytes),
            shape,
            device,
        )?),
        "I64" => Ok(Tensor::from_vec(
            numbers(&bytes, i64::from_le_bytes),
            shape,
            device,
        )?),
        other => Err(TaskError::Input(format!(
            "tensor `{name}` has type {other}; only F32 and I64 are supported"
        ))),
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], decode: fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = bytes.as_chunks::<N>();
    chunks.iter().map(|chunk| decode(*chunk)).collect()
}

/// The message and hint for a name that is not in the catalogue of architectures.
pub struct UnknownArchitecture {
    pub message: String,
    pub hint: String,
    /// Whether the name is completely unknown, without a similar one.
    pub is_strange: bool,
}

impl UnknownArchitecture {
    pub fn of(name: &str) -> Self {
        let names = catalogue::names();
        let names = || names.iter().map(String::as_str);
        let unknown = format!("there is no architecture `{name}`");
        let known = |message, hint| Self {
            message,
            hint,
            is_strange: false,
        };
        if let Some(lacks) = catalogue::lacking(name) {
            let message = format!("`{name}` is not supported: its network has {lacks}");
            let hint =
                "plain vision transformers and ResNets are supported: `ribflow models` lists them";
            return known(message, hint.to_string());
        }
        if let Some(twin) = deit(name) {
            let hint = format!("it has the same network as `{twin}`: use `arch: {twin}`");
            return known(unknown, hint);
        }
        // For `vit_tiny`, the edit distance of `vit_mini` is smaller than that of
        // `vit_tiny_patch16_224`.
        let longer = names().find(|known| !name.is_empty() && known.starts_with(name));
        match longer.or_else(|| nearest(name, names())) {
            Some(near) => known(unknown, format!("did you mean `{near}`?")),
            None => Self {
                message: unknown,
                hint: "`ribflow models` lists them".to_string(),
                is_strange: true,
            },
        }
    }
}

/// The ViT with the same network as a first-generation DeiT.
fn deit(name: &str) -> Option<String> {
    let (name, _) = name.split_once('.').unwrap_or((name, ""));
    let twin = format!("vit_{}", name.strip_prefix("deit_")?);
    catalogue::find(&twin).map(|_| twin)
}
