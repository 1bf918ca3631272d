//! Learning without Forgetting (Li and Hoiem 2017) as the benchmark's code has it: the model
//! before fine-tuning teaches the one in training on the new images.

use candle_core::Tensor;

use super::{Method, Step};
use crate::Result;
use crate::models::Model;
use crate::ops::Value;

/// Everything trains by the cross-entropy + `strength`·KL(softmax(teacher/T) ‖ softmax(student/T)),
/// mean over the batch, over the competing classes.
pub struct Lwf {
    pub teacher: Model,
    pub strength: f64,
    /// T
    pub temperature: f64,
}

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
    fn teacher(&self) -> Option<&Model> {
        Some(&self.teacher)
    }

    fn penalty(&self, step: &Step) -> Result<Option<Value>> {
        let teacher = self.teacher_logits(step)?;
        let gap = (step.tape).distillation(step.logits, &teacher, self.temperature)?;
        Ok(Some(step.tape.scale(&gap, self.strength)?))
    }
}
