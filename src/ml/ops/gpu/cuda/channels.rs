//! Launches the kernels of batch normalisation.

use candle_core::{DType, Tensor};

use super::fold;
use super::launch::{Grid, Kernel, blank};
use crate::Result;
use crate::ops::gpu::fused::Channels;

/// The number of images that one block sums.
const DEEP: usize = 8;

/// Batch, channels and pixels.
fn sizes(x: &Tensor) -> Result<[usize; 3]> {
    let (batch, channels, height, width) = x.dims4()?;
    Ok([batch, channels, height * width])
}

pub fn channel_moments(x: &Tensor) -> Result<(Tensor, Tensor)> {
    let count = (x.elem_count() / x.dim(1)?) as f64;
    let nothing = Tensor::zeros(x.dim(1)?, DType::F32, x.device())?;
    let mean = (channel_sums(x, &nothing, false)? / count)?;
    let squares = channel_sums(x, &mean, true)?;
    Ok((mean, (squares / count)?))
}

fn channel_sums(x: &Tensor, shifts: &Tensor, squares: bool) -> Result<Tensor> {
    let [batch, channels, pixels] = sizes(x)?;
    let chunks = batch.div_ceil(DEEP);
    let parts = blank((chunks, channels), DType::F32, x.device())?;
    Kernel::new("channel_sums")
        .tensor(x)
        .tensor(shifts)
        .tensor(&parts)
        .size(batch)
        .size(channels)
        .size(pixels)
        .size(DEEP)
        .integer(squares.into())
        .launch(Grid::of_channels(channels, chunks))?;
    fold(&parts)
}

pub fn batch_norm(
    by: &Channels,
    x: &Tensor,
    bias: &Tensor,
    residual: Option<&Tensor>,
    rectify: bool,
) -> Result<Tensor> {
    let [_, channels, pixels] = sizes(x)?;
    let count = x.elem_count();
    let y = blank(x.shape(), DType::F32, x.device())?;
    Kernel::new("batch_norm")
        .tensor(x)
        .tensor(&by.mean)
        .tensor(&by.inverse)
        .tensor(&by.weight)
        .tensor(bias)
        .tensor(residual.unwrap_or(x))
        .tensor(&y)
        .count(count)
        .size(channels)
        .size(pixels)
        .integer(residual.is_some().into())
        .integer(rectify.into())
        .launch(Grid::over(count))?;
    Ok(y)
}

pub fn rectifier_back(gradient: &Tensor, y: &Tensor) -> Result<Tensor> {
    let count = y.elem_count();
    let result = blank(y.shape(), DType::F32, y.device())?;
    Kernel::new("rectifier_back")
        .tensor(gradient)
        .tensor(y)
        .tensor(&result)
        .count(count)
        .launch(Grid::over(count))?;
    Ok(result)
}

pub fn channel_gradients(by: &Channels, gradient: &Tensor, x: &Tensor) -> Result<Tensor> {
    let [batch, channels, pixels] = sizes(x)?;
    let chunks = batch.div_ceil(DEEP);
    let parts = blank((chunks, 2 * channels), DType::F32, x.device())?;
    Kernel::new("channel_gradients")
        .tensor(gradient)
        .tensor(x)
        .tensor(&by.mean)
        .tensor(&by.inverse)
        .tensor(&parts)
        .size(batch)
        .size(channels)
        .size(pixels)
        .size(DEEP)
        .launch(Grid::of_channels(channels, chunks))?;
    Ok(fold(&parts)?.reshape((2, channels))?)
}

pub fn batch_norm_to_x(
    by: &Channels,
    gradient: &Tensor,
    x: &Tensor,
    sums: Option<&Tensor>,
) -> Result<Tensor> {
    let [_, channels, pixels] = sizes(x)?;
    let count = x.elem_count();
    let result = blank(x.shape(), DType::F32, x.device())?;
    Kernel::new("batch_norm_to_x")
        .tensor(gradient)
        .tensor(x)
        .tensor(&by.mean)
        .tensor(&by.inverse)
        .tensor(&by.weight)
        .tensor(sums.unwrap_or(x))
        .tensor(&result)
        .count(count)
        .size(channels)
        .size(pixels)
        .integer(sums.is_some().into())
        .launch(Grid::over(count))?;
    Ok(result)
}
