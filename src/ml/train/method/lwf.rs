//! Learning without Forgetting (Li and Hoiem 2017), as in the benchmark's code: the model before
//! fine-tuning is the teacher on the new images.

use candle_core::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Effort, Method, MethodOptions, Start, Step, declare};
use crate::Result;
use crate::declaration::Declaration;
use crate::models::{Config, Model};
use crate::ops::Value;

pub(super) const LWF: Declaration<dyn MethodOptions> = declare::<Options>(
    "lwf",
    "Learning without forgetting: the model before fine-tuning teaches the one in training.",
);

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Options {
    /// Weight of the penalty.
    #[schemars(range(min = 0.0))]
    strength: f64,
    /// Divides the logits of teacher and student.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    temperature: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            strength: 1.0,
            temperature: 2.0,
        }
    }
}

impl MethodOptions for Options {
    fn has_teacher(&self) -> bool {
        true
    }

    fn effort(&self, config: &Config) -> Effort {
        Effort::whole_model(config)
    }

    fn build(&self, start: &Start) -> Result<Box<dyn Method>> {
        Ok(Box::new(Lwf {
            teacher: start.model.clone(),
            strength: self.strength,
            temperature: self.temperature,
        }))
    }
}

/// All parameters train by the cross-entropy + `strength`·KL(softmax(teacher/T) ‖
/// softmax(student/T)), mean over the batch, over the competing classes.
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
