//! A visual prompt (Bahng et al. 2022): a frame of learned pixels around the normalised image, for
//! a frozen model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effort, Method, MethodOptions, Start, declare};
use crate::declaration::Declaration;
use crate::models::config::Config;
use crate::models::prompt;
use crate::models::{Model, TensorSpec, Weights};
use crate::ops::{Tape, Value};
use crate::{Error, Result};

pub(super) const PROMPT: Declaration<dyn MethodOptions> = declare::<Options>(
    "prompt",
    "A frame of learned pixels around the images, for a frozen model.",
);

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Options {
    /// Width of the frame in pixels, less than half of the image.
    #[schemars(range(min = 1, max = 512))]
    pad: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { pad: 30 }
    }
}

impl MethodOptions for Options {
    fn effort(&self, config: &Config) -> Effort {
        Effort {
            passes: 2.0,
            written: (12 * self.pad * config.input.size.saturating_sub(self.pad)) as f64,
            ..Effort::default()
        }
    }

    fn build(&self, start: &Start) -> Result<Box<dyn Method>> {
        Ok(Box::new(Prompt::new(start.model, self.pad)?))
    }
}

/// Only the frame trains; the model runs in evaluation mode.
pub struct Prompt {
    /// The width of the frame in pixels.
    pad: usize,
}

impl Prompt {
    /// Refuses a frame that covers the whole image, and a model that has a prompt already.
    pub fn new(model: &Model, pad: usize) -> Result<Self> {
        let size = model.config().input.size;
        if pad == 0 || 2 * pad >= size {
            return Err(Error::Invalid(format!(
                "a prompt of {pad} pixels leaves nothing of images of {size}; `pad` is 1 to {}",
                size.saturating_sub(1) / 2
            )));
        }
        if model.config().prompt.is_some() {
            let message = "the model has a visual prompt already; `ft` trains it further";
            return Err(Error::Invalid(message.to_string()));
        }
        Ok(Self { pad })
    }
}

impl Method for Prompt {
    fn trains(&self, _tensor: &TensorSpec) -> bool {
        false
    }

    fn additions(&self, model: &Model) -> Vec<TensorSpec> {
        prompt::tensors(self.pad, model.config().input.size)
    }

    fn training_mode(&self) -> bool {
        false
    }

    fn input(&self, tape: &Tape, parameters: &dyn Weights, images: Value) -> Result<Value> {
        prompt::framed(tape, &images, |name| parameters.weight(tape, name))
    }

    fn finish(&self, trained: Model, additions: &dyn Weights) -> Result<Model> {
        let tape = Tape::new();
        let config = Config {
            prompt: Some(self.pad),
            ..trained.config().clone()
        };
        let mut tensors = trained.into_tensors();
        for spec in prompt::tensors(self.pad, config.input.size) {
            let side = additions.weight(&tape, &spec.name)?.into_tensor();
            tensors.insert(spec.name, side);
        }
        Model::from_tensors(config, tensors)
    }
}
