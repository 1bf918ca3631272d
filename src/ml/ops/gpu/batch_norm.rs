//! Batch normalisation on the tape.

use candle_core::{DType, Tensor};

use super::fused;
use crate::Result;
use crate::ops::tape::want;
use crate::ops::{Affine, BatchMoments, Epilogue, Statistics, Tape, Value};

impl Tape {
    /// As [`Tape::batch_norm`], in f32 regardless of the tape's precision; sizes have been checked.
    pub(in crate::ops) fn gpu_batch_norm(
        &self,
        x: &Value,
        affine: Affine,
        statistics: Statistics,
        follow: Epilogue,
    ) -> Result<(Value, Option<BatchMoments>)> {
        let wide = |value: &Value| -> Result<Tensor> {
            Ok(value.tensor().to_dtype(DType::F32)?.contiguous()?)
        };
        let count = x.tensor().elem_count() / x.tensor().dim(1)?;
        let input = wide(x)?;
        let own = matches!(statistics, Statistics::Batch);
        let (mean, variance) = match statistics {
            Statistics::Running(mean, variance) => (mean.clone(), variance.clone()),
            Statistics::Batch => fused::channel_moments(&input)?,
        };
        let unbias = count as f64 / (count.max(2) - 1) as f64;
        let moments = own.then(|| -> Result<BatchMoments> {
            let (mean, variance) = (mean.clone(), (&variance * unbias)?);
            Ok(BatchMoments { mean, variance })
        });
        let moments = moments.transpose()?;
        let inverse = (variance + affine.eps)?.sqrt()?.recip()?;
        let (weight, bias) = (affine.weight.tensor().clone(), affine.bias.tensor());
        let residual = follow.residual.map(wide).transpose()?;
        let channels = fused::Channels {
            mean,
            inverse,
            weight,
        };
        let output = channels.norm(&input, bias, residual.as_ref(), follow.rectify)?;
        let none = Value::constant(output.clone());
        let residual = follow.residual.unwrap_or(&none);
        let parents = [x, affine.weight, affine.bias, residual];
        let passed = follow.rectify.then(|| output.clone());
        let (x_type, residual_type) = (x.tensor().dtype(), residual.tensor().dtype());
        let value = self.record(output, &parents, move |gradient, wanted| {
            let gradient = gradient.to_dtype(DType::F32)?.contiguous()?;
            let gradient = match &passed {
                Some(output) => fused::rectifier_back(&gradient, output)?,
                None => gradient,
            };
            let sums = channels.sums(&gradient, &input)?;
            let to_x = || -> Result<Tensor> {
                let sums = own.then_some(&sums);
                Ok(channels.to_x(&gradient, &input, sums)?.to_dtype(x_type)?)
            };
            let row = |index: usize| Ok(sums.get(index)?.contiguous()?);
            Ok(vec![
                want(wanted[0], to_x)?,
                want(wanted[1], || row(0))?,
                want(wanted[2], || row(1))?,
                want(wanted[3], || Ok(gradient.to_dtype(residual_type)?))?,
            ])
        });
        Ok((value, moments))
    }
}
