//! Operations with a fused GPU kernel, and the same formulas in tensor operations for other
//! devices.
//!
//! Tensors are contiguous `[rows, columns]`. Arithmetic is f32 regardless of the storage type; the
//! formulas are in the kernels.

use candle_core::{D, DType, Tensor};

#[cfg(feature = "cuda")]
use super::cuda;
use crate::Result;
use crate::ops::Activation;
use crate::ops::convolution::Gather;
use crate::ops::cpu::convolution::ConvolutionShape;
use crate::ops::linear::activate as activate_and_slope;

/// Calls the kernel if the tensor is on a GPU.
macro_rules! on_gpu {
    ($tensor:expr, $call:expr) => {
        #[cfg(feature = "cuda")]
        if $tensor.device().is_cuda() {
            return $call;
        }
    };
}

fn wide(tensor: &Tensor) -> Result<Tensor> {
    Ok(tensor.to_dtype(DType::F32)?)
}

/// activation(`x` + `bias`), stored in the type of `x`.
pub fn activate(x: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    on_gpu!(x, cuda::activate(x, bias, activation));
    let (output, _) = activate_and_slope(&wide(x)?.broadcast_add(bias)?, activation, false)?;
    Ok(output.to_dtype(x.dtype())?)
}

/// The gradient of `x` in [`activate`] from that of the output; both are stored in the type of `x`.
pub fn through(
    gradient: &Tensor,
    x: &Tensor,
    bias: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    on_gpu!(x, cuda::through(gradient, x, bias, activation));
    let (_, slope) = activate_and_slope(&wide(x)?.broadcast_add(bias)?, activation, true)?;
    match slope {
        Some(slope) => Ok((wide(gradient)? * slope)?.to_dtype(x.dtype())?),
        None => Ok(gradient.clone()),
    }
}

/// `before` + `x` + `bias`, as f32.
pub fn residual(x: &Tensor, bias: &Tensor, before: &Tensor) -> Result<Tensor> {
    on_gpu!(x, cuda::residual(x, bias, before));
    Ok((before + wide(x)?)?.broadcast_add(bias)?)
}

/// The sum of each column, `[columns]`, f32.
pub fn columns(x: &Tensor) -> Result<Tensor> {
    on_gpu!(x, cuda::columns(x));
    Ok(wide(x)?.sum(0)?)
}

/// The layer norm of f32 `x` stored as `stored`, and each row's mean and 1/√(variance + `eps`):
/// `[rows, 2]`.
pub fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    stored: DType,
) -> Result<(Tensor, Tensor)> {
    on_gpu!(x, cuda::layer_norm(x, weight, bias, eps, stored));
    let mean = x.mean_keepdim(1)?;
    let scale = x.broadcast_sub(&mean)?.sqr()?.mean_keepdim(1)?;
    let moments = Tensor::cat(&[&mean, &(scale + eps)?.sqrt()?.recip()?], 1)?;
    let output = normal(x, &moments)?.broadcast_mul(weight)?;
    Ok((output.broadcast_add(bias)?.to_dtype(stored)?, moments))
}

/// (x − mean)·scale
fn normal(x: &Tensor, moments: &Tensor) -> Result<Tensor> {
    let (mean, scale) = (moments.narrow(1, 0, 1)?, moments.narrow(1, 1, 1)?);
    Ok(x.broadcast_sub(&mean)?.broadcast_mul(&scale)?)
}

/// The gradient of `x` in [`layer_norm`], f32.
pub fn layer_norm_to_x(
    gradient: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    moments: &Tensor,
) -> Result<Tensor> {
    on_gpu!(x, cuda::layer_norm_to_x(gradient, x, weight, moments));
    let normal = normal(x, moments)?;
    let scaled = wide(gradient)?.broadcast_mul(weight)?;
    let along = (&scaled * &normal)?.mean_keepdim(1)?;
    let inner = scaled
        .broadcast_sub(&scaled.mean_keepdim(1)?)?
        .sub(&normal.broadcast_mul(&along)?)?;
    Ok(inner.broadcast_mul(&moments.narrow(1, 1, 1)?)?)
}

