//! A model from a file of weights: its tensors must have exactly the names and shapes of a known
//! structure. So a model from withheld data holds nothing but weights.

use super::OutputFile;
use crate::ml::models::checkpoint::{fit, read as read_weights, rooted};
use crate::ml::models::{Config, catalogue};
use crate::stages::command::outputs::ModelFile;
use crate::stages::model;
use crate::stages::task::{Context, TaskError};
use crate::store::artifact::Artifact;

pub(super) fn read(
    file: &OutputFile,
    options: &ModelFile,
    context: &Context,
) -> Result<Artifact, TaskError> {
    let config = config(options, context)?;
    let wrong = |error: crate::ml::Error| file.wrong(error);
    let weights = read_weights(&file.place, None).map_err(wrong)?;
    let weights = rooted(weights, &config);
    let fitted = fit(config, weights.tensors).map_err(wrong)?;
    model::write(context, &fitted)
}

/// The structure, with the classes of the model.
fn config(options: &ModelFile, context: &Context) -> Result<Config, TaskError> {
    let classes = match &options.classes {
        Some(input) => match &context.input(input)?.artifact {
            Artifact::Dataset(dataset) => Some(dataset.classes.clone()),
            _ => return Err(TaskError::Input(format!("`{input}` is not a dataset"))),
        },
        None => None,
    };
    if let Some(like) = &options.like {
        let mut config = model::config(context.input(like)?)?;
        if let Some(classes) = classes {
            config.classes = classes;
            config.embedding = None;
            config.headless = false;
        }
        return Ok(config);
    }
    let name = options.arch.as_deref().unwrap_or_default();
    let found = catalogue::find(name)
        .ok_or_else(|| TaskError::Input(format!("there is no architecture `{name}`")))?;
    Ok(found.config(&classes.unwrap_or_default()))
}
