//! A visual prompt (Bahng et al. 2022): a frame of learned pixels around the normalised image, for
//! a frozen model.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effort, Method, MethodOptions, Start, declare};
use crate::declaration::{Declaration, OptionProblem};
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

    fn misfit(&self, config: &Config) -> Option<OptionProblem> {
        misfit(config, self.pad)
    }

    fn build(&self, start: &Start) -> Result<Box<dyn Method>> {
        Ok(Box::new(Prompt::new(start.model, self.pad)?))
    }
}

/// A frame that covers the whole image, or a model that has a prompt already.
fn misfit(config: &Config, pad: usize) -> Option<OptionProblem> {
    let most = config.input.size.saturating_sub(1) / 2;
    if !(1..=most).contains(&pad) {
        let message = format!(
            "a prompt of {pad} pixels leaves nothing of images of {}; `pad` is 1 to {most}",
            config.input.size
        );
        return Some(OptionProblem::new("pad", message));
    }
    let message = "the model has a visual prompt already; `ft` trains it further";
    let has_one = config.prompt.is_some();
    has_one.then(|| OptionProblem::new("method", message))
}

/// Only the frame trains; the model runs in evaluation mode.
pub struct Prompt {
    /// The width of the frame in pixels.
    pad: usize,
}

impl Prompt {
    /// Refuses a frame that covers the whole image, and a model that has a prompt already.
    pub fn new(model: &Model, pad: usize) -> Result<Self> {
        match misfit(model.config(), pad) {
            Some(problem) => Err(Error::Invalid(problem.message)),
            None => Ok(Self { pad }),
        }
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
