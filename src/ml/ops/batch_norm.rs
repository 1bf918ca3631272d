//! Batch normalisation over the channels of an image, with the addition and the ReLU that follow it
//! in a residual network.

use candle_core::Tensor;

use super::cpu::batch_norm::{BatchNormShape, Channel};
use super::tape::want;
use super::{Tape, Value, cpu};
use crate::{Error, Result};

/// The statistics used for normalisation.
#[derive(Clone, Copy, Debug)]
pub enum Statistics<'a> {
    /// The batch's own mean and (biased) variance: training.
    Batch,
    /// Given mean and variance `[channels]`: evaluation.
    Running(&'a Tensor, &'a Tensor),
}

/// The mean and the unbiased variance `[channels]` of a batch, for running statistics.
#[derive(Clone, Debug)]
pub struct BatchMoments {
    pub mean: Tensor,
    pub variance: Tensor,
}

/// Operations after the normalisation.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added to the normalised image, of the same shape.
    pub residual: Option<&'a Value>,
    /// ReLU at the end.
    pub rectify: bool,
}

/// The trained scale and shift of each channel, `[channels]`, and the epsilon added to the
/// variance.
#[derive(Clone, Copy)]
pub struct Affine<'a> {
    pub weight: &'a Value,
    pub bias: &'a Value,
    pub eps: f64,
}

impl Tape {
    /// (x − mean)/√(variance + eps) · weight + bias for each channel of `x` `[batch, channels,
    /// height, width]`, then `follow`. Also returns the moments if `statistics` are those of the
    /// batch.
    pub fn batch_norm(
        &self,
        x: &Value,
        affine: Affine,
        statistics: Statistics,
        follow: Epilogue,
    ) -> Result<(Value, Option<BatchMoments>)> {
        let (batch, channels, height, width) = x.tensor().dims4()?;
        let mut tensors = vec![x.tensor(), affine.weight.tensor(), affine.bias.tensor()];
        tensors.extend(follow.residual.map(Value::tensor));
        if let Statistics::Running(mean, variance) = statistics {
            tensors.extend([mean, variance]);
        }
        let fits = batch * height * width > 0
            && tensors
                .iter()
                .all(|tensor| tensor.dims() == [channels] || tensor.dims() == x.tensor().dims());
        if !fits {
            let message = format!("a batch norm does not fit {:?}", x.tensor().dims());
            return Err(Error::Invalid(message));
        }
        if self.is_on_gpu(x) {
            return self.gpu_batch_norm(x, affine, statistics, follow);
        }
        match cpu::serves(&tensors) {
            true => self.fused_batch_norm(x, affine, statistics, follow),
            false => self.composed_batch_norm(x, affine, statistics, follow),
        }
    }

    fn fused_batch_norm(
        &self,
        x: &Value,
        affine: Affine,
        statistics: Statistics,
        follow: Epilogue,
    ) -> Result<(Value, Option<BatchMoments>)> {
        let (batch, count, height, width) = x.tensor().dims4()?;
        let shape = BatchNormShape {
            batch,
            channels: count,
            pixels: height * width,
        };
        let own = matches!(statistics, Statistics::Batch);
        let moments: Vec<[f32; 2]> = match statistics {
            Statistics::Batch => cpu::read([x.tensor()], |[x]| cpu::batch_norm::moments(shape, x))?,
            Statistics::Running(mean, variance) => {
                cpu::read([mean, variance], |[mean, variance]| {
                    mean.iter().zip(variance).map(|(m, v)| [*m, *v]).collect()
                })?
            }
        };
        let scales = [affine.weight.tensor(), affine.bias.tensor()];
        let channels: Vec<Channel> = cpu::read(scales, |[weight, bias]| {
            let scales = weight.iter().zip(bias);
            let channel = |([mean, variance], (weight, bias)): (&[f32; 2], (&f32, &f32))| Channel {
                mean: *mean,
                inverse: 1.0 / (variance + affine.eps as f32).sqrt(),
                weight: *weight,
                bias: *bias,
            };
            moments.iter().zip(scales).map(channel).collect()
        })?;
        let empty = Tensor::zeros(0, x.tensor().dtype(), x.tensor().device())?;
        let residual = follow.residual.map_or(&empty, Value::tensor);
        let values = cpu::read([x.tensor(), residual], |[x, residual]| {
            cpu::batch_norm::forward(shape, x, &channels, residual, follow.rectify)
        })?;
        let output = cpu::tensor(values, x.tensor().shape())?;

        let nothing = Value::constant(empty);
        let residual = follow.residual.unwrap_or(&nothing);
        let parents = [x, affine.weight, affine.bias, residual];
        let passed = follow.rectify.then(|| output.clone());
        let input = x.tensor().clone();
        let value = self.record(output, &parents, move |gradient, wanted| {
            let dims = input.shape();
            let gradient = match &passed {
                None => gradient.clone(),
                Some(output) => {
                    let values = cpu::read([gradient, output], |[gradient, output]| {
                        cpu::batch_norm::through_rectifier(shape, gradient, output)
                    })?;
                    cpu::tensor(values, dims)?
                }
            };
            let sums = cpu::read([&gradient, &input], |[gradient, x]| {
                cpu::batch_norm::to_channels(shape, gradient, x, &channels)
            })?;
            let to_x = || {
                let values = cpu::read([&gradient, &input], |[gradient, x]| {
                    let sums = own.then_some(sums.as_slice());
                    cpu::batch_norm::to_x(shape, gradient, x, &channels, sums)
                })?;
                cpu::tensor(values, dims)
            };
            let column = |index: usize| {
                let values = sums.iter().map(|sums| sums[index]).collect();
                cpu::tensor(values, count)
            };
            Ok(vec![
                want(wanted[0], to_x)?,
                want(wanted[1], || column(0))?,
                want(wanted[2], || column(1))?,
                want(wanted[3], || Ok(gradient.clone()))?,
            ])
        });
        let pixels = (batch * shape.pixels) as f64;
        let unbias = (pixels / (pixels - 1.0).max(1.0)) as f32;
        let column = |pick: fn(&[f32; 2]) -> f32, scale: f32| {
            let values = moments.iter().map(|moments| pick(moments) * scale);
            cpu::tensor(values.collect(), count)
        };
        let moments = own.then(|| -> Result<BatchMoments> {
            Ok(BatchMoments {
                mean: column(|moments| moments[0], 1.0)?,
                variance: column(|moments| moments[1], unbias)?,
            })
        });
        Ok((value, moments.transpose()?))
    }

