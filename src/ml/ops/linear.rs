//! x·Wᵀ + b, followed by an activation or a residual.

use candle_core::{Shape, Tensor};

use super::tape::want;
use super::{Precision, Tape, Value, cpu};
use crate::{Error, Result};

/// The activation after a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    None,
    /// x·Φ(x) with the exact normal distribution function, as PyTorch's default GELU.
    Gelu,
    /// x·σ(1.702 x), as in OpenAI's CLIP.
    QuickGelu,
}

impl Tape {
    /// A linear layer: `x` `[…, in]`, `weight` `[out, in]` (further dimensions count as `in`, so a
    /// patch convolution's `[out, channels, height, width]` fits), `bias` `[out]`. Returns `[…,
    /// out]`.
    pub fn linear(
        &self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        activation: Activation,
    ) -> Result<Value> {
        self.linear_and(x, weight, bias, activation, None)
    }

    /// `residual` + x·Wᵀ + bias; `residual` has the shape of the output.
    pub fn linear_residual(
        &self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        residual: &Value,
    ) -> Result<Value> {
        self.linear_and(x, weight, bias, Activation::None, Some(residual))
    }

    /// `residual` + a₂(a(x·W₁ᵀ + b₁)), where a is the activation and a₂ the second layer.
    ///
    /// In training, only the input of the activation is kept between the layers: the activation is
    /// recomputed in the backward pass.
    pub fn perceptron(
        &self,
        x: &Value,
        first: [&Value; 2],
        activation: Activation,
        second: [&Value; 2],
        residual: &Value,
    ) -> Result<Value> {
        let [weight, bias] = first;
        let operands = [x, weight, bias, second[0], second[1], residual];
        let serves = cpu::serves(&operands.map(Value::tensor));
        let fused = serves && cpu::product::serves(self.precision()) && !self.is_on_gpu(x);
        if !fused || !operands.iter().any(|operand| operand.is_tracked()) {
            let hidden = self.linear(x, weight, Some(bias), activation)?;
            return self.linear_residual(&hidden, second[0], Some(second[1]), residual);
        }
        let hidden = self.linear(x, weight, Some(bias), Activation::None)?;
        self.linear_of_activated(&hidden, activation, second, residual)
    }

    fn linear_of_activated(
        &self,
        x: &Value,
        activation: Activation,
        [weight, bias]: [&Value; 2],
        residual: &Value,
    ) -> Result<Value> {
        let shape = sizes(x, weight, Some(bias), Some(residual))?;
        let precision = self.precision();
        let (rows, inputs, outputs) = (shape.rows, shape.inputs, shape.outputs);
        let raw = x.tensor().reshape((rows, inputs))?;
        let layer = Layer {
            flat: activated_again(&raw, activation, false)?.0,
            matrix: weight.tensor().reshape((outputs, inputs))?,
            bias: Some(bias.tensor().clone()),
            residual: Some(residual.tensor().clone()),
            shape,
            fused: Some(precision),
        };
        let (output, _) = layer.forward(Activation::None, false)?;
        let output = output.reshape(residual.tensor().shape())?;
        let layer = Layer {
            flat: raw,
            residual: None,
            ..layer
        };
        let (x_shape, weight_shape) = (x.tensor().shape().clone(), weight.tensor().shape().clone());
        let parents = [x, weight, bias, residual];
        Ok(self.record(output, &parents, move |whole, wanted| {
            let gradient = whole.reshape((rows, outputs))?;
            let (flat, slope) = activated_again(&layer.flat, activation, wanted[0])?;
            let layer = Layer { flat, ..layer };
            layer.back(whole, &gradient, slope, [&x_shape, &weight_shape], wanted)
        }))
    }

