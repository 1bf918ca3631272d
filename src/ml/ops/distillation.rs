//! The divergence of a student's distribution from a teacher's.

use candle_core::{D, Tensor};

use super::{Tape, Value};
use crate::{Error, Result};

impl Tape {
    /// The mean over the rows of KL(softmax(teacher/T) ‖ softmax(student/T)), a scalar, without
    /// the factor T² of Hinton et al. 2015; both are logits `[batch, classes]`.
    pub fn distillation(&self, student: &Value, teacher: &Tensor, heat: f64) -> Result<Value> {
        let (rows, classes) = student.tensor().dims2()?;
        if teacher.dims() != [rows, classes] {
            return Err(Error::Invalid(format!(
                "a teacher's logits {:?} for a student's {:?}",
                teacher.dims(),
                student.tensor().dims()
            )));
        }
        let log_teacher = log_softmax(&(teacher / heat)?)?;
        let log_student = log_softmax(&(student.tensor() / heat)?)?;
        let target = log_teacher.exp()?;
        let gaps = (&target * (log_teacher - &log_student)?)?;
        let divergence = (gaps.sum_all()? * (1.0 / rows as f64))?;
        Ok(self.record(divergence, &[student], move |gradient, _| {
            let error = ((log_student.exp()? - target)? * (1.0 / (heat * rows as f64)))?;
            Ok(vec![Some(error.broadcast_mul(gradient)?)])
        }))
    }
}

fn log_softmax(logits: &Tensor) -> Result<Tensor> {
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?)?;
    let total = shifted.exp()?.sum_keepdim(D::Minus1)?;
    Ok(shifted.broadcast_sub(&total.log()?)?)
}
