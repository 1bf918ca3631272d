//! x·Wᵀ + b with an activation behind it.

use candle_core::Tensor;

use super::{Tape, Value};
use crate::ml::Result;

/// What follows a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    /// x·Φ(x) with the exact normal distribution function, as PyTorch's default GELU.
    Gelu,
    /// x·σ(1.702 x), as in OpenAI's CLIP.
    QuickGelu,
}

impl Tape {
    /// A linear layer: `x` `[…, in]`, `weight` `[out, in]` (further dimensions count as `in`, so
    /// a patch convolution's `[out, channels, height, width]` fits), `bias` `[out]`.
    /// Gives `[…, out]`.
    pub fn linear(
        &self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        activation: Activation,
    ) -> Result<Value> {
        let outputs = weight.tensor().dim(0)?;
        let inputs = weight.tensor().elem_count() / outputs.max(1);
        let rows = x.tensor().elem_count() / inputs.max(1);
        let flat = x.tensor().reshape((rows, inputs))?;
        let matrix = weight.tensor().reshape((outputs, inputs))?;
        let tracked = x.is_tracked() || weight.is_tracked() || bias.is_some_and(Value::is_tracked);

        let mut pre = flat.matmul(&matrix.t()?)?;
        if let Some(bias) = bias {
            pre = pre.broadcast_add(bias.tensor())?;
        }
        let (output, slope) = activate(&pre, activation, tracked)?;
        let mut shape = x.tensor().dims().to_vec();
        shape.pop();
        shape.push(outputs);
        let output = output.reshape(shape)?;

        let none = Value::constant(matrix.clone());
        let parents = [x, weight, bias.unwrap_or(&none)];
        let (x_shape, weight_shape) = (x.tensor().shape().clone(), weight.tensor().shape().clone());
        Ok(self.record(output, &parents, move |gradient, wanted| {
            let mut gradient = gradient.reshape((rows, outputs))?;
            if let Some(slope) = slope {
                gradient = (gradient * slope)?;
            }
            let to_x = || gradient.matmul(&matrix)?.reshape(&x_shape);
            let to_weight = || gradient.t()?.matmul(&flat)?.reshape(&weight_shape);
            Ok(vec![
                wanted[0].then(to_x).transpose()?,
                wanted[1].then(to_weight).transpose()?,
                wanted[2].then(|| gradient.sum(0)).transpose()?,
            ])
        }))
    }
}

/// The activation of `pre` and, where `with_slope`, its derivative there.
fn activate(
    pre: &Tensor,
    activation: Activation,
    with_slope: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    match activation {
        Activation::None => Ok((pre.clone(), None)),
        Activation::Gelu => {
            let cumulative = (((pre / std::f64::consts::SQRT_2)?.erf()? + 1.0)? * 0.5)?;
            let slope = with_slope
                .then(|| {
                    let scale = 1.0 / (2.0 * std::f64::consts::PI).sqrt();
                    let density = ((pre.sqr()? * -0.5)?.exp()? * scale)?;
                    &cumulative + (pre * density)?
                })
                .transpose()?;
            Ok(((pre * cumulative)?, slope))
        }
        Activation::QuickGelu => {
            let gate = ((pre * -1.702)?.exp()? + 1.0)?.recip()?;
            let slope = with_slope
                .then(|| {
                    let bend = ((pre * 1.702)? * (1.0 - &gate)?)?;
                    &gate * (bend + 1.0)?
                })
                .transpose()?;
            Ok(((pre * gate)?, slope))
        }
    }
}
