//! Adapts a module of candle-nn to our evaluation.

use candle_core::{Device, Tensor};
use candle_nn::Module;

use crate::Result;
use crate::models::Classifier;
use crate::models::config::Input;

/// A module that maps normalised images f32 `[batch, 3, size, size]` to logits f32 `[batch,
/// classes]`, for [`crate::train::evaluate::evaluate`].
pub struct Evaluated<M> {
    pub module: M,
    /// The images it takes.
    pub input: Input,
    /// Names of the classes, one per logit.
    pub classes: Vec<String>,
    pub device: Device,
}

impl<M: Module + Send + Sync> Classifier for Evaluated<M> {
    fn input(&self) -> &Input {
        &self.input
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn outputs(&self) -> usize {
        self.classes.len()
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Ok(self.module.forward(images)?)
    }
}
