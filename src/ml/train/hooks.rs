//! The hooks of a fine-tuning method: the points of training that it can change.

use candle_core::Tensor;

use crate::Result;
use crate::models::{Model, TensorSpec, Weights};
use crate::ops::{Tape, Value};

/// The state of one training step, as a method sees it.
pub struct Step<'a> {
    pub tape: &'a Tape,
    /// The trained tensors as leaves of the tape, the frozen ones as constants, by name; includes
    /// the method's own.
    pub parameters: &'a dyn Weights,
    /// The normalised images of the batch, before [`Method::input`].
    pub images: &'a Tensor,
    /// The logits of [`Method::teacher`] for the batch, all columns, if they are precomputed.
    pub teacher: Option<&'a Tensor>,
    /// The competing columns of the logits in ascending order; `None`: all.
    pub classes: Option<&'a [u32]>,
    /// The logits of the competing classes.
    pub logits: &'a Value,
}

/// A fine-tuning method.
///
/// It chooses which tensors train, may add tensors of its own, may change tensors and images on
/// their way into the network, and may add to the loss. The default of each hook is plain
/// fine-tuning of the whole model. LwF is a [`Method::penalty`] with a teacher, L2-SP one with the
/// initial model; LoRA is additions, a [`Method::weight`] and a [`Method::finish`]; a visual prompt
/// is additions and a [`Method::input`].
pub trait Method: Send + Sync {
    /// Whether this tensor of the model trains.
    fn trains(&self, _tensor: &TensorSpec) -> bool {
        true
    }

    /// Tensors that train in addition to the model's.
    fn additions(&self, _model: &Model) -> Vec<TensorSpec> {
        Vec::new()
    }

    /// Whether batch norms run in training mode.
    fn training_mode(&self) -> bool {
        true
    }

    /// A frozen model whose logits on the batch [`Method::penalty`] uses.
    fn teacher(&self) -> Option<&Model> {
        None
    }

    /// The tensor `name` that the network uses.
    fn weight(&self, tape: &Tape, parameters: &dyn Weights, name: &str) -> Result<Value> {
        parameters.weight(tape, name)
    }

    /// The images that the network receives.
    fn input(&self, _tape: &Tape, _parameters: &dyn Weights, images: Value) -> Result<Value> {
        Ok(images)
    }

    /// A scalar added to the cross-entropy.
    fn penalty(&self, _step: &Step) -> Result<Option<Value>> {
        Ok(None)
    }

    /// The trained model, from its tensors and the method's own.
    fn finish(&self, trained: Model, _additions: &dyn Weights) -> Result<Model> {
        Ok(trained)
    }
}