/// The gradients of weight and bias in [`layer_norm`], f32.
pub fn layer_norm_to_parameters(
    gradient: &Tensor,
    x: &Tensor,
    moments: &Tensor,
) -> Result<[Tensor; 2]> {
    on_gpu!(x, cuda::layer_norm_to_parameters(gradient, x, moments));
    let gradient = wide(gradient)?;
    let along = (&gradient * normal(x, moments)?)?;
    Ok([along.sum(0)?, gradient.sum(0)?])
}

/// softmax(`scale`·`scores`) of each row, stored in the type of the scores.
pub fn softmax(scores: &Tensor, scale: f64) -> Result<Tensor> {
    on_gpu!(scores, cuda::softmax(scores, scale));
    let scaled = (wide(scores)? * scale)?;
    let shifted = scaled
        .broadcast_sub(&scaled.max_keepdim(D::Minus1)?)?
        .exp()?;
    let shares = shifted.broadcast_div(&shifted.sum_keepdim(D::Minus1)?)?;
    Ok(shares.to_dtype(scores.dtype())?)
}

/// The gradient of the scores in [`softmax`].
pub fn softmax_back(gradient: &Tensor, shares: &Tensor, scale: f64) -> Result<Tensor> {
    on_gpu!(shares, cuda::softmax_back(gradient, shares, scale));
    let (wide_gradient, wide_shares) = (wide(gradient)?, wide(shares)?);
    let sum = (&wide_gradient * &wide_shares)?.sum_keepdim(D::Minus1)?;
    let back = ((wide_gradient.broadcast_sub(&sum)? * wide_shares)? * scale)?;
    Ok(back.to_dtype(shares.dtype())?)
}

/// The loss of each row of f32 `logits` under `labels` (u32), and log Σ exp of the row: `[rows]` each.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<(Tensor, Tensor)> {
    on_gpu!(logits, cuda::cross_entropy(logits, labels, smoothing));
    let largest = logits.max_keepdim(1)?;
    let shifted = logits.broadcast_sub(&largest)?;
    let log = shifted.exp()?.sum_keepdim(1)?.log()?;
    let right = shifted.gather(&labels.unsqueeze(1)?, 1)?;
    let spread = (shifted.mean_keepdim(1)? * smoothing)?;
    let losses = ((&log - (right * (1.0 - smoothing))?)? - spread)?;
    Ok((losses.squeeze(1)?, (largest + log)?.squeeze(1)?))
}

/// The gradient of the logits of the mean of [`cross_entropy`], times `seed`, a scalar.
pub fn cross_entropy_back(
    seed: &Tensor,
    logits: &Tensor,
    labels: &Tensor,
    logs: &Tensor,
    smoothing: f64,
) -> Result<Tensor> {
    on_gpu!(
        logits,
        cuda::cross_entropy_back(seed, logits, labels, logs, smoothing)
    );
    let (rows, classes) = logits.dims2()?;
    let target = Tensor::full(
        (smoothing / classes as f64) as f32,
        (rows, classes),
        logits.device(),
    )?;
    let most = Tensor::full((1.0 - smoothing) as f32, (rows, 1), logits.device())?;
    let target = target.scatter_add(&labels.unsqueeze(1)?, &most, 1)?;
    let shares = logits.broadcast_sub(&logs.unsqueeze(1)?)?.exp()?;
    let error = ((shares - target)? * (1.0 / rows as f64))?;
    Ok(error.broadcast_mul(seed)?)
}

/// The pixels under the window at every position of f32 `x` `[batch, channels, height, width]`,
/// stored as `stored`: `[batch·places, channels·window]`.
pub fn unfold(x: &Tensor, shape: ConvolutionShape, stored: DType) -> Result<Tensor> {
    on_gpu!(x, cuda::unfold(x, shape, stored));
    let window = shape.window.size * shape.window.size;
    let places = shape.down * shape.across;
    let columns = Gather::new(x, shape, 0.0)?.columns;
    let rows = columns
        .reshape((shape.batch, shape.channels * window, places))?
        .transpose(1, 2)?
        .reshape((shape.batch * places, shape.channels * window))?;
    Ok(rows.contiguous()?.to_dtype(stored)?)
}

