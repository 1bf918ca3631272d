//! Sums, and selections of a tensor's rows or columns.

use candle_core::Tensor;

use super::{Tape, Value, cpu};
use crate::{Error, Result};

/// a + b for equal shapes.
pub(super) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() {
        let message = format!("{:?} and {:?} can't be added", a.dims(), b.dims());
        return Err(Error::Invalid(message));
    }
    if !cpu::serves(&[a, b]) {
        return Ok((a + b)?);
    }
    let values = cpu::read([a, b], |[a, b]| cpu::patches::add(a, b))?;
    cpu::tensor(values, a.shape())
}

impl Tape {
    /// a + b for equal shapes.
    pub fn add(&self, a: &Value, b: &Value) -> Result<Value> {
        let output = sum(a.tensor(), b.tensor())?;
        Ok(self.record(output, &[a, b], |gradient, _| {
            Ok(vec![Some(gradient.clone()), Some(gradient.clone())])
        }))
    }

    /// The first `count` tokens of `x` `[batch, tokens, width]`.
    pub fn first_tokens(&self, x: &Value, count: usize) -> Result<Value> {
        let (batch, tokens, width) = x.tensor().dims3()?;
        if count == tokens {
            return Ok(x.clone());
        }
        let fused = count > 0 && width > 0 && cpu::serves(&[x.tensor()]);
        let (part, size) = (count * width, tokens * width);
        let output = match fused {
            false => x.tensor().narrow(1, 0, count)?.contiguous()?,
            true => {
                let values = cpu::read([x.tensor()], |[x]| cpu::patches::take(x, size, 0, part))?;
                cpu::tensor(values, (batch, count, width))?
            }
        };
        Ok(self.record(output, &[x], move |gradient, _| {
            if !fused {
                return Ok(vec![Some(gradient.pad_with_zeros(1, 0, tokens - count)?)]);
            }
            let put = |[gradient]: [&[f32]; 1]| cpu::patches::put_first(gradient, part, size);
            let values = cpu::read([gradient], put)?;
            Ok(vec![Some(cpu::tensor(values, (batch, tokens, width))?)])
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
            let spread = zeros.index_add(&index, &gradient.contiguous()?, 1)?;
            Ok(vec![Some(spread)])
        }))
    }
}
