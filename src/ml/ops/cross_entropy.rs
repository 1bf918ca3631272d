//! Softmax cross-entropy, the mean over a batch.

use candle_core::{D, Tensor};

use super::{Tape, Value};
use crate::{Error, Result};

/// The targets of the logits.
#[derive(Clone, Copy, Debug)]
pub struct Targets<'a> {
    /// The correct column of each row.
    pub labels: &'a [u32],
    /// The probability that is spread evenly over all classes; the rest goes to the label. In [0,
    /// 1).
    pub smoothing: f64,
}

impl Tape {
    /// The mean over the rows of −Σ target·log softmax(logits), a scalar; `logits` is
    /// `[batch, classes]`.
    pub fn cross_entropy(&self, logits: &Value, targets: Targets) -> Result<Value> {
        let (rows, classes) = logits.tensor().dims2()?;
        if targets.labels.len() != rows {
            let labels = targets.labels.len();
            return Err(Error::Invalid(format!("{labels} labels for {rows} rows")));
        }
        check_labels(targets.labels, classes)?;
        if self.is_on_gpu(logits) {
            return self.gpu_cross_entropy(logits, targets.labels, targets.smoothing);
        }
        let target = distribution(targets, classes, logits.tensor())?;
        let shifted = logits
            .tensor()
            .broadcast_sub(&logits.tensor().max_keepdim(D::Minus1)?)?;
        let total = shifted.exp()?.sum_keepdim(D::Minus1)?;
        let log = shifted.broadcast_sub(&total.log()?)?;
        let loss = ((&target * &log)?.sum_all()? * (-1.0 / rows as f64))?;
        Ok(self.record(loss, &[logits], move |gradient, _| {
            let error = ((log.exp()? - target)? * (1.0 / rows as f64))?;
            Ok(vec![Some(error.broadcast_mul(gradient)?)])
        }))
    }
}

fn check_labels(labels: &[u32], classes: usize) -> Result<()> {
    let outside = labels.iter().find(|label| **label as usize >= classes);
    outside.map_or(Ok(()), |label| {
        Err(Error::Invalid(format!(
            "label {label} is not among {classes} classes"
        )))
    })
}

/// The target distributions of checked labels, `[rows, classes]`, with the type and device of
/// `logits`.
fn distribution(targets: Targets, classes: usize, logits: &Tensor) -> Result<Tensor> {
    let spread = targets.smoothing / classes as f64;
    let mut values = vec![spread; targets.labels.len() * classes];
    for (row, label) in values.chunks_mut(classes).zip(targets.labels) {
        row[*label as usize] += 1.0 - targets.smoothing;
    }
    let shape = (targets.labels.len(), classes);
    Ok(Tensor::from_vec(values, shape, logits.device())?.to_dtype(logits.dtype())?)
}
