//! Layer normalisation over the last dimension.

use candle_core::{D, Tensor};

use super::{Tape, Value};
use crate::ml::Result;

impl Tape {
    /// (x − mean)/√(variance + eps) · weight + bias over the last dimension of `x` `[…, width]`;
    /// the variance is the biased one. `weight` and `bias` are `[width]`.
    pub fn layer_norm(&self, x: &Value, weight: &Value, bias: &Value, eps: f64) -> Result<Value> {
        let width = x.tensor().dim(D::Minus1)?;
        let rows = x.tensor().elem_count() / width.max(1);
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
                let to_weight = || (&gradient * &normal)?.sum(0);
                Ok(vec![
                    wanted[0].then(to_x).transpose()?,
                    wanted[1].then(to_weight).transpose()?,
                    wanted[2].then(|| gradient.sum(0)).transpose()?,
                ])
            }),
        )
    }
}
