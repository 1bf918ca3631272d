//! Sums, and taking some of a tensor's rows.

use candle_core::Tensor;

use super::{Tape, Value};
use crate::ml::Result;

/// a + b of equal shapes.
pub(super) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok((a + b)?)
}

impl Tape {
    /// a + b of equal shapes.
    pub fn add(&self, a: &Value, b: &Value) -> Result<Value> {
        let output = sum(a.tensor(), b.tensor())?;
        Ok(self.record(output, &[a, b], |gradient, _| {
            Ok(vec![Some(gradient.clone()), Some(gradient.clone())])
        }))
    }

    /// The first `count` tokens of `x` `[batch, tokens, width]`.
    pub fn first_tokens(&self, x: &Value, count: usize) -> Result<Value> {
        let tokens = x.tensor().dim(1)?;
        if count == tokens {
            return Ok(x.clone());
        }
        let output = x.tensor().narrow(1, 0, count)?.contiguous()?;
        Ok(self.record(output, &[x], move |gradient, _| {
            Ok(vec![Some(gradient.pad_with_zeros(1, 0, tokens - count)?)])
        }))
    }

    /// `[batch, tokens, width]` as `[batch, tokens·width]`.
    pub fn flatten_tokens(&self, x: &Value) -> Result<Value> {
        let (batch, tokens, width) = x.tensor().dims3()?;
        let output = x.tensor().reshape((batch, tokens * width))?;
        Ok(self.record(output, &[x], move |gradient, _| {
            Ok(vec![Some(gradient.reshape((batch, tokens, width))?)])
        }))
    }

    /// The columns `classes` of `logits` `[batch, classes]`, in that order.
    pub fn select_classes(&self, logits: &Value, classes: &[u32]) -> Result<Value> {
        let (rows, columns) = logits.tensor().dims2()?;
        let index = Tensor::new(classes, logits.tensor().device())?;
        let output = logits.tensor().index_select(&index, 1)?;
        Ok(self.record(output, &[logits], move |gradient, _| {
            let zeros = Tensor::zeros((rows, columns), gradient.dtype(), gradient.device())?;
            Ok(vec![Some(zeros.index_add(
                &index,
                &gradient.contiguous()?,
                1,
            )?)])
        }))
    }
}