    fn linear_and(
        &self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        activation: Activation,
        residual: Option<&Value>,
    ) -> Result<Value> {
        sizes(x, weight, bias, residual)?;
        if self.is_on_gpu(x) {
            return self.gpu_linear(x, weight, bias, activation, residual);
        }
        let operands = [Some(x), Some(weight), bias, residual];
        let tensors: Vec<&Tensor> = operands.iter().flatten().map(|it| it.tensor()).collect();
        let precision = self.precision();
        if cpu::serves(&tensors) && cpu::product::serves(precision) {
            return self.linear_in(x, weight, bias, activation, residual, Some(precision));
        }
        if precision == Precision::F32 {
            return self.linear_in(x, weight, bias, activation, residual, None);
        }
        let (x, weight) = (self.rounded(x)?, self.rounded(weight)?);
        let bias = bias.map(|bias| self.rounded(bias)).transpose()?;
        let fused = cpu::serves(&tensors).then_some(Precision::F32);
        let product = self.linear_in(&x, &weight, bias.as_ref(), Activation::None, None, fused)?;
        let output = self.activated(&self.rounded(&product)?, activation)?;
        match residual {
            Some(residual) => self.add(&output, residual),
            None => Ok(output),
        }
    }

    /// Uses the CPU kernels in that precision if they exist, otherwise composes f32 operations.
    fn linear_in(
        &self,
        x: &Value,
        weight: &Value,
        bias: Option<&Value>,
        activation: Activation,
        residual: Option<&Value>,
        fused: Option<Precision>,
    ) -> Result<Value> {
        let shape = sizes(x, weight, bias, residual)?;
        let cpu::linear::LinearShape {
            rows,
            inputs,
            outputs,
        } = shape;
        let flat = x.tensor().reshape((rows, inputs))?;
        let matrix = weight.tensor().reshape((outputs, inputs))?;
        let extra = |value: Option<&Value>| value.map(|value| value.tensor().clone());
        let (bias_tensor, residual_tensor) = (extra(bias), extra(residual));
        let layer = Layer {
            flat,
            matrix,
            bias: bias_tensor,
            residual: residual_tensor,
            shape,
            fused,
        };
        let parents = [Some(x), Some(weight), bias, residual];
        let tracked = parents.iter().flatten().any(|parent| parent.is_tracked());
        let (output, slope) = layer.forward(activation, tracked)?;
        let mut dims = x.tensor().dims().to_vec();
        dims.pop();
        dims.push(outputs);
        let output = output.reshape(dims)?;

        let none = Value::constant(layer.matrix.clone());
        let parents = parents.map(|parent| parent.unwrap_or(&none));
        let (x_shape, weight_shape) = (x.tensor().shape().clone(), weight.tensor().shape().clone());
        Ok(self.record(output, &parents, move |gradient, wanted| {
            let before = layer.before_activation(gradient, slope)?;
            layer.back(gradient, &before, None, [&x_shape, &weight_shape], wanted)
        }))
    }
}

/// The activation of `[rows, columns]` on the CPU and, optionally, its slope.
fn activated_again(
    x: &Tensor,
    activation: Activation,
    with_slope: bool,
) -> Result<(Tensor, Option<Tensor>)> {
    let (output, slope) = cpu::read([x], |[x]| cpu::linear::activated(x, activation, with_slope))?;
    let slope = slope
        .map(|slope| cpu::tensor(slope, x.shape()))
        .transpose()?;
    Ok((cpu::tensor(output, x.shape())?, slope))
}

fn sizes(
    x: &Value,
    weight: &Value,
    bias: Option<&Value>,
    residual: Option<&Value>,
) -> Result<cpu::linear::LinearShape> {
    let outputs = weight.tensor().dim(0)?;
    let inputs = weight.tensor().elem_count() / outputs.max(1);
    let columns = x.tensor().dims().last().copied().unwrap_or_default();
    let rows = x.tensor().elem_count() / inputs.max(1);
    let count = |value: Option<&Value>| value.map(|value| value.tensor().elem_count());
    let fits = inputs > 0
        && columns == inputs
        && count(bias).is_none_or(|count| count == outputs)
        && count(residual).is_none_or(|count| count == rows * outputs);
    if !fits {
        return Err(Error::Invalid(format!(
            "a linear layer {:?} does not take {:?}",
            weight.tensor().dims(),
            x.tensor().dims()
        )));
    }
    Ok(cpu::linear::LinearShape {
        rows,
        inputs,
        outputs,
    })
}

/// The inputs of both passes of a layer.
struct Layer {
    flat: Tensor,
    matrix: Tensor,
    bias: Option<Tensor>,
    residual: Option<Tensor>,
    shape: cpu::linear::LinearShape,
    /// The precision of the CPU kernels, if they support the layer.
    fused: Option<Precision>,
}

