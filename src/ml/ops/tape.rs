//! The tape: records the operations that produce a value, and propagates gradients back through
//! them.

use std::cell::RefCell;

use candle_core::Tensor;

use super::Precision;
use crate::{Error, Result};

/// Propagates the gradient of an operation's output: one entry for each parent, `None` where
/// `wanted` is false.
type Backward = Box<dyn FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + Send>;

/// The result of `make`, if it is wanted.
pub(super) fn want(wanted: bool, make: impl FnOnce() -> Result<Tensor>) -> Result<Option<Tensor>> {
    wanted.then(make).transpose()
}

/// An input or output tensor of an operation, and its index on the tape if it needs a gradient.
#[derive(Clone, Debug)]
pub struct Value {
    tensor: Tensor,
    place: Option<usize>,
}

impl Value {
    /// A value without a gradient: an image, a frozen weight.
    pub fn constant(tensor: Tensor) -> Self {
        Self {
            tensor,
            place: None,
        }
    }

    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    pub fn into_tensor(self) -> Tensor {
        self.tensor
    }

    /// Whether it needs a gradient.
    pub fn is_tracked(&self) -> bool {
        self.place.is_some()
    }
}

struct Step {
    parents: Vec<Option<usize>>,
    /// `None` for a leaf, whose gradient is returned.
    backward: Option<Backward>,
}

/// Records operations in the order they run.
///
/// An operation without tracked inputs is not recorded and keeps nothing, so the same model code
/// works for inference, where there are no leaves.
#[derive(Default)]
pub struct Tape {
    steps: RefCell<Vec<Step>>,
    precision: Precision,
    /// Use the GPU layers on any device.
    acts_as_gpu: bool,
}

impl Tape {
    pub fn new() -> Self {
        Self::default()
    }

    /// A tape with matrix products in `precision`.
    pub fn with_precision(precision: Precision) -> Self {
        Self {
            precision,
            ..Self::default()
        }
    }

    /// Uses the GPU layers on any device.
    #[cfg(test)]
    pub(super) fn acting_as_gpu(self) -> Self {
        Self {
            acts_as_gpu: true,
            ..self
        }
    }

    pub(super) fn acts_as_gpu(&self) -> bool {
        self.acts_as_gpu
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    /// A value whose gradient is returned: a parameter.
    pub fn leaf(&self, tensor: Tensor) -> Value {
        let step = Step {
            parents: Vec::new(),
            backward: None,
        };
        self.push(tensor, step)
    }

    /// Records the output `tensor` of an operation on `parents`.
    pub(super) fn record(
        &self,
        tensor: Tensor,
        parents: &[&Value],
        backward: impl FnOnce(&Tensor, &[bool]) -> Result<Vec<Option<Tensor>>> + Send + 'static,
    ) -> Value {
        let parents: Vec<Option<usize>> = parents.iter().map(|parent| parent.place).collect();
        if parents.iter().all(Option::is_none) {
            return Value::constant(tensor);
        }
        let step = Step {
            parents,
            backward: Some(Box::new(backward)),
        };
        self.push(tensor, step)
    }

    fn push(&self, tensor: Tensor, step: Step) -> Value {
        let mut steps = self.steps.borrow_mut();
        steps.push(step);
        Value {
            tensor,
            place: Some(steps.len() - 1),
        }
    }

    /// The gradients of `loss` (a scalar) with respect to every leaf it depends on.
    pub fn backward(self, loss: &Value) -> Result<Gradients> {
        let seed = loss.tensor.ones_like()?;
        self.backward_from(loss, seed)
    }

    /// As [`Tape::backward`], for an output of any shape, whose own gradient is `seed`.
    pub fn backward_from(self, output: &Value, seed: Tensor) -> Result<Gradients> {
        let last = output.place.ok_or_else(|| {
            Error::Invalid("the loss depends on no trained parameter".to_string())
        })?;
        let mut steps = self.steps.into_inner();
        steps.truncate(last + 1);
        let mut gradients: Vec<Option<Tensor>> = vec![None; steps.len()];
        gradients[last] = Some(seed);
        while let Some(step) = steps.pop() {
            let here = steps.len();
            let Some(backward) = step.backward else {
                continue;
            };
            let Some(gradient) = gradients[here].take() else {
                continue;
            };
            let wanted: Vec<bool> = step.parents.iter().map(Option::is_some).collect();
            let contributions = backward(&gradient, &wanted)?;
            for (parent, contribution) in step.parents.iter().zip(contributions) {
                if let (Some(parent), Some(contribution)) = (parent, contribution) {
                    let sum = match gradients[*parent].take() {
                        Some(earlier) => super::elementwise::sum(&earlier, &contribution)?,
                        None => contribution,
                    };
                    gradients[*parent] = Some(sum);
                }
            }
        }
        Ok(Gradients(gradients))
    }
}

/// The gradients of one backward pass, by leaf.
pub struct Gradients(Vec<Option<Tensor>>);

impl Gradients {
    /// Removes and returns the gradient of `leaf`; `None` if the loss does not depend on it.
    pub fn take(&mut self, leaf: &Value) -> Option<Tensor> {
        leaf.place
            .and_then(|place| self.0.get_mut(place))
            .and_then(Option::take)
    }
}
