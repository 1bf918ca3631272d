//! Launches the kernels in `../kernels`: see [`super::fused`] for what each computes.

mod channels;
pub mod launch;

use candle_core::{DType, Tensor};

pub use self::channels::{
    batch_norm, batch_norm_to_x, channel_gradients, channel_moments, rectifier_back,
};
use self::launch::{Grid, Kernel, blank};
use crate::ops::Activation;
use crate::ops::cpu::convolution::ConvolutionShape;
use crate::{Error, Result};

/// The number of rows that one block sums.
const DEEP: usize = 512;

fn suffix(tensor: &Tensor) -> Result<&'static str> {
    match tensor.dtype() {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("bf16"),
        other => Err(Error::Invalid(format!(
            "there is no kernel for {other:?} on a GPU: use f32 or bf16"
        ))),
    }
}

fn kind(activation: Activation) -> i32 {
    match activation {
        Activation::None => 0,
        Activation::Gelu => 1,
        Activation::QuickGelu => 2,
    }
}

pub fn activate(x: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let output = blank((rows, columns), x.dtype(), x.device())?;
    Kernel::new(format!("activate_{}", suffix(x)?))
        .tensor(x)
        .tensor(bias)
        .tensor(&output)
        .count(rows * columns)
        .size(columns)
        .integer(kind(activation))
        .launch(Grid::over(rows * columns))?;
    Ok(output)
}

pub fn through(
    gradient: &Tensor,
    x: &Tensor,
    bias: &Tensor,
    activation: Activation,
) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let output = blank((rows, columns), x.dtype(), x.device())?;
    Kernel::new(format!("through_{}", suffix(x)?))
        .tensor(gradient)
        .tensor(x)
        .tensor(bias)
        .tensor(&output)
        .count(rows * columns)
        .size(columns)
        .integer(kind(activation))
        .launch(Grid::over(rows * columns))?;
    Ok(output)
}

pub fn residual(x: &Tensor, bias: &Tensor, before: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let output = blank((rows, columns), DType::F32, x.device())?;
    Kernel::new(format!("residual_{}", suffix(x)?))
        .tensor(x)
        .tensor(bias)
        .tensor(before)
        .tensor(&output)
        .count(rows * columns)
        .size(columns)
        .launch(Grid::over(rows * columns))?;
    Ok(output)
}

pub fn columns(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let chunks = rows.div_ceil(DEEP);
    let parts = blank((chunks, columns), DType::F32, x.device())?;
    Kernel::new(format!("columns_{}", suffix(x)?))
        .tensor(x)
        .tensor(&parts)
        .size(rows)
        .size(columns)
        .size(DEEP)
        .launch(Grid::of_columns(columns, chunks))?;
    fold(&parts)
}

/// The sum of the rows.
fn fold(parts: &Tensor) -> Result<Tensor> {
    let (chunks, columns) = parts.dims2()?;
    let sum = blank(columns, DType::F32, parts.device())?;
    Kernel::new("fold")
        .tensor(parts)
        .tensor(&sum)
        .size(chunks)
        .size(columns)
        .launch(Grid::over(columns))?;
    Ok(sum)
}

/// The suffix for the output type of a layer norm.
fn norm_suffix(stored: DType) -> Result<&'static str> {
    match stored {
        DType::F32 => Ok("f32"),
        DType::BF16 => Ok("mixed"),
        other => Err(Error::Invalid(format!(
            "there is no layer norm in {other:?} on a GPU: use f32 or bf16"
        ))),
    }
}

pub fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f64,
    stored: DType,
) -> Result<(Tensor, Tensor)> {
    let (rows, width) = x.dims2()?;
    let output = blank((rows, width), stored, x.device())?;
    let moments = blank((rows, 2), DType::F32, x.device())?;
    Kernel::new(format!("layer_norm_{}", norm_suffix(stored)?))
        .tensor(x)
        .tensor(weight)
        .tensor(bias)
        .tensor(&output)
        .tensor(&moments)
        .size(rows)
        .size(width)
        .number(eps)
        .launch(Grid::of_rows(rows))?;
    Ok((output, moments))
}

pub fn layer_norm_to_x(
    gradient: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    moments: &Tensor,
) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let output = blank((rows, width), DType::F32, x.device())?;
    let suffix = norm_suffix(gradient.dtype())?;
    Kernel::new(format!("layer_norm_to_x_{suffix}"))
        .tensor(gradient)
        .tensor(x)
        .tensor(weight)
        .tensor(moments)
        .tensor(&output)
        .size(rows)
        .size(width)
        .launch(Grid::of_rows(rows))?;
    Ok(output)
}

