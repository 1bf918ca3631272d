//! The hooks of a fine-tuning method: the points of a training that it may change.

use candle_core::Tensor;

use crate::Result;
use crate::models::{Model, TensorSpec, Weights};
use crate::ops::{Tape, Value};

/// What a method sees of one training step.
pub struct Step<'a> {
    pub tape: &'a Tape,
    /// The tensors in training as leaves of the tape, the frozen ones as constants, by name; the
    /// method's own among them.
    pub parameters: &'a dyn Weights,
    /// The normalised images of the batch, before [`Method::input`].
    pub images: &'a Tensor,
    /// The logits of [`Method::teacher`] for the batch, all its columns, if they are known already.
    pub teacher: Option<&'a Tensor>,
    /// The competing columns of the logits in ascending order; `None`: all.
    pub classes: Option<&'a [u32]>,
    /// The logits of the competing classes.
    pub logits: &'a Value,
}

/// A way of fine-tuning.
///
/// It chooses what trains, may bring tensors of its own, may change tensors and images on their
/// way into the network, and may add to the loss. Each hook that a method leaves out does what
/// plain fine-tuning of the whole model does. LwF is a [`Method::penalty`] with a teacher, L2-SP
/// one with the start; LoRA is additions, a [`Method::weight`] and a [`Method::finish`]; a visual
/// prompt additions and a [`Method::input`].
pub trait Method: Send + Sync {
    /// Whether this tensor of the model trains.
    fn trains(&self, _tensor: &TensorSpec) -> bool {
        true
    }

    /// Tensors that train beside the model's.
    fn additions(&self, _model: &Model) -> Vec<TensorSpec> {
        Vec::new()
    }

    /// Whether batch norms run in training mode.
    fn training_mode(&self) -> bool {
        true
    }

    /// A frozen model whose logits on the batch [`Method::penalty`] asks for.
    fn teacher(&self) -> Option<&Model> {
        None
    }

    /// The tensor `name` as the network sees it.
    fn weight(&self, tape: &Tape, parameters: &dyn Weights, name: &str) -> Result<Value> {
        parameters.weight(tape, name)
    }

    /// The images as the network sees them.
    fn input(&self, _tape: &Tape, _parameters: &dyn Weights, images: Value) -> Result<Value> {
        Ok(images)
    }

    /// What is added to the cross-entropy, a scalar.
    fn penalty(&self, _step: &Step) -> Result<Option<Value>> {
        Ok(None)
    }

    /// The trained model, from its tensors and the method's own.
    fn finish(&self, trained: Model, _additions: &dyn Weights) -> Result<Model> {
        Ok(trained)
    }
}
