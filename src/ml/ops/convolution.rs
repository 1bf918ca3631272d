//! Two-dimensional convolution and pooling over windows of an image.

use candle_core::{D, Tensor};

use super::cpu::convolution::ConvolutionShape;
use super::tape::want;
use super::{Tape, Value, cpu};
use crate::{Error, Result};

/// A square window that slides over an image padded with zeros (for a maximum: with nothing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub size: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Window {
    /// The number of positions along a side of `length` pixels.
    pub fn places(&self, length: usize) -> Result<usize> {
        let padded = length + 2 * self.padding;
        if self.size == 0 || self.stride == 0 || padded < self.size || self.padding >= self.size {
            return Err(Error::Invalid(format!(
                "a window of {} pixels does not fit {length} pixels",
                self.size
            )));
        }
        Ok((padded - self.size) / self.stride + 1)
    }

    fn shape(self, x: &Tensor) -> Result<ConvolutionShape> {
        let (batch, channels, height, width) = x.dims4()?;
        Ok(ConvolutionShape {
            batch,
            channels,
            height,
            width,
            window: self,
            down: self.places(height)?,
            across: self.places(width)?,
        })
    }
}

impl Tape {
    /// The convolution of `x` `[batch, in, height, width]` with `weight` `[out, in, size, size]`,
    /// without bias: `[batch, out, places, places]`.
    pub fn convolution(&self, x: &Value, weight: &Value, window: Window) -> Result<Value> {
        let shape = window.shape(x.tensor())?;
        let (outputs, inputs, tall, wide) = weight.tensor().dims4()?;
        if (inputs, tall, wide) != (shape.channels, window.size, window.size) || outputs == 0 {
            return Err(Error::Invalid(format!(
                "a convolution {:?} does not take {:?}",
                weight.tensor().dims(),
                x.tensor().dims()
            )));
        }
        if self.is_on_gpu(x) {
            return self.gpu_convolution(x, weight, shape);
        }
        let (x, weight) = (&self.rounded(x)?, &self.rounded(weight)?);
        let output = match cpu::serves(&[x.tensor(), weight.tensor()]) {
            true => self.fused_convolution(x, weight, shape),
            false => self.composed_convolution(x, weight, shape),
        };
        self.rounded(&output?)
    }

    fn fused_convolution(
        &self,
        x: &Value,
        weight: &Value,
        shape: ConvolutionShape,
    ) -> Result<Value> {
        let outputs = weight.tensor().dim(0)?;
        let tensors = [x.tensor(), weight.tensor()];
        let values = cpu::read(tensors, |[x, weight]| {
            cpu::convolution::forward(shape, x, weight)
        })?;
        let output = cpu::tensor(values, (shape.batch, outputs, shape.down, shape.across))?;
        let (input, kernel) = (x.tensor().clone(), weight.tensor().clone());
        Ok(self.record(output, &[x, weight], move |gradient, wanted| {
            let to_x = || {
                let values = cpu::read([gradient, &kernel], |[gradient, weight]| {
                    cpu::convolution::to_x(shape, gradient, weight)
                })?;
                cpu::tensor(values, input.shape())
            };
            let to_weight = || {
                let values = cpu::read([gradient, &input], |[gradient, x]| {
                    cpu::convolution::to_weight(shape, outputs, gradient, x)
                })?;
                cpu::tensor(values, kernel.shape())
            };
            Ok(vec![want(wanted[0], to_x)?, want(wanted[1], to_weight)?])
        }))
    }

    fn composed_convolution(
        &self,
        x: &Value,
        weight: &Value,
        shape: ConvolutionShape,
    ) -> Result<Value> {
        let outputs = weight.tensor().dim(0)?;
        let (batch, places) = (shape.batch, shape.down * shape.across);
        let taps = shape.channels * shape.window.size * shape.window.size;
        let matrix = weight.tensor().reshape((1, outputs, taps))?;
        let gather = Gather::new(x.tensor(), shape, 0.0)?;
        let columns = gather.columns.reshape((batch, taps, places))?;
        let output = matrix.broadcast_matmul(&columns)?;
        let output = output.reshape((batch, outputs, shape.down, shape.across))?;
        let dims = weight.tensor().shape().clone();
        Ok(self.record(output, &[x, weight], move |gradient, wanted| {
            let gradient = gradient.reshape((batch, outputs, places))?;
            let to_x = || gather.back(&matrix.t()?.broadcast_matmul(&gradient)?);
            let to_weight = || Ok(gradient.matmul(&columns.t()?)?.sum(0)?.reshape(&dims)?);
            Ok(vec![want(wanted[0], to_x)?, want(wanted[1], to_weight)?])
        }))
    }

    /// The largest value in each window of `x` `[batch, channels, height, width]`; the first of
    /// equal values gets the gradient.
    pub fn max_pool(&self, x: &Value, window: Window) -> Result<Value> {
        let shape = window.shape(x.tensor())?;
        match cpu::serves(&[x.tensor()]) {
            true => self.fused_max_pool(x, shape),
            false => self.composed_max_pool(x, shape),
        }
    }

    fn fused_max_pool(&self, x: &Value, shape: ConvolutionShape) -> Result<Value> {
        let (values, best) = cpu::read([x.tensor()], |[x]| cpu::convolution::max_pool(shape, x))?;
        let dims = (shape.batch, shape.channels, shape.down, shape.across);
        let output = cpu::tensor(values, dims)?;
        let from = x.tensor().shape().clone();
        Ok(self.record(output, &[x], move |gradient, _| {
            let values = cpu::read([gradient], |[gradient]| {
                cpu::convolution::max_pool_backward(shape, gradient, &best)
            })?;
            Ok(vec![Some(cpu::tensor(values, from)?)])
        }))
    }

