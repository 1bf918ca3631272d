//! Two-dimensional convolution and max-pooling, both over windows of an image.

use candle_core::{D, Tensor};

use super::{Tape, Value};
use crate::ml::{Error, Result};

/// A square window that slides over an image with zeros (for a maximum: nothing) around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub size: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Window {
    /// The number of places along a side of `length` pixels.
    pub fn places(&self, length: usize) -> Result<usize> {
        let padded = length + 2 * self.padding;
        if self.size == 0 || self.stride == 0 || padded < self.size {
            return Err(Error::Invalid(format!(
                "a window of {} pixels does not fit {length} pixels",
                self.size
            )));
        }
        Ok((padded - self.size) / self.stride + 1)
    }

    /// For each pixel of the window and each place, by rows, the pixel of the padded image.
    fn index(&self, height: usize, width: usize) -> Result<Vec<u32>> {
        let (down, across) = (self.places(height)?, self.places(width)?);
        let line = width + 2 * self.padding;
        let mut index = Vec::with_capacity(self.size * self.size * down * across);
        for dy in 0..self.size {
            for dx in 0..self.size {
                for y in 0..down {
                    for x in 0..across {
                        index.push(((y * self.stride + dy) * line + x * self.stride + dx) as u32);
                    }
                }
            }
        }
        Ok(index)
    }
}

impl Tape {
    /// The convolution of `x` `[batch, in, height, width]` with `weight` `[out, in, size, size]`,
    /// without bias: `[batch, out, places, places]`.
    pub fn convolution(&self, x: &Value, weight: &Value, window: Window) -> Result<Value> {
        let (batch, channels, height, width) = x.tensor().dims4()?;
        let outputs = weight.tensor().dim(0)?;
        let (down, across) = (window.places(height)?, window.places(width)?);
        let taps = channels * window.size * window.size;
        let matrix = weight.tensor().reshape((1, outputs, taps))?;
        let gather = Gather::new(x.tensor(), window, 0.0)?;
        let columns = gather.columns.reshape((batch, taps, down * across))?;
        let output = matrix
            .broadcast_matmul(&columns)?
            .reshape((batch, outputs, down, across))?;
        let shape = weight.tensor().shape().clone();
        Ok(self.record(output, &[x, weight], move |gradient, wanted| {
            let gradient = gradient.reshape((batch, outputs, down * across))?;
            let to_x = || gather.back(&matrix.t()?.broadcast_matmul(&gradient)?);
            let to_weight = || gradient.matmul(&columns.t()?)?.sum(0)?.reshape(&shape);
            Ok(vec![
                wanted[0].then(to_x).transpose()?,
                wanted[1].then(to_weight).transpose()?,
            ])
        }))
    }

    /// The largest value in each window of `x` `[batch, channels, height, width]`; among equals
    /// the first takes the gradient.
    pub fn max_pool(&self, x: &Value, window: Window) -> Result<Value> {
        let (batch, channels, height, width) = x.tensor().dims4()?;
        let (down, across) = (window.places(height)?, window.places(width)?);
        let gather = Gather::new(x.tensor(), window, f64::from(f32::MIN))?;
        let taps = window.size * window.size;
        let columns = gather
            .columns
            .reshape((batch, channels, taps, down * across))?;
        let best = columns.argmax_keepdim(2)?;
        let output = columns
            .gather(&best, 2)?
            .reshape((batch, channels, down, across))?;
        Ok(self.record(output, &[x], move |gradient, _| {
            let gradient = gradient.reshape((batch, channels, 1, down * across))?;
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
        let output = x
            .tensor()
            .reshape((batch, channels, pixels))?
            .mean(D::Minus1)?;
        Ok(self.record(output, &[x], move |gradient, _| {
            let each = (gradient * (1.0 / pixels as f64))?
                .reshape((batch, channels, 1, 1))?
                .broadcast_as((batch, channels, height, width))?
                .contiguous()?;
            Ok(vec![Some(each)])
        }))
    }
}

/// The pixels under a window at every place, and the way back.
struct Gather {
    /// `[batch, channels, window·places]`
    columns: Tensor,
    index: Tensor,
    window: Window,
    shape: (usize, usize, usize, usize),
}

impl Gather {
    fn new(x: &Tensor, window: Window, outside: f64) -> Result<Self> {
        let shape = x.dims4()?;
        let (batch, channels, height, width) = shape;
        let index = Tensor::new(window.index(height, width)?, x.device())?;
        let pad = window.padding;
        let padded = surround(&surround(x, 2, pad, outside)?, 3, pad, outside)?.reshape((
            batch,
            channels,
            (height + 2 * pad) * (width + 2 * pad),
        ))?;
        let columns = padded.index_select(&index, 2)?;
        Ok(Self {
            columns,
            index,
            window,
            shape,
        })
    }

    /// Adds `gradient` (as many elements as `columns`) up at the pixels it came from.
    fn back(&self, gradient: &Tensor) -> candle_core::Result<Tensor> {
        let (batch, channels, height, width) = self.shape;
        let pad = self.window.padding;
        let (tall, wide) = (height + 2 * pad, width + 2 * pad);
        let gradient = gradient.reshape(self.columns.shape())?;
        Tensor::zeros(
            (batch, channels, tall * wide),
            gradient.dtype(),
            gradient.device(),
        )?
        .index_add(&self.index, &gradient.contiguous()?, 2)?
        .reshape((batch, channels, tall, wide))?
        .narrow(2, pad, height)?
        .narrow(3, pad, width)?
        .contiguous()
    }
}

/// `x` with `count` more entries of `value` before and after along `dimension`.
fn surround(x: &Tensor, dimension: usize, count: usize, value: f64) -> Result<Tensor> {
    if count == 0 {
        return Ok(x.clone());
    }
    let mut shape = x.dims().to_vec();
    shape[dimension] = count;
    let border = Tensor::full(value as f32, shape, x.device())?.to_dtype(x.dtype())?;
    Ok(Tensor::cat(&[&border, x, &border], dimension)?)
}
