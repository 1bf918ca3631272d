//! Ways of fine-tuning: what each changes about plain training of everything.
//!
//! A method stands in a file of its own, with its options ([`MethodOptions`]) and its hooks
//! ([`Method`]); `METHODS` names them all.

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

/// The options of a method, and what follows from their values.
pub trait MethodOptions {
    /// Values out of their range, and values that contradict each other.
    fn problems(&self) -> Vec<OptionProblem> {
        Vec::new()
    }

    /// Whether only the classifier trains, behind a frozen backbone in evaluation mode. The
    /// features of every image are then computed once.
    fn head_only(&self) -> bool {
        false
    }

    /// Whether the penalty asks for the logits of the model before fine-tuning on every image.
    fn has_teacher(&self) -> bool {
        false
    }

    /// Whether the method reads a second dataset, the input `anchor`.
    fn reads_anchor(&self) -> bool {
        false
    }

    /// The work of training a model of this architecture.
    fn effort(&self, config: &Config) -> Effort;

    /// The method itself.
    ///
    /// # Errors
    /// The options do not fit the model.
    fn build(&self, start: &Start) -> Result<Box<dyn Method>>;
}

/// What a method is built from.
pub struct Start<'a> {
    /// The model before fine-tuning, with the classifier that trains.
    pub model: &'a Model,
    /// The images of the input `anchor`, or those of the training.
    pub anchor: &'a ImageSet<'a>,
    pub seed: u64,
    pub threads: usize,
    pub observer: &'a dyn Observer,
}

/// The work of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Effort {
    /// For each image shown, in forward passes of the model: 1 forward, 1 back through the
    /// activations, 1 for the gradients of the weights (next to nothing where few of them train).
    pub passes: f64,
    /// Forward passes of single images before the training begins.
    pub before: f64,
    /// Numbers of the trained model that differ from those of the given one.
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

    /// A workflow file names an option once, whatever the method.
    #[test]
    fn methods_share_an_option_only_with_the_same_declaration() {
        declaration::tests::shared_options_agree::<dyn MethodOptions>();
    }
}
