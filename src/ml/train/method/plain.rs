//! Plain fine-tuning: `ft` trains the whole model, `lp` its classifier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effort, Method, MethodOptions, Start, declare};
use crate::Result;
use crate::declaration::{Declaration, OptionProblem};
use crate::models::{Config, TensorSpec};

pub(super) const FT: Declaration<dyn MethodOptions> =
    declare::<Ft>("ft", "Plain fine-tuning by the cross-entropy.");

pub(super) const LP: Declaration<dyn MethodOptions> =
    declare::<Lp>("lp", "The same for the classifier only: linear probing.");

/// The part of the model that trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Train {
    /// Everything.
    All,
    /// The classifier, on a frozen backbone in evaluation mode.
    Head,
    /// What the benchmark's released code trains for its head-only method: for a transformer also
    /// the class token, the positions and the outer norms; for a residual network also the batch
    /// norms' statistics.
    Released,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Ft {
    /// The part that trains; default: everything for `ft`, the classifier for `lp`.
    train: Option<Train>,
}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Lp {
    /// The part that trains; default: everything for `ft`, the classifier for `lp`.
    train: Option<Train>,
}

impl Ft {
    fn part(&self) -> Part {
        self.train.map_or(Part::All, Part::from)
    }
}

impl Lp {
    fn part(&self) -> Part {
        self.train.map_or(Part::Head, Part::from)
    }
}

impl MethodOptions for Ft {
    fn head_only(&self) -> bool {
        self.part() == Part::Head
    }

    fn effort(&self, config: &Config) -> Effort {
        Effort::whole_model(config)
    }

    fn build(&self, _start: &Start) -> Result<Box<dyn Method>> {
        Ok(Box::new(Plain { part: self.part() }))
    }
}

impl MethodOptions for Lp {
    fn problems(&self) -> Vec<OptionProblem> {
        let everything = self.train == Some(Train::All);
        let problem = everything.then(|| {
            let problem = OptionProblem::new("train", "`lp` does not train everything");
            problem.hint("method: ft trains everything")
        });
        Vec::from_iter(problem)
    }

    fn head_only(&self) -> bool {
        self.part() == Part::Head
    }

    fn effort(&self, config: &Config) -> Effort {
        Effort {
            passes: 2.0,
            written: ((config.features() + 1) * config.outputs()) as f64,
            ..Effort::default()
        }
    }

    fn build(&self, _start: &Start) -> Result<Box<dyn Method>> {
        Ok(Box::new(Plain { part: self.part() }))
    }
}

/// The part of a model that plain fine-tuning trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Every parameter.
    All,
    /// The classifier only, on a backbone in evaluation mode.
    Head,
    /// The benchmark's released code freezes, for a transformer, the patch embedding and the
    /// blocks; for a residual network, everything except the classifier, while its statistics are
    /// updated.
    Released,
}

impl From<Train> for Part {
    fn from(train: Train) -> Self {
        match train {
            Train::All => Self::All,
            Train::Head => Self::Head,
            Train::Released => Self::Released,
        }
    }
}

/// Fine-tuning by the cross-entropy only.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    pub part: Part,
}

impl Method for Plain {
    fn trains(&self, tensor: &TensorSpec) -> bool {
        match self.part {
            Part::All => true,
            Part::Head => tensor.head,
            Part::Released => tensor.head || tensor.outside_blocks,
        }
    }

    fn training_mode(&self) -> bool {
        self.part != Part::Head
    }
}