    fn composed_max_pool(&self, x: &Value, shape: ConvolutionShape) -> Result<Value> {
        let (batch, channels) = (shape.batch, shape.channels);
        let places = shape.down * shape.across;
        let gather = Gather::new(x.tensor(), shape, f64::from(f32::MIN))?;
        let taps = shape.window.size * shape.window.size;
        let columns = gather.columns.reshape((batch, channels, taps, places))?;
        let best = columns.argmax_keepdim(2)?;
        let output = columns.gather(&best, 2)?;
        let output = output.reshape((batch, channels, shape.down, shape.across))?;
        Ok(self.record(output, &[x], move |gradient, _| {
            let gradient = gradient.reshape((batch, channels, 1, places))?;
            let ladder = Tensor::arange(0, taps as u32, gradient.device())?
                .reshape((1, 1, taps, 1))?
                .broadcast_as(columns.shape())?;
            let chosen = ladder
                .eq(&best.broadcast_as(columns.shape())?)?
                .to_dtype(gradient.dtype())?;
            let spread = chosen.broadcast_mul(&gradient)?;
            Ok(vec![Some(gather.back(&spread)?)])
        }))
    }

    /// The mean over the pixels of `x` `[batch, channels, height, width]`: `[batch, channels]`.
    pub fn mean_pool(&self, x: &Value) -> Result<Value> {
        let (batch, channels, height, width) = x.tensor().dims4()?;
        let pixels = height * width;
        let fused = pixels > 0 && cpu::serves(&[x.tensor()]);
        let output = match fused {
            true => {
                let values = cpu::read([x.tensor()], |[x]| cpu::convolution::mean_pool(x, pixels))?;
                cpu::tensor(values, (batch, channels))?
            }
            false => {
                let flat = x.tensor().reshape((batch, channels, pixels))?;
                flat.mean(D::Minus1)?
            }
        };
        Ok(self.record(output, &[x], move |gradient, _| {
            let dims = (batch, channels, height, width);
            if fused {
                let values = cpu::read([gradient], |[gradient]| {
                    cpu::convolution::mean_pool_backward(gradient, pixels)
                })?;
                return Ok(vec![Some(cpu::tensor(values, dims)?)]);
            }
            let each = (gradient * (1.0 / pixels as f64))?
                .reshape((batch, channels, 1, 1))?
                .broadcast_as(dims)?
                .contiguous()?;
            Ok(vec![Some(each)])
        }))
    }
}

/// The pixels under the window at every position, and the reverse operation.
pub(super) struct Gather {
    /// `[batch, channels, window·places]`
    pub columns: Tensor,
    index: Tensor,
    shape: ConvolutionShape,
}

impl Gather {
    pub fn new(x: &Tensor, shape: ConvolutionShape, outside: f64) -> Result<Self> {
        let index = Tensor::new(padded_index(shape), x.device())?;
        let pad = shape.window.padding;
        let pixels = (shape.height + 2 * pad) * (shape.width + 2 * pad);
        let padded = surround(&surround(x, 2, pad, outside)?, 3, pad, outside)?;
        let flat = padded.reshape((shape.batch, shape.channels, pixels))?;
        Ok(Self {
            columns: flat.index_select(&index, 2)?,
            index,
            shape,
        })
    }

    /// Adds `gradient` (with as many elements as `columns`) to the pixels it was gathered from.
    pub fn back(&self, gradient: &Tensor) -> Result<Tensor> {
        let ConvolutionShape {
            batch,
            channels,
            height,
            width,
            window,
            ..
        } = self.shape;
        let (tall, wide) = (height + 2 * window.padding, width + 2 * window.padding);
        let gradient = gradient.reshape(self.columns.shape())?.contiguous()?;
        let zeros = (batch, channels, tall * wide);
        let sum = Tensor::zeros(zeros, gradient.dtype(), gradient.device())?
            .index_add(&self.index, &gradient, 2)?
            .reshape((batch, channels, tall, wide))?;
        let inner = sum.narrow(2, window.padding, height)?;
        Ok(inner.narrow(3, window.padding, width)?.contiguous()?)
    }
}

/// For each pixel of the window and each position, in row-major order, the pixel of the padded
/// image.
fn padded_index(shape: ConvolutionShape) -> Vec<u32> {
    let Window {
        size,
        stride,
        padding,
    } = shape.window;
    let line = shape.width + 2 * padding;
    let mut index = Vec::with_capacity(size * size * shape.down * shape.across);
    for dy in 0..size {
        for dx in 0..size {
            for y in 0..shape.down {
                for x in 0..shape.across {
                    index.push(((y * stride + dy) * line + x * stride + dx) as u32);
                }
            }
        }
    }
    index
}

/// Pads `x` with `count` entries of `value` before and after along `dimension`.
fn surround(x: &Tensor, dimension: usize, count: usize, value: f64) -> Result<Tensor> {
    if count == 0 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape[dimension] = count;
    let border = Tensor::full(value as f32, shape, x.device())?.to_dtype(x.dtype())?;
    Ok(Tensor::cat(&[&border, x, &border], dimension)?)
}
