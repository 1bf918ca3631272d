//! Learning without Forgetting (Li and Hoiem 2017) as the benchmark's code has it: the model
//! before fine-tuning teaches the one in training on the new images.

use candle_core::Tensor;

use super::{Method, Part, Plain, Step};
use crate::Result;
use crate::models::{Model, TensorSpec, Weights};
use crate::ops::{Tape, Value};

/// Everything trains by the cross-entropy + `strength`·KL(softmax(teacher/T) ‖ softmax(student/T)),
/// mean over the batch, over the competing classes.
pub struct Lwf {
    pub teacher: Model,
    pub strength: f64,
    /// T
    pub temperature: f64,
}

const PLAIN: Plain = Plain { part: Part::All };

impl Lwf {
    fn teacher_logits(&self, step: &Step) -> Result<Tensor> {
        let logits = match step.teacher {
            Some(logits) => logits.clone(),
            None => self.teacher.logits(step.images)?,
        };
        Ok(match step.classes {
            Some(classes) => logits.index_select(&Tensor::new(classes, logits.device())?, 1)?,
            None => logits,
        })
    }
}

impl Method for Lwf {
    fn trains(&self, tensor: &TensorSpec) -> bool {
        PLAIN.trains(tensor)
    }

    fn additions(&self, _model: &Model) -> Vec<TensorSpec> {
        Vec::new()
    }

    fn training_mode(&self) -> bool {
        true
    }

    fn teacher(&self) -> Option<&Model> {
        Some(&self.teacher)
    }

    fn weight(&self, tape: &Tape, parameters: &dyn Weights, name: &str) -> Result<Value> {
        parameters.weight(tape, name)
    }

    fn input(&self, _tape: &Tape, _parameters: &dyn Weights, images: Value) -> Result<Value> {
        Ok(images)
    }

    fn penalty(&self, step: &Step) -> Result<Option<Value>> {
        let teacher = self.teacher_logits(step)?;
        let gap = (step.tape).distillation(step.logits, &teacher, self.temperature)?;
        Ok(Some(step.tape.scale(&gap, self.strength)?))
    }

    fn finish(&self, trained: Model, _additions: &dyn Weights) -> Result<Model> {
        Ok(trained)
    }
}
