//! A state dict as the tensors of a model.

use candle_core::{DType, Device, Tensor};

use super::{StateDict, resample};
use crate::ml::models::{Config, Initial, Model, Network, TensorSpec};
use crate::ml::{Error, Result};

/// Names of one sort that an error lists.
const MOST_NAMED: usize = 8;

/// The model of `config` with the tensors of `found`, exactly: names and shapes must be those of
/// timm and torchvision. Position embeddings of another image size are resampled, counters of
/// batch norms may be absent.
///
/// # Errors
/// One that lists what is missing, superfluous or of another shape.
pub fn fit(config: Config, mut found: StateDict) -> Result<Model> {
    let specs = config.tensors();
    let mut tensors = StateDict::new();
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    for spec in &specs {
        let Some(tensor) = found.remove(&spec.name) else {
            match spec.initial {
                Initial::Counter => drop(tensors.insert(spec.name.clone(), counter()?)),
                _ => missing.push(spec.name.clone()),
            }
            continue;
        };
        let tensor = adapted(&config, spec, tensor)?;
        if tensor.dims() != spec.shape.as_slice() {
            let (is, should) = (tensor.dims(), &spec.shape);
            misshapen.push(format!("{} is {is:?} instead of {should:?}", spec.name));
        }
        tensors.insert(spec.name.clone(), tensor);
    }
    let superfluous: Vec<String> = found.into_keys().collect();
    let problems = [
        listed("missing", &missing),
        listed("not in the model", &superfluous),
        listed("of another shape", &misshapen),
    ];
    let problems: Vec<String> = problems.into_iter().flatten().collect();
    if !problems.is_empty() {
        return Err(Error::Invalid(format!(
            "the checkpoint is not one of `{}`: {}",
            config.arch,
            problems.join("; ")
        )));
    }
    Model::from_tensors(config, tensors)
}

fn counter() -> Result<Tensor> {
    Ok(Tensor::zeros((), DType::I64, &Device::Cpu)?)
}

/// The tensor as the model has it: positions for its number of patches, counters as scalars.
fn adapted(config: &Config, spec: &TensorSpec, tensor: Tensor) -> Result<Tensor> {
    if let (Network::Vit(vit), "pos_embed") = (&config.network, spec.name.as_str()) {
        let fits = tensor.dims() == spec.shape.as_slice();
        let [1, _, width] = tensor.dims()[..] else {
            return Ok(tensor);
        };
        if !fits && width == vit.width {
            return resample(&tensor, config.input.size / vit.patch);
        }
    }
    match spec.initial {
        Initial::Counter if tensor.elem_count() == 1 => {
            Ok(tensor.to_dtype(DType::I64)?.reshape(())?)
        }
        _ => Ok(tensor),
    }
}

fn listed(what: &str, names: &[String]) -> Option<String> {
    let (first, more) = names.split_at(names.len().min(MOST_NAMED));
    let first = match first {
        [] => return None,
        names => names.join(", "),
    };
    Some(match more.len() {
        0 => format!("{what}: {first}"),
        more => format!("{what}: {first} and {more} more"),
    })
}
