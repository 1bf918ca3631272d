//! `ribflow models [NAME]`: lists the architectures and their published checkpoints.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};

use super::call::Call;
use super::failure::{Exit, Failure};
use crate::ml::models::{Architecture, Role, catalogue};
use crate::stages::model::UnknownArchitecture;
use crate::ui::table::Table;

/// What `--help` begins with.
const ABOUT: &str = "\
List architectures and their published checkpoints

Shows the number of parameters and outputs of the published checkpoint, the input size in pixels, the
mean and standard deviation of the channels, and the evaluation transform: the size to which the
shorter side is resized, and the share that the crop keeps.";

/// What `--help` ends with.
const EXAMPLES: &str = "\
Examples:
  ribflow models                        all architectures
  ribflow models vit_base_patch16_224   one architecture and its checkpoints
  ribflow models resnet --json          all ResNets, as JSON";

/// List architectures and their published checkpoints
#[derive(Clone, Debug, Args)]
#[command(long_about = ABOUT, after_help = EXAMPLES)]
pub struct ModelsArguments {
    /// Show only names with this prefix
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

pub fn run(
    arguments: &ModelsArguments,
    call: &Call,
    output: &mut dyn Write,
) -> Result<Exit, Failure> {
    let common = call.common;
    let models = chosen(arguments.name.as_deref())?;
    if common.json {
        let models: Vec<Value> = models.iter().map(document).collect();
        serde_json::to_writer(&mut *output, &json!({ "models": models }))?;
        writeln!(output)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        "model",
        "parameters",
        "outputs",
        "size",
        "mean",
        "std",
        "resize",
        "crop",
    ]);
    for model in &models {
        let input = &model.input;
        let filter = serde_json::to_value(input.interpolation)?;
        table.row([
            model.name.clone(),
            parameters(model).map_or_else(|| "-".to_string(), millions),
            model
                .outputs
                .map_or_else(|| "-".to_string(), |it| it.to_string()),
            input.size.to_string(),
            channels(input.mean),
            channels(input.std),
            format!(
                "{} {}",
                input.transform().resize,
                filter.as_str().unwrap_or_default()
            ),
            input.crop.to_string(),
        ]);
    }
    for line in table.lines() {
        writeln!(output, "{line}")?;
    }
    Ok(Exit::Done)
}

/// All models, or those whose name starts with `name`.
fn chosen(name: Option<&str>) -> Result<Vec<Architecture>, Failure> {
    let names = catalogue::names();
    let wanted = names
        .iter()
        .filter(|candidate| name.is_none_or(|name| candidate.starts_with(name)));
    let models: Vec<Architecture> = wanted.filter_map(|name| catalogue::find(name)).collect();
    match name {
        Some(name) if models.is_empty() => {
            let unknown = UnknownArchitecture::of(name);
            Err(Failure::usage("unknown-model", unknown.message).hint(unknown.hint))
        }
        _ => Ok(models),
    }
}

/// The number of parameters of the published checkpoint.
fn parameters(model: &Architecture) -> Option<usize> {
    model.outputs?;
    let tensors = model.config(&[]).tensors();
    let trained = tensors.iter().filter(|spec| spec.role == Role::Parameter);
    Some(
        trained
            .map(|spec| spec.shape.iter().product::<usize>())
            .sum(),
    )
}

fn millions(count: usize) -> String {
    format!("{:.1} M", count as f64 / 1e6)
}

/// A single number if all channels have the same value.
fn channels(values: [f64; 3]) -> String {
    let [first, second, third] = values.map(|value| format!("{value:.3}"));
    match first == second && second == third {
        true => first,
        false => format!("{first} {second} {third}"),
    }
}

fn document(model: &Architecture) -> Value {
    json!({
        "name": model.name,
        "summary": model.summary,
        "parameters": parameters(model),
        "outputs": model.outputs,
        "size": model.input.size,
        "mean": model.input.mean,
        "std": model.input.std,
        "interpolation": model.input.interpolation,
        "crop": model.input.crop,
        "resize": model.input.transform().resize,
    })
}