pub fn layer_norm_to_parameters(
    gradient: &Tensor,
    x: &Tensor,
    moments: &Tensor,
) -> Result<[Tensor; 2]> {
    let (rows, width) = x.dims2()?;
    let chunks = rows.div_ceil(DEEP);
    let parts = blank((chunks, 2 * width), DType::F32, x.device())?;
    let suffix = norm_suffix(gradient.dtype())?;
    Kernel::new(format!("layer_norm_to_parameters_{suffix}"))
        .tensor(gradient)
        .tensor(x)
        .tensor(moments)
        .tensor(&parts)
        .size(rows)
        .size(width)
        .size(DEEP)
        .launch(Grid::of_columns(width, chunks))?;
    let both = fold(&parts)?;
    Ok([both.narrow(0, 0, width)?, both.narrow(0, width, width)?])
}

pub fn softmax(scores: &Tensor, scale: f64) -> Result<Tensor> {
    let (rows, columns) = scores.dims2()?;
    let shares = blank((rows, columns), scores.dtype(), scores.device())?;
    Kernel::new(format!("softmax_{}", suffix(scores)?))
        .tensor(scores)
        .tensor(&shares)
        .size(rows)
        .size(columns)
        .number(scale)
        .launch(Grid::of_rows(rows))?;
    Ok(shares)
}

pub fn softmax_back(gradient: &Tensor, shares: &Tensor, scale: f64) -> Result<Tensor> {
    let (rows, columns) = shares.dims2()?;
    let back = blank((rows, columns), shares.dtype(), shares.device())?;
    Kernel::new(format!("softmax_back_{}", suffix(shares)?))
        .tensor(gradient)
        .tensor(shares)
        .tensor(&back)
        .size(rows)
        .size(columns)
        .number(scale)
        .launch(Grid::of_rows(rows))?;
    Ok(back)
}

pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<(Tensor, Tensor)> {
    let (rows, classes) = logits.dims2()?;
    let logs = blank(rows, DType::F32, logits.device())?;
    let losses = blank(rows, DType::F32, logits.device())?;
    Kernel::new("cross_entropy_f32")
        .tensor(logits)
        .tensor(labels)
        .tensor(&logs)
        .tensor(&losses)
        .size(rows)
        .size(classes)
        .number(smoothing)
        .launch(Grid::of_rows(rows))?;
    Ok((losses, logs))
}

pub fn cross_entropy_back(
    seed: &Tensor,
    logits: &Tensor,
    labels: &Tensor,
    logs: &Tensor,
    smoothing: f64,
) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    let back = blank((rows, classes), DType::F32, logits.device())?;
    Kernel::new("cross_entropy_back_f32")
        .tensor(seed)
        .tensor(logits)
        .tensor(labels)
        .tensor(logs)
        .tensor(&back)
        .size(rows)
        .size(classes)
        .number(smoothing)
        .launch(Grid::over(rows * classes))?;
    Ok(back)
}

impl<'a> Kernel<'a> {
    fn windows(self, shape: ConvolutionShape) -> Self {
        let window = shape.window;
        self.size(shape.channels)
            .size(shape.height)
            .size(shape.width)
            .size(window.size)
            .size(window.stride)
            .size(window.padding)
            .size(shape.down)
            .size(shape.across)
    }
}

pub fn unfold(x: &Tensor, shape: ConvolutionShape, stored: DType) -> Result<Tensor> {
    let taps = shape.channels * shape.window.size * shape.window.size;
    let dims = (shape.batch * shape.down * shape.across, taps);
    let rows = blank(dims, stored, x.device())?;
    let count = rows.elem_count();
    Kernel::new(format!("unfold_{}", suffix(&rows)?))
        .tensor(x)
        .tensor(&rows)
        .count(count)
        .windows(shape)
        .launch(Grid::over(count))?;
    Ok(rows)
}

pub fn unfold_back(rows: &Tensor, shape: ConvolutionShape) -> Result<Tensor> {
    let dims = (shape.batch, shape.channels, shape.height, shape.width);
    let x = blank(dims, DType::F32, rows.device())?;
    let count = x.elem_count();
    Kernel::new(format!("unfold_back_{}", suffix(rows)?))
        .tensor(rows)
        .tensor(&x)
        .count(count)
        .windows(shape)
        .launch(Grid::over(count))?;
    Ok(x)
}
