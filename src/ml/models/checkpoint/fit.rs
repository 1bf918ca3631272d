//! Matches a state dict with the tensors of a model.

use candle_core::{DType, Device, Tensor};

use super::{StateDict, Weights, positions, resample};
use crate::models::{Config, Initial, Model, Network, TensorSpec, catalogue};
use crate::{Error, Result};

/// The weights of the patch embedding.
const PATCHES: &str = "patch_embed.proj.weight";
/// The maximum number of names of one type that an error lists.
const MOST_NAMED: usize = 8;

/// The model of `config` with exactly the tensors of `found`: names and shapes must be those of
/// timm and torchvision. Position embeddings of another image size are resampled; batch-norm
/// counters may be missing.
///
/// # Errors
/// Lists missing, unexpected and differently shaped tensors, and says what the tensors look like
/// instead.
pub fn fit(config: Config, mut found: StateDict) -> Result<Model> {
    let mut tensors = StateDict::new();
    let (mut missing, mut misshapen) = (Vec::new(), Vec::new());
    let given = found.clone();
    for spec in &config.tensors() {
        let Some(tensor) = found.remove(&spec.name) else {
            match spec.initial {
                Initial::Counter => drop(tensors.insert(spec.name.clone(), counter()?)),
                _ => missing.push(spec.name.clone()),
            }
            continue;
        };
        let tensor = adapted(&config, spec, tensor)?;
        misshapen.extend(difference(spec, &tensor));
        tensors.insert(spec.name.clone(), tensor);
    }
    let lacking = lacking(found.keys());
    let superfluous: Vec<String> = found.into_keys().collect();
    let problems = [
        listed("missing", &missing),
        listed("not in the model", &superfluous),
        listed("of another shape", &misshapen),
    ];
    let problems: Vec<String> = problems.into_iter().flatten().collect();
    if problems.is_empty() {
        return Model::from_tensors(config, tensors);
    }
    let hint = match (hint(&given, &config), misshapen.is_empty()) {
        (Some(hint), _) => hint,
        _ if lacking.is_some() => lacking.unwrap_or_default(),
        (None, false) if closest_architecture(&given).is_some() => {
            "its tensors are those of another size".to_string()
        }
        (None, true) if closest_architecture(&given).is_some() => {
            "its other tensors are those of the model".to_string()
        }
        _ if 2 * missing.len() > tensors.len() => {
            "tensors must have the names that timm or torchvision gives them".to_string()
        }
        _ => "`ribflow models` lists what else may fit".to_string(),
    };
    Err(Error::Invalid(format!(
        "the checkpoint is not one of `{}`: {} ({hint})",
        config.arch,
        problems.join("; "),
    )))
}

/// Names the unsupported parts of a network that unexpected tensors belong to.
fn lacking<'t>(found: impl Iterator<Item = &'t String> + Clone) -> Option<String> {
    let lacks = catalogue::lacking_of(found);
    let (_, tensor) = lacks.first()?;
    let parts: Vec<&str> = lacks.iter().map(|(part, _)| *part).collect();
    Some(format!(
        "`{tensor}` belongs to a network with {}, which is not supported",
        parts.join(" and ")
    ))
}

/// Where the expected tensors are, or which model the given ones belong to, if known.
fn hint(given: &StateDict, config: &Config) -> Option<String> {
    let under = under(given, config);
    if under.is_empty() {
        let name = closest_architecture(given).filter(|name| *name != config.arch)?;
        return Some(format!("its tensors are those of `{name}`"));
    }
    let under: Vec<String> = under.iter().map(|prefix| format!("`{prefix}`")).collect();
    let under = under.join(" and ");
    Some(format!(
        "the file has them under {under}: `weights` takes one"
    ))
}

/// The tensors under the only prefix with those of a backbone of `config`, if a state dict contains
/// the model inside another one. Not if the outer model has the classifier: it would be lost.
pub fn rooted(found: Weights, config: &Config) -> Weights {
    let prefixes = under(&found.tensors, config);
    let head = format!("{}.weight", config.head());
    let [prefix] = prefixes.as_slice() else {
        return found;
    };
    let is_inside = |name: &str| is_backbone(name, config);
    if found.tensors.keys().any(|name| is_inside(name)) || found.tensors.contains_key(&head) {
        return found;
    }
    let start = format!("{prefix}.");
    let mut place = found.place;
    place.push(prefix.clone());
    let (inside, outside): (StateDict, StateDict) = found
        .tensors
        .into_iter()
        .partition(|(name, _)| name.starts_with(&start));
    let mut beside = found.beside;
    beside.extend(outside.into_keys());
    let tensors = inside.into_iter();
    Weights {
        tensors: tensors
            .map(|(name, tensor)| (name[start.len()..].to_string(), tensor))
            .collect(),
        place,
        beside,
    }
}

