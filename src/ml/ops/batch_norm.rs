//! Batch normalisation over the channels of an image, with the addition and the rectifier that
//! follow it in a residual network.

use candle_core::Tensor;

use super::{Tape, Value};
use crate::ml::Result;

/// What the channels are normalised by.
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

/// What follows a normalisation.
#[derive(Clone, Copy, Default)]
pub struct Follow<'a> {
    /// Added to the normalised image, of the same shape.
    pub residual: Option<&'a Value>,
    /// max(·, 0) at the end.
    pub rectify: bool,
}

impl Tape {
    /// (x − mean)/√(variance + eps) · weight + bias for each channel of `x`
    /// `[batch, channels, height, width]`, then `follow`. Gives the moments too where
    /// `statistics` is the batch's.
    pub fn batch_norm(
        &self,
        x: &Value,
        weight: &Value,
        bias: &Value,
        statistics: Statistics,
        eps: f64,
        follow: Follow,
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
        let moments = own
            .then(|| -> Result<BatchMoments> {
                let (mean, variance) = (mean.clone(), (&variance * unbias)?);
                Ok(BatchMoments { mean, variance })
            })
            .transpose()?;
        let inverse = (variance + eps)?.sqrt()?.recip()?;
        let normal = x
            .tensor()
            .broadcast_sub(&cross(&mean)?)?
            .broadcast_mul(&cross(&inverse)?)?;
        let mut output = normal
            .broadcast_mul(&cross(weight.tensor())?)?
            .broadcast_add(&cross(bias.tensor())?)?;
        if let Some(residual) = follow.residual {
            output = (output + residual.tensor())?;
        }
        if follow.rectify {
            output = output.relu()?;
        }
        let nothing = Value::constant(output.clone());
        let parents = [x, weight, bias, follow.residual.unwrap_or(&nothing)];
        let scale = (weight.tensor() * inverse)?;
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
                wanted[0].then(to_x).transpose()?,
                wanted[1].then(|| along.clone()),
                wanted[2].then(|| sum.clone()),
                wanted[3].then(|| gradient.clone()),
            ])
        });
        Ok((value, moments))
    }
}
