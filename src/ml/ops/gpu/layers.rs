//! Layers on the tape.

use candle_core::{DType, Tensor};

use super::{flat, fused};
use crate::Result;
use crate::ops::attention::heads_of;
use crate::ops::cpu::attention::AttentionShape;
use crate::ops::tape::want;
use crate::ops::{Activation, Tape, Value};

impl Tape {
    /// As [`Tape::linear`] with an activation, or [`Tape::linear_residual`]; sizes have been checked.
    pub(in crate::ops) fn gpu_linear(
        &self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        activation: Activation,
        residual: Option<&Value>,
    ) -> Result<Value> {
        let stored = self.stored();
        let outputs = weight.tensor().dim(0)?;
        let rows = flat(&x.tensor().to_dtype(stored)?)?;
        let inputs = rows.dim(1)?;
        let matrix = weight.tensor().to_dtype(stored)?;
        let matrix = matrix.reshape((outputs, inputs))?;
        let shift = match bias {
            Some(bias) => bias.tensor().clone(),
            None => Tensor::zeros(outputs, DType::F32, x.tensor().device())?,
        };
        let product = rows.matmul(&matrix.t()?)?;
        let mut dims = x.tensor().dims().to_vec();
        dims.pop();
        dims.push(outputs);
        let output = match residual {
            Some(residual) => {
                let before = flat(&residual.tensor().to_dtype(DType::F32)?)?;
                fused::residual(&product, &shift, &before)?
            }
            None => fused::activate(&product, &shift, activation)?,
        };
        let output = output.reshape(dims)?;
        // Only the input of the activation is needed again.
        let product = (activation != Activation::None).then_some(product);
        let none = Value::constant(shift.clone());
        let parents = [x, weight, bias.unwrap_or(&none), residual.unwrap_or(&none)];
        let (like_x, like_weight) = (GradientSpec::of(x), GradientSpec::of(weight));
        let like_residual = GradientSpec::of(residual.unwrap_or(&none));
        Ok(self.record(output, &parents, move |whole, wanted| {
            let gradient = flat(&whole.to_dtype(stored)?)?;
            let gradient = match &product {
                Some(product) => fused::through(&gradient, product, &shift, activation)?,
                None => gradient,
            };
            let to_x = || like_x.shape(gradient.matmul(&matrix)?);
            let to_weight = || like_weight.shape(gradient.t()?.matmul(&rows)?);
            Ok(vec![
                want(wanted[0], to_x)?,
                want(wanted[1], to_weight)?,
                want(wanted[2], || fused::columns(&gradient))?,
                want(wanted[3], || like_residual.shape(whole.clone()))?,
            ])
        }))
    }

    /// As [`Tape::layer_norm`], stored in the tape's precision.
    pub(in crate::ops) fn gpu_layer_norm(
        &self,
        x: &Value,
        weight: &Value,
        bias: &Value,
        eps: f64,
    ) -> Result<Value> {
        let like = GradientSpec::of(x);
        let rows = flat(&x.tensor().to_dtype(DType::F32)?)?;
        let scale = weight.tensor().clone();
        let (output, moments) =
            fused::layer_norm(&rows, &scale, bias.tensor(), eps, self.stored())?;
        let output = output.reshape(x.tensor().shape())?;
        Ok(
            self.record(output, &[x, weight, bias], move |gradient, wanted| {
                let gradient = flat(gradient)?;
                let to_x =
                    || like.shape(fused::layer_norm_to_x(&gradient, &rows, &scale, &moments)?);
                let to_x = want(wanted[0], to_x)?;
                let [to_weight, to_bias] = match wanted[1] || wanted[2] {
                    true => fused::layer_norm_to_parameters(&gradient, &rows, &moments)?.map(Some),
                    false => [None, None],
                };
                Ok(vec![
                    to_x,
                    to_weight.filter(|_| wanted[1]),
                    to_bias.filter(|_| wanted[2]),
                ])
            }),
        )
    }

    /// As [`Tape::attention`]; sizes have been checked. Keeps the attention weights in the tape's
    /// precision.
    pub(in crate::ops) fn gpu_attention(
        &self,
        qkv: &Value,
        shape: AttentionShape,
    ) -> Result<Value> {
        let stored = self.stored();
        let AttentionShape {
            batch,
            tokens,
            queries,
            heads,
            size,
        } = shape;
        let scale = 1.0 / (size as f64).sqrt();
        let like = GradientSpec::of(qkv);
        let [q, k, v] = heads_of(&qkv.tensor().to_dtype(stored)?, shape)?;
        let dims = (batch, heads, queries, tokens);
        let scores = flat(&q.matmul(&k.t()?)?)?;
        let shares = fused::softmax(&scores, scale)?;
        let output = shares.reshape(dims)?.matmul(&v)?;
        let output = output
            .transpose(1, 2)?
            .reshape((batch, queries, heads * size))?;
        Ok(self.record(output, &[qkv], move |gradient, _| {
            let gradient = gradient
                .to_dtype(stored)?
                .reshape((batch, queries, heads, size))?
                .transpose(1, 2)?
                .contiguous()?;
            let to_v = shares.reshape(dims)?.t()?.matmul(&gradient)?;
            let to_shares = flat(&gradient.matmul(&v.t()?)?)?;
            let to_scores = fused::softmax_back(&to_shares, &shares, scale)?.reshape(dims)?;
            let to_q = to_scores
                .matmul(&k)?
                .pad_with_zeros(2, 0, tokens - queries)?;
            let to_k = to_scores.t()?.matmul(&q)?;
            let packed = Tensor::stack(&[to_q, to_k, to_v], 0)?.permute((1, 3, 0, 2, 4))?;
            Ok(vec![Some(like.shape(packed)?)])
        }))
    }

    /// The mean softmax cross-entropy of `logits` `[batch, classes]`; labels have been checked.
    pub(in crate::ops) fn gpu_cross_entropy(
        &self,
        logits: &Value,
        labels: &[u32],
        smoothing: f64,
    ) -> Result<Value> {
        let like = GradientSpec::of(logits);
        let rows = flat(&logits.tensor().to_dtype(DType::F32)?)?;
        let labels = Tensor::new(labels, rows.device())?;
        let (losses, logs) = fused::cross_entropy(&rows, &labels, smoothing)?;
        let loss = losses.mean_all()?;
        Ok(self.record(loss, &[logits], move |seed, _| {
            let seed = seed.to_dtype(DType::F32)?;
            let back = fused::cross_entropy_back(&seed, &rows, &labels, &logs, smoothing)?;
            Ok(vec![Some(like.shape(back)?)])
        }))
    }
}

/// The shape and type of a gradient.
struct GradientSpec {
    shape: candle_core::Shape,
    dtype: DType,
}

impl GradientSpec {
    fn of(value: &Value) -> Self {
        Self {
            shape: value.tensor().shape().clone(),
            dtype: value.tensor().dtype(),
        }
    }

    fn shape(&self, gradient: Tensor) -> Result<Tensor> {
        Ok(gradient.reshape(&self.shape)?.to_dtype(self.dtype)?)
    }
}