fn is_backbone(name: &str, config: &Config) -> bool {
    let specs = config.tensors();
    specs.iter().any(|spec| !spec.head && spec.name == name)
}

/// The prefixes with the tensors of a backbone.
fn under(found: &StateDict, config: &Config) -> Vec<String> {
    let specs = config.tensors();
    let Some(first) = specs.iter().find(|spec| !spec.head) else {
        return Vec::new();
    };
    let end = format!(".{}", first.name);
    let prefixes = found.keys().filter_map(|name| name.strip_suffix(&end));
    prefixes.map(str::to_string).collect()
}

fn counter() -> Result<Tensor> {
    Ok(Tensor::zeros((), DType::I64, &Device::Cpu)?)
}

/// Converts the tensor for the model: positions for its number of patches, counters as scalars.
fn adapted(config: &Config, spec: &TensorSpec, tensor: Tensor) -> Result<Tensor> {
    let fits = tensor.dims() == spec.shape.as_slice();
    match (&config.network, spec.initial) {
        (Network::Vit(vit), _) if spec.name == "pos_embed" && !fits => {
            let width = tensor.dims().last() == Some(&vit.width);
            match width && positions::grid(&tensor).is_some() && is_float(&tensor) {
                true => resample(&tensor, config.input.size / vit.patch),
                false => Ok(tensor),
            }
        }
        // As timm reshapes weights from before its patch embedding was a convolution.
        (Network::Vit(_), _) if spec.name == PATCHES && tensor.rank() < 4 => {
            match tensor.elem_count() == spec.shape.iter().product::<usize>()
                && tensor.dims().first() == spec.shape.first()
            {
                true => Ok(tensor.reshape(spec.shape.as_slice())?),
                false => Ok(tensor),
            }
        }
        (_, Initial::Counter) if tensor.elem_count() == 1 => {
            Ok(tensor.to_dtype(DType::I64)?.reshape(())?)
        }
        _ => Ok(tensor),
    }
}

fn is_float(tensor: &Tensor) -> bool {
    tensor.dtype() == DType::F32
}

/// How `tensor` differs from the one that the model has.
fn difference(spec: &TensorSpec, tensor: &Tensor) -> Option<String> {
    let (is, should) = (tensor.dims(), spec.shape.as_slice());
    if is != should {
        return Some(format!("{} is {is:?} instead of {should:?}", spec.name));
    }
    let counts = matches!(spec.initial, Initial::Counter);
    match (counts, is_float(tensor)) {
        (false, false) => Some(format!("{} holds whole numbers", spec.name)),
        (true, true) => Some(format!("{} holds no whole numbers", spec.name)),
        _ => None,
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

/// The architecture of the catalogue with these tensors, preferably for the same image size;
/// classifiers may differ.
fn closest_architecture(found: &StateDict) -> Option<String> {
    let architectures = || {
        let names = catalogue::names().into_iter();
        let plain = names.filter(|name| !name.contains('.'));
        plain.filter_map(|name| Some((catalogue::find(&name)?.config(&[]), name)))
    };
    let alike = |with_positions: bool| {
        let mut all = architectures();
        all.find(|(config, _)| has_tensors_of(found, config, with_positions))
            .map(|(_, name)| name)
    };
    alike(true).or_else(|| alike(false))
}

fn has_tensors_of(found: &StateDict, config: &Config, with_positions: bool) -> bool {
    let counts = |spec: &TensorSpec| !matches!(spec.initial, Initial::Counter);
    let specs = config.tensors();
    let mut backbone = specs.iter().filter(|spec| !spec.head && counts(spec));
    let heads = |name: &&String| !name.starts_with(&format!("{}.", config.head()));
    let counters = |name: &&String| !name.ends_with(".num_batches_tracked");
    let there = found.keys().filter(heads).filter(counters).count();
    there == backbone.clone().count()
        && backbone.all(|spec| {
            let tensor = found.get(&spec.name);
            let free = spec.name == "pos_embed" && !with_positions;
            tensor.is_some_and(|tensor| free || tensor.dims() == spec.shape.as_slice())
        })
}
