//! Low-rank adaptation (Hu et al. 2022) of a transformer's attention, as in the benchmark's code:
//! queries and values change by low-rank products, keys do not; class token, positions and outer
//! norms train; blocks, patch embedding and classifier are frozen. The change is merged into the
//! weights at the end.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effort, Method, MethodOptions, Start, declare};
use crate::declaration::{Declaration, OptionProblem};
use crate::models::{Config, Initial, Model, Network, Role, TensorSpec, Weights};
use crate::ops::{Tape, Value};
use crate::{Error, Result};

pub(super) const LORA: Declaration<dyn MethodOptions> = declare::<Options>(
    "lora",
    "Low-rank changes of queries and values; class token, positions and outer norms train too.\n\
     Transformers only.",
);

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Options {
    /// Rank of the changes, at most the width of the model.
    #[schemars(range(min = 1, max = 4096))]
    rank: usize,
    /// The changes are multiplied by `alpha` / `rank`.
    #[schemars(range(min = 0.0))]
    alpha: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 1.0,
        }
    }
}

impl MethodOptions for Options {
    fn effort(&self, config: &Config) -> Effort {
        Effort {
            passes: 2.0,
            // Queries, keys and values are one tensor: 3·width² of a block's 12·width² numbers.
            written: config.numbers() as f64 / 4.0,
            ..Effort::default()
        }
    }

    fn misfit(&self, config: &Config) -> Option<OptionProblem> {
        misfit(config, self.rank)
    }

    fn build(&self, start: &Start) -> Result<Box<dyn Method>> {
        Ok(Box::new(Lora::new(start.model, self.rank, self.alpha)?))
    }
}

/// A model without attention, or a rank that does not fit its width.
fn misfit(config: &Config, rank: usize) -> Option<OptionProblem> {
    let Network::Vit(vit) = &config.network else {
        let message = format!(
            "LoRA changes the attention of a transformer; `{}` has none",
            config.arch
        );
        return Some(OptionProblem::new("method", message));
    };
    let message = || format!("a rank of {rank} does not fit a width of {}", vit.width);
    let fits = (1..=vit.width).contains(&rank);
    (!fits).then(|| OptionProblem::new("rank", message()))
}

/// Queries and values of every block change by `alpha`/`rank`·B·A.
pub struct Lora {
    rank: usize,
    alpha: f64,
}

/// The weights that change.
const CHANGED: &str = "attn.qkv.weight";

impl Lora {
    /// Refuses models without attention, and an invalid rank.
    pub fn new(model: &Model, rank: usize, alpha: f64) -> Result<Self> {
        match misfit(model.config(), rank) {
            Some(problem) => Err(Error::Invalid(problem.message)),
            None => Ok(Self { rank, alpha }),
        }
    }

    /// The names of A and B for the weight `name`, if it is one that changes.
    fn factors(name: &str) -> Option<[String; 2]> {
        let place = name.strip_suffix(CHANGED)?;
        Some(["A", "B"].map(|factor| format!("{place}attn.qkv.lora_{factor}")))
    }

    fn changed(
        &self,
        tape: &Tape,
        parameters: &dyn Weights,
        name: &str,
        own: &dyn Weights,
    ) -> Result<Value> {
        let weight = parameters.weight(tape, name)?;
        let Some([a, b]) = Self::factors(name) else {
            return Ok(weight);
        };
        let (a, b) = (own.weight(tape, &a)?, own.weight(tape, &b)?);
        tape.low_rank(weight.tensor(), &a, &b, self.alpha / self.rank as f64)
    }
}

impl Method for Lora {
    fn trains(&self, tensor: &TensorSpec) -> bool {
        tensor.outside_blocks
    }

    fn additions(&self, model: &Model) -> Vec<TensorSpec> {
        let spec = |name: String, shape: Vec<usize>, initial: Initial| TensorSpec {
            name,
            shape,
            role: Role::Parameter,
            initial,
            head: false,
            outside_blocks: false,
        };
        let tensors = model.config().tensors().into_iter();
        let pairs = tensors.filter_map(|tensor| {
            let [a, b] = Self::factors(&tensor.name)?;
            let [rows, inputs] = tensor.shape[..] else {
                return None;
            };
            // PyTorch's Kaiming initialisation with a = √5 for A; B is 0, so the change starts at
            // 0.
            let bound = 1.0 / (inputs as f64).sqrt();
            let a = spec(a, vec![2 * self.rank, inputs], Initial::Uniform { bound });
            let b = spec(b, vec![rows / 3 * 2, self.rank], Initial::Constant(0.0));
            Some([a, b])
        });
        pairs.flatten().collect()
    }

    fn weight(&self, tape: &Tape, parameters: &dyn Weights, name: &str) -> Result<Value> {
        self.changed(tape, parameters, name, parameters)
    }

    fn finish(&self, trained: Model, additions: &dyn Weights) -> Result<Model> {
        let tape = Tape::new();
        let config = trained.config().clone();
        let mut tensors = trained.tensors().clone();
        for name in trained.tensors().keys() {
            if Self::factors(name).is_some() {
                let merged = self.changed(&tape, &trained, name, additions)?;
                tensors.insert(name.clone(), merged.into_tensor());
            }
        }
        Model::from_tensors(config, tensors)
    }
}
