//! Fine-tuning with a penalty towards the initial parameters: L2-SP (Li, Grandvalet and Davoine
//! 2018), which the benchmark calls EWC, and elastic weight consolidation proper (Kirkpatrick et
//! al. 2017).

use std::collections::BTreeMap;

use candle_core::Tensor;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effort, Method, MethodOptions, Start, Step, declare};
use crate::declaration::Declaration;
use crate::models::{Config, Model, Role};
use crate::ops::Value;
use crate::train::fisher::diagonal;
use crate::{Error, Result};

pub(super) const EWC: Declaration<dyn MethodOptions> = declare::<Options>(
    "ewc",
    "A penalty towards the initial parameters: L2-SP, which the benchmark calls EWC; with `fisher`, EWC proper.",
);

/// The weights of the parameters in the penalty of `ewc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Fisher {
    /// Equal weights, as in the benchmark's released code.
    #[default]
    None,
    /// The diagonal of the Fisher information of the given model.
    Diagonal,
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Options {
    /// Weight of the penalty.
    #[schemars(range(min = 0.0))]
    strength: f64,
    /// Weights of the parameters in the penalty.
    fisher: Fisher,
    /// Images that the Fisher information is estimated from with `fisher: diagonal`, of
    /// `needs.anchor` or of the dataset itself.
    #[schemars(range(min = 1))]
    fisher_samples: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strength: 1.0,
            fisher: Fisher::None,
            fisher_samples: 1024,
        }
    }
}

impl MethodOptions for Options {
    fn reads_anchor(&self) -> bool {
        self.fisher == Fisher::Diagonal
    }

    fn effort(&self, config: &Config) -> Effort {
        let before = match self.fisher {
            Fisher::None => 0.0,
            Fisher::Diagonal => 3.0 * self.fisher_samples as f64,
        };
        Effort {
            before,
            ..Effort::whole_model(config)
        }
    }

    fn build(&self, start: &Start) -> Result<Box<dyn Method>> {
        let weights = match self.fisher {
            Fisher::None => None,
            Fisher::Diagonal => Some(diagonal(
                start.model,
                start.anchor,
                self.fisher_samples,
                start.seed,
                start.threads,
                start.observer,
            )?),
        };
        let method = Anchored::new(start.model, weights, self.strength);
        Ok(Box::new(method))
    }
}

/// All parameters train by the cross-entropy + `strength`·Σ F·(p − p₀)² over all parameters.
pub struct Anchored {
    /// p₀ by name.
    anchor: BTreeMap<String, Tensor>,
    /// F by name; `None`: 1 everywhere, which is L2-SP.
    weights: Option<BTreeMap<String, Tensor>>,
    strength: f64,
}

impl Anchored {
    /// With a penalty towards `start`; `weights` are those of its parameters, unless they are
    /// equal.
    pub fn new(start: &Model, weights: Option<BTreeMap<String, Tensor>>, strength: f64) -> Self {
        let parameters = start.config().tensors().into_iter();
        let anchor = parameters
            .filter(|spec| spec.role == Role::Parameter)
            .filter_map(|spec| {
                let tensor = start.tensors().get(&spec.name)?.clone();
                Some((spec.name, tensor))
            });
        Self {
            anchor: anchor.collect(),
            weights,
            strength,
        }
    }

    fn weight_of(&self, name: &str) -> Result<Option<&Tensor>> {
        let Some(weights) = &self.weights else {
            return Ok(None);
        };
        let missing = || Error::Invalid(format!("there is no weight of `{name}`"));
        weights.get(name).ok_or_else(missing).map(Some)
    }
}

impl Method for Anchored {
    fn penalty(&self, step: &Step) -> Result<Option<Value>> {
        let mut sum: Option<Value> = None;
        for (name, anchor) in &self.anchor {
            let here = step.parameters.weight(step.tape, name)?;
            let weight = self.weight_of(name)?;
            let pull = (step.tape).squared_distance(&here, anchor, weight, self.strength)?;
            sum = Some(match sum {
                Some(sum) => step.tape.add(&sum, &pull)?,
                None => pull,
            });
        }
        Ok(sum)
    }
}
