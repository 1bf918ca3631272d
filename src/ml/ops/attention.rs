//! Scaled dot-product attention on packed queries, keys and values.

use candle_core::{D, Tensor};

use super::cpu::attention::AttentionShape;
use super::{Tape, Value, cpu};
use crate::{Error, Result};

impl Tape {
    /// softmax(q·kᵀ/√d)·v for every head.
    ///
    /// `qkv` is `[batch, tokens, 3·width]`, packed as in timm: queries, keys and values, then
    /// heads, then the dimensions of a head. Only the first `queries` tokens are queries; returns
    /// `[batch, queries, width]`.
    pub fn attention(&self, qkv: &Value, heads: usize, queries: usize) -> Result<Value> {
        let (batch, tokens, packed) = qkv.tensor().dims3()?;
        if heads == 0 || packed == 0 || packed % (3 * heads) != 0 || queries > tokens {
            return Err(Error::Invalid(format!(
                "attention: {packed} packed columns do not divide into {heads} heads, or {queries} queries exceed {tokens} tokens"
            )));
        }
        let shape = AttentionShape {
            batch,
            tokens,
            queries,
            heads,
            size: packed / 3 / heads,
        };
        if self.is_on_gpu(qkv) {
            return self.gpu_attention(qkv, shape);
        }
        match cpu::serves(&[qkv.tensor()]) {
            true => self.fused_attention(qkv, shape),
            false => self.composed_attention(qkv, shape),
        }
    }

    fn fused_attention(&self, qkv: &Value, shape: AttentionShape) -> Result<Value> {
        let (output, shares) = cpu::read([qkv.tensor()], |[qkv_values]| {
            cpu::attention::forward(shape, qkv_values, qkv.is_tracked())
        })?;
        let dims = (shape.batch, shape.queries, shape.heads * shape.size);
        let output = cpu::tensor(output, dims)?;
        let input = qkv.tensor().clone();
        Ok(self.record(output, &[qkv], move |gradient, _| {
            let values = cpu::read([gradient, &input], |[gradient, qkv]| {
                cpu::attention::backward(shape, gradient, qkv, &shares)
            })?;
            Ok(vec![Some(cpu::tensor(values, input.shape())?)])
        }))
    }

    fn composed_attention(&self, qkv: &Value, shape: AttentionShape) -> Result<Value> {
        let AttentionShape {
            batch,
            tokens,
            queries,
            heads,
            size,
        } = shape;
        let scale = 1.0 / (size as f64).sqrt();
        let [q, k, v] = heads_of(qkv.tensor(), shape)?;
        let shares = softmax(&(q.matmul(&k.t()?)? * scale)?)?;
        let output = shares
            .matmul(&v)?
            .transpose(1, 2)?
            .reshape((batch, queries, heads * size))?;
        Ok(self.record(output, &[qkv], move |gradient, _| {
            let gradient = gradient
                .reshape((batch, queries, heads, size))?
                .transpose(1, 2)?
                .contiguous()?;
            let to_v = shares.t()?.matmul(&gradient)?;
            let to_shares = gradient.matmul(&v.t()?)?;
            let mean = (&to_shares * &shares)?.sum_keepdim(D::Minus1)?;
            let to_scores = ((to_shares.broadcast_sub(&mean)? * &shares)? * scale)?;
            let to_q = to_scores
                .matmul(&k)?
                .pad_with_zeros(2, 0, tokens - queries)?;
            let to_k = to_scores.t()?.matmul(&q)?;
            let packed = Tensor::stack(&[to_q, to_k, to_v], 0)?
                .permute((1, 3, 0, 2, 4))?
                .reshape((batch, tokens, 3 * heads * size))?;
            Ok(vec![Some(packed)])
        }))
    }
}

/// Splits packed values into queries, keys and values `[batch, heads, …, size]`, with only the
/// first queries.
pub(super) fn heads_of(qkv: &Tensor, shape: AttentionShape) -> Result<[Tensor; 3]> {
    let AttentionShape {
        batch,
        tokens,
        queries,
        heads,
        size,
    } = shape;
    let split = qkv
        .reshape((batch, tokens, 3, heads, size))?
        .permute((2, 0, 3, 1, 4))?;
    let part = |index: usize, count: usize| -> Result<Tensor> {
        Ok(split.get(index)?.narrow(2, 0, count)?.contiguous()?)
    };
    Ok([part(0, queries)?, part(1, tokens)?, part(2, tokens)?])
}

fn softmax(scores: &Tensor) -> Result<Tensor> {
    let shifted = scores
        .broadcast_sub(&scores.max_keepdim(D::Minus1)?)?
        .exp()?;
    Ok(shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?)
}
