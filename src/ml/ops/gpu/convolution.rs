//! Convolution on the tape: one matrix product over all positions of all images.

use candle_core::{DType, Tensor};

use super::fused;
use crate::Result;
use crate::ops::cpu::convolution::ConvolutionShape;
use crate::ops::tape::want;
use crate::ops::{Tape, Value};

impl Tape {
    /// As [`Tape::convolution`], returning f32; sizes have been checked. Keeps the pixels under the
    /// windows in the tape's precision.
    pub(in crate::ops) fn gpu_convolution(
        &self,
        x: &Value,
        weight: &Value,
        shape: ConvolutionShape,
    ) -> Result<Value> {
        let stored = self.stored();
        let outputs = weight.tensor().dim(0)?;
        let (batch, places) = (shape.batch, shape.down * shape.across);
        let taps = shape.channels * shape.window.size * shape.window.size;
        let rows = fused::unfold(
            &x.tensor().to_dtype(DType::F32)?.contiguous()?,
            shape,
            stored,
        )?;
        let matrix = weight.tensor().to_dtype(stored)?.reshape((outputs, taps))?;
        let product = rows.matmul(&matrix.t()?)?;
        let output = product
            .reshape((batch, places, outputs))?
            .transpose(1, 2)?
            .to_dtype(DType::F32)?
            .contiguous()?
            .reshape((batch, outputs, shape.down, shape.across))?;
        let (x_type, weight_dims) = (x.tensor().dtype(), weight.tensor().shape().clone());
        Ok(self.record(output, &[x, weight], move |gradient, wanted| {
            let gradient = gradient
                .reshape((batch, outputs, places))?
                .to_dtype(stored)?
                .transpose(1, 2)?
                .contiguous()?
                .reshape((batch * places, outputs))?;
            let to_x = || {
                let back = fused::unfold_back(&gradient.matmul(&matrix)?, shape)?;
                Ok(back.to_dtype(x_type)?)
            };
            let to_weight = || -> Result<Tensor> {
                let product = gradient.t()?.matmul(&rows)?.to_dtype(DType::F32)?;
                Ok(product.reshape(&weight_dims)?)
            };
            Ok(vec![want(wanted[0], to_x)?, want(wanted[1], to_weight)?])
        }))
    }
}
