//! Fine-tuning methods: how each differs from plain fine-tuning.
//!
//! Each method has a file with its options ([`MethodOptions`]) and its hooks ([`Method`]);
//! `METHODS` lists them all.

mod anchored;
mod lora;
mod lwf;
mod plain;
mod prompt;

use std::sync::LazyLock;

use crate::data::ImageSet;
use crate::declaration::{self, Declaration, Declarations, Declared, OptionProblem, Options};
use crate::models::{Config, Model};
use crate::{Observer, Result};

pub use super::hooks::{Method, Step};
pub use anchored::Anchored;
pub use lora::Lora;
pub use lwf::Lwf;
pub use plain::{Part, Plain};
pub use prompt::Prompt;

/// Every method; the first one is the default.
static METHODS: LazyLock<Declarations<dyn MethodOptions>> = LazyLock::new(|| {
    Declarations::new(vec![
        plain::FT,
        plain::LP,
        lora::LORA,
        prompt::PROMPT,
        lwf::LWF,
        anchored::EWC,
    ])
});

impl Declared for dyn MethodOptions {
    const TITLE: &'static str = "MethodName";
    const DESCRIPTION: Option<&'static str> = Some("The way of fine-tuning.");

    fn list() -> &'static Declarations<Self> {
        &METHODS
    }
}

/// Declares the method `name` with the options `O`.
const fn declare<O: MethodOptions + Options + 'static>(
    name: &'static str,
    summary: &'static str,
) -> Declaration<dyn MethodOptions> {
    Declaration {
        name,
        summary,
        schema: O::json_schema,
        parse: |given| Ok(Box::new(declaration::parse::<O>(given)?)),
        complete: declaration::complete::<O>,
    }
}

/// The options of a method, and their consequences.
pub trait MethodOptions {
    /// Values that are out of range or contradict each other.
    fn problems(&self) -> Vec<OptionProblem> {
        Vec::new()
    }

    /// Whether only the classifier trains, on a frozen backbone in evaluation mode. The features of
    /// every image are then computed once.
    fn head_only(&self) -> bool {
        false
    }

    /// Whether the penalty uses the logits of the model before fine-tuning on every image.
    fn has_teacher(&self) -> bool {
        false
    }

    /// Whether the method reads a second dataset, the input `anchor`.
    fn reads_anchor(&self) -> bool {
        false
    }

    /// The work of training a model of this architecture.
    fn effort(&self, config: &Config) -> Effort;

    /// An option that does not fit a model of this architecture.
    fn misfit(&self, _config: &Config) -> Option<OptionProblem> {
        None
    }

    /// The method itself.
    ///
    /// # Errors
    /// The options do not fit the model.
    fn build(&self, start: &Start) -> Result<Box<dyn Method>>;
}

/// The inputs from which a method is built.
pub struct Start<'a> {
    /// The model before fine-tuning, with the classifier that trains.
    pub model: &'a Model,
    /// The images of the input `anchor`, or the training images.
    pub anchor: &'a ImageSet<'a>,
    pub seed: u64,
    pub threads: usize,
    pub observer: &'a dyn Observer,
}

/// The work of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effort {
    /// For each image shown, in forward passes of the model: 1 for the forward pass, 1 for the
    /// gradients of the activations, 1 for those of the weights (almost none if few of them train).
    pub passes: f64,
    /// Forward passes of single images before the training begins.
    pub before: f64,
    /// The number of values of the trained model that differ from those of the given one.
    pub written: f64,
}

impl Effort {
    /// Every parameter trains.
    pub fn whole_model(config: &Config) -> Self {
        Self {
            passes: 3.0,
            before: 0.0,
            written: config.numbers() as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a workflow file, an option has the same meaning for every method.
    #[test]
    fn methods_share_an_option_only_with_the_same_declaration() {
        declaration::tests::shared_options_agree::<dyn MethodOptions>();
    }
}