/// The gradient of `x` in [`unfold`], f32.
pub fn unfold_back(rows: &Tensor, shape: ConvolutionShape) -> Result<Tensor> {
    on_gpu!(rows, cuda::unfold_back(rows, shape));
    let window = shape.window.size * shape.window.size;
    let places = shape.down * shape.across;
    let like = (shape.batch, shape.channels, shape.height, shape.width);
    let gather = Gather::new(&Tensor::zeros(like, DType::F32, rows.device())?, shape, 0.0)?;
    let columns = wide(rows)?
        .reshape((shape.batch, places, shape.channels * window))?
        .transpose(1, 2)?
        .contiguous()?;
    gather.back(&columns)
}

/// `[channels]` as `[1, channels, 1, 1]`.
fn cross(of: &Tensor) -> Result<Tensor> {
    let channels = of.elem_count();
    Ok(of.reshape((1, channels, 1, 1))?)
}

/// The mean and the biased variance of each channel of f32 `x` `[batch, channels, height, width]`.
pub fn channel_moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    on_gpu!(x, cuda::channel_moments(x));
    let count = (x.elem_count() / x.dim(1)?) as f64;
    let mean = (x.sum((0, 2, 3))? / count)?;
    let squares = x.broadcast_sub(&cross(&mean)?)?.sqr()?.sum((0, 2, 3))?;
    Ok((mean, (squares / count)?))
}

/// `gradient` where `y`, the output of a ReLU, is positive.
pub fn rectifier_back(gradient: &Tensor, y: &Tensor) -> Result<Tensor> {
    on_gpu!(y, cuda::rectifier_back(gradient, y));
    Ok((gradient * y.gt(0.0)?.to_dtype(DType::F32)?)?)
}

/// The statistics `[channels]` that an image is normalised by, f32.
pub struct Channels {
    pub mean: Tensor,
    /// 1/√(variance + eps)
    pub inverse: Tensor,
    pub weight: Tensor,
}

impl Channels {
    fn normal(&self, x: &Tensor) -> Result<Tensor> {
        let centred = x.broadcast_sub(&cross(&self.mean)?)?;
        Ok(centred.broadcast_mul(&cross(&self.inverse)?)?)
    }

    /// The normalised `x`, optionally with `residual` added and followed by ReLU.
    pub fn norm(
        &self,
        x: &Tensor,
        bias: &Tensor,
        residual: Option<&Tensor>,
        rectify: bool,
    ) -> Result<Tensor> {
        on_gpu!(x, cuda::batch_norm(self, x, bias, residual, rectify));
        let mut output = self
            .normal(x)?
            .broadcast_mul(&cross(&self.weight)?)?
            .broadcast_add(&cross(bias)?)?;
        if let Some(residual) = residual {
            output = (output + residual)?;
        }
        match rectify {
            true => Ok(output.relu()?),
            false => Ok(output),
        }
    }

    /// `[2, channels]`: the gradients of weight and bias.
    pub fn sums(&self, gradient: &Tensor, x: &Tensor) -> Result<Tensor> {
        on_gpu!(x, cuda::channel_gradients(self, gradient, x));
        let along = (gradient * self.normal(x)?)?.sum((0, 2, 3))?;
        Ok(Tensor::stack(&[along, gradient.sum((0, 2, 3))?], 0)?)
    }

    /// The gradient of `x`; with `sums` if mean and variance are those of `x`.
    pub fn to_x(&self, gradient: &Tensor, x: &Tensor, sums: Option<&Tensor>) -> Result<Tensor> {
        on_gpu!(x, cuda::batch_norm_to_x(self, gradient, x, sums));
        let mut inner = gradient.clone();
        if let Some(sums) = sums {
            let share = x.dim(1)? as f64 / x.elem_count() as f64;
            let of = |index: usize| cross(&(sums.get(index)? * share)?);
            inner = inner
                .broadcast_sub(&of(1)?)?
                .sub(&self.normal(x)?.broadcast_mul(&of(0)?)?)?;
        }
        Ok(inner.broadcast_mul(&cross(&(&self.weight * &self.inverse)?)?)?)
    }
}
