//! Fine-tuning that is pulled back to where it started: L2-SP (Li, Grandvalet and Davoine 2018),
//! which the benchmark calls EWC, and elastic weight consolidation proper (Kirkpatrick et al.
//! 2017).

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{Method, Step};
use crate::models::{Model, Role};
use crate::ops::Value;
use crate::{Error, Result};

/// Everything trains by the cross-entropy + `strength`·Σ F·(p − p₀)² over all parameters.
pub struct Anchored {
    /// p₀ by name.
    anchor: BTreeMap<String, Tensor>,
    /// F by name; `None`: 1 everywhere, which is L2-SP.
    weights: Option<BTreeMap<String, Tensor>>,
    strength: f64,
}

impl Anchored {
    /// Pulled towards `start`; `weights` are those of its parameters, if they are not alike.
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