impl Layer {
    /// The output `[rows, out]` and, optionally, the activation's slope.
    fn forward(
        &self,
        activation: Activation,
        with_slope: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let Some(precision) = self.fused else {
            return self.composed_forward(activation, with_slope);
        };
        let empty = Tensor::zeros(0, self.flat.dtype(), self.flat.device())?;
        let bias = self.bias.as_ref().unwrap_or(&empty);
        let residual = self.residual.as_ref().unwrap_or(&empty);
        let (output, slope) = cpu::read(
            [&self.flat, &self.matrix, bias, residual],
            |[x, weight, bias, residual]| {
                let layer = (x, weight, bias, residual);
                cpu::linear::forward(self.shape, layer, activation, with_slope, precision)
            },
        )?;
        let dims = (self.shape.rows, self.shape.outputs);
        let slope = slope.map(|slope| cpu::tensor(slope, dims)).transpose()?;
        Ok((cpu::tensor(output, dims)?, slope))
    }

    fn composed_forward(
        &self,
        activation: Activation,
        with_slope: bool,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let mut pre = self.flat.matmul(&self.matrix.t()?)?;
        if let Some(bias) = &self.bias {
            pre = pre.broadcast_add(bias)?;
        }
        if let Some(residual) = &self.residual {
            pre = (&pre + residual.reshape(pre.shape())?)?;
        }
        activate(&pre, activation, with_slope)
    }

    /// The gradients of x, weight, bias and residual, as far as wanted. `whole` is the gradient of
    /// the output, `gradient` that before the activation, and `slope` that of the operation that
    /// produced x.
    fn back(
        &self,
        whole: &Tensor,
        gradient: &Tensor,
        slope: Option<Tensor>,
        [x_shape, weight_shape]: [&Shape; 2],
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let to_x = || {
            Ok(self
                .through(&self.to_x(gradient)?, slope)?
                .reshape(x_shape)?)
        };
        let to_weight = || Ok(self.to_weight(gradient)?.reshape(weight_shape)?);
        Ok(vec![
            want(wanted[0], to_x)?,
            want(wanted[1], to_weight)?,
            want(wanted[2], || self.to_bias(gradient))?,
            want(wanted[3], || Ok(whole.clone()))?,
        ])
    }

    /// The gradient before the activation, `[rows, out]`.
    fn before_activation(&self, gradient: &Tensor, slope: Option<Tensor>) -> Result<Tensor> {
        let dims = (self.shape.rows, self.shape.outputs);
        self.through(&gradient.reshape(dims)?, slope)
    }

    /// gradient·slope.
    fn through(&self, gradient: &Tensor, slope: Option<Tensor>) -> Result<Tensor> {
        match slope {
            None => Ok(gradient.clone()),
            Some(slope) if self.fused.is_some() => {
                let product = cpu::read([gradient, &slope], |[gradient, slope]| {
                    cpu::linear::through_activation(gradient, slope)
                })?;
                cpu::tensor(product, gradient.shape())
            }
            Some(slope) => Ok((gradient * slope)?),
        }
    }

    fn to_x(&self, gradient: &Tensor) -> Result<Tensor> {
        let Some(precision) = self.fused else {
            return Ok(gradient.matmul(&self.matrix)?);
        };
        let values = cpu::read([gradient, &self.matrix], |[gradient, weight]| {
            cpu::linear::to_x(self.shape, gradient, weight, precision)
        });
        cpu::tensor(values?, (self.shape.rows, self.shape.inputs))
    }

    fn to_weight(&self, gradient: &Tensor) -> Result<Tensor> {
        let Some(precision) = self.fused else {
            return Ok(gradient.t()?.matmul(&self.flat)?);
        };
        let values = cpu::read([gradient, &self.flat], |[gradient, x]| {
            cpu::linear::to_weight(self.shape, gradient, x, precision)
        });
        cpu::tensor(values?, (self.shape.outputs, self.shape.inputs))
    }

    fn to_bias(&self, gradient: &Tensor) -> Result<Tensor> {
        let Some(precision) = self.fused else {
            return Ok(gradient.sum(0)?);
        };
        let values = cpu::read([gradient], |[gradient]| {
            cpu::linear::to_bias(self.shape.outputs, gradient, precision)
        });
        cpu::tensor(values?, self.shape.outputs)
    }
}

/// The activation of `pre` and, if `with_slope`, its derivative.
pub(super) fn activate(
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