    fn composed_batch_norm(
        &self,
        x: &Value,
        affine: Affine,
        statistics: Statistics,
        follow: Epilogue,
    ) -> Result<(Value, Option<BatchMoments>)> {
        let (batch, channels, height, width) = x.tensor().dims4()?;
        let count = batch * height * width;
        let cross = move |of: &Tensor| of.reshape((1, channels, 1, 1));
        let total = |of: &Tensor| of.sum((0, 2, 3));
        let own = matches!(statistics, Statistics::Batch);
        let (mean, variance) = match statistics {
            Statistics::Running(mean, variance) => (mean.clone(), variance.clone()),
            Statistics::Batch => {
                let mean = (total(x.tensor())? / count as f64)?;
                let centred = x.tensor().broadcast_sub(&cross(&mean)?)?;
                (mean, (total(&centred.sqr()?)? / count as f64)?)
            }
        };
        let unbias = count as f64 / (count.max(2) - 1) as f64;
        let moments = own.then(|| -> Result<BatchMoments> {
            let (mean, variance) = (mean.clone(), (&variance * unbias)?);
            Ok(BatchMoments { mean, variance })
        });
        let moments = moments.transpose()?;
        let inverse = (variance + affine.eps)?.sqrt()?.recip()?;
        let normal = x
            .tensor()
            .broadcast_sub(&cross(&mean)?)?
            .broadcast_mul(&cross(&inverse)?)?;
        let mut output = normal
            .broadcast_mul(&cross(affine.weight.tensor())?)?
            .broadcast_add(&cross(affine.bias.tensor())?)?;
        if let Some(residual) = follow.residual {
            output = (output + residual.tensor())?;
        }
        if follow.rectify {
            output = output.relu()?;
        }
        let nothing = Value::constant(output.clone());
        let residual = follow.residual.unwrap_or(&nothing);
        let parents = [x, affine.weight, affine.bias, residual];
        let scale = (affine.weight.tensor() * inverse)?;
        let passed = follow.rectify.then(|| output.clone());
        let value = self.record(output, &parents, move |gradient, wanted| {
            let gradient = match passed {
                Some(output) => (gradient * output.gt(0.0)?.to_dtype(gradient.dtype())?)?,
                None => gradient.clone(),
            };
            let along = (&gradient * &normal)?.sum((0, 2, 3))?;
            let sum = gradient.sum((0, 2, 3))?;
            let to_x = || -> Result<Tensor> {
                let mut inner = gradient.clone();
                if own {
                    let share = 1.0 / count as f64;
                    inner = inner
                        .broadcast_sub(&cross(&(&sum * share)?)?)?
                        .sub(&normal.broadcast_mul(&cross(&(&along * share)?)?)?)?;
                }
                Ok(inner.broadcast_mul(&cross(&scale)?)?)
            };
            Ok(vec![
                want(wanted[0], to_x)?,
                want(wanted[1], || Ok(along.clone()))?,
                want(wanted[2], || Ok(sum.clone()))?,
                want(wanted[3], || Ok(gradient.clone()))?,
            ])
        });
        Ok((value, moments))
    }
}
