//! Layer normalisation over the last dimension.

use candle_core::{D, Tensor};

use super::tape::want;
use super::{Tape, Value, cpu};
use crate::{Error, Result};

impl Tape {
    /// (x − mean)/√(variance + eps) · weight + bias over the last dimension of `x` `[…, width]`;
    /// the variance is the biased one. `weight` and `bias` are `[width]`.
    pub fn layer_norm(&self, x: &Value, weight: &Value, bias: &Value, eps: f64) -> Result<Value> {
        let width = x.tensor().dim(D::Minus1)?;
        if width == 0 || weight.tensor().dims() != [width] || bias.tensor().dims() != [width] {
            let message = format!("a layer norm does not fit {:?}", x.tensor().dims());
            return Err(Error::Invalid(message));
        }
        if self.is_on_gpu(x) {
            return self.gpu_layer_norm(x, weight, bias, eps);
        }
        match cpu::serves(&[x.tensor(), weight.tensor(), bias.tensor()]) {
            true => self.fused_layer_norm(x, weight, bias, eps),
            false => self.composed_layer_norm(x, weight, bias, eps),
        }
    }

    fn fused_layer_norm(&self, x: &Value, weight: &Value, bias: &Value, eps: f64) -> Result<Value> {
        let width = weight.tensor().elem_count();
        let tensors = [x.tensor(), weight.tensor(), bias.tensor()];
        let (output, moments) = cpu::read(tensors, |[x, weight, bias]| {
            cpu::layer_norm::forward(width, x, weight, bias, eps as f32)
        })?;
        let shape = x.tensor().shape().clone();
        let output = cpu::tensor(output, shape.clone())?;
        let (input, scale) = (x.tensor().clone(), weight.tensor().clone());
        Ok(self.record(output, &[x, weight, bias], move |gradient, _| {
            let found = cpu::read([gradient, &input, &scale], |[gradient, x, weight]| {
                cpu::layer_norm::backward(width, gradient, x, weight, &moments)
            })?;
            let [to_x, to_weight, to_bias] = found;
            Ok(vec![
                Some(cpu::tensor(to_x, shape)?),
                Some(cpu::tensor(to_weight, width)?),
                Some(cpu::tensor(to_bias, width)?),
            ])
        }))
    }

    fn composed_layer_norm(
        &self,
        x: &Value,
        weight: &Value,
        bias: &Value,
        eps: f64,
    ) -> Result<Value> {
        let width = weight.tensor().elem_count();
        let rows = x.tensor().elem_count() / width;
        let flat = x.tensor().reshape((rows, width))?;
        let centred = flat.broadcast_sub(&flat.mean_keepdim(1)?)?;
        let spread = (centred.sqr()?.mean_keepdim(1)? + eps)?.sqrt()?;
        let normal = centred.broadcast_div(&spread)?;
        let output = normal
            .broadcast_mul(weight.tensor())?
            .broadcast_add(bias.tensor())?
            .reshape(x.tensor().shape())?;
        let shape = x.tensor().shape().clone();
        let scale = weight.tensor().clone();
        Ok(
            self.record(output, &[x, weight, bias], move |gradient, wanted| {
                let gradient = gradient.reshape((rows, width))?;
                let to_x = || -> Result<Tensor> {
                    let scaled = gradient.broadcast_mul(&scale)?;
                    let along = (&scaled * &normal)?.mean_keepdim(1)?;
                    let flat = scaled
                        .broadcast_sub(&scaled.mean_keepdim(1)?)?
                        .sub(&normal.broadcast_mul(&along)?)?
                        .broadcast_div(&spread)?;
                    Ok(flat.reshape(&shape)?)
                };
                Ok(vec![
                    want(wanted[0], to_x)?,
                    want(wanted[1], || Ok((&gradient * &normal)?.sum(0)?))?,
                    want(wanted[2], || Ok(gradient.sum(0)?))?,
                ])
            }),
        )
    }
}
