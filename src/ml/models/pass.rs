//! A forward pass: the tape, the weights, and the mode.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::Result;
use crate::ops::{Tape, Value};

/// Provides a network's tensors by name: unchanged, as leaves to be trained, or computed from
/// others.
pub trait Weights {
    fn weight(&self, tape: &Tape, name: &str) -> Result<Value>;
}

/// New values of buffers after a forward pass in training mode.
pub type BufferUpdates = BTreeMap<String, Tensor>;

/// The context of a network's forward pass.
pub struct Pass<'a> {
    pub tape: &'a Tape,
    weights: &'a dyn Weights,
    training: bool,
    updates: RefCell<BufferUpdates>,
}

impl<'a> Pass<'a> {
    /// `training`: batch norms use and record the batch's statistics.
    pub fn new(tape: &'a Tape, weights: &'a dyn Weights, training: bool) -> Self {
        Self {
            tape,
            weights,
            training,
            updates: RefCell::default(),
        }
    }

    pub(super) fn weight(&self, name: &str) -> Result<Value> {
        self.weights.weight(self.tape, name)
    }

    /// The tensor `prefix.last`.
    pub(super) fn of(&self, prefix: &str, last: &str) -> Result<Value> {
        self.weight(&format!("{prefix}.{last}"))
    }

    pub(super) fn is_training(&self) -> bool {
        self.training
    }

    pub(super) fn update(&self, name: String, value: Tensor) {
        self.updates.borrow_mut().insert(name, value);
    }

    /// The buffers that this pass updated.
    pub fn into_updates(self) -> BufferUpdates {
        self.updates.into_inner()
    }
}
