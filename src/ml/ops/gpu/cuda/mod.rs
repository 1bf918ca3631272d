//! The kernels of `../kernels`, launched: see [`super::fused`] for what each gives.

pub mod launch;

use candle_core::{DType, Tensor};

use self::launch::{Argument, Grid, blank, launch};
use crate::ml::ops::Activation;
use crate::ml::ops::cpu::convolution::Shape;
use crate::ml::{Error, Result};

/// Rows that one block adds up.
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
    launch(
        &format!("activate_{}", suffix(x)?),
        Grid::over(rows * columns),
        &[
            Argument::Tensor(x),
            Argument::Tensor(bias),
            Argument::Tensor(&output),
            Argument::Count(rows * columns),
            Argument::Size(columns),
            Argument::Integer(kind(activation)),
        ],
    )?;
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
    launch(
        &format!("through_{}", suffix(x)?),
        Grid::over(rows * columns),
        &[
            Argument::Tensor(gradient),
            Argument::Tensor(x),
            Argument::Tensor(bias),
            Argument::Tensor(&output),
            Argument::Count(rows * columns),
            Argument::Size(columns),
            Argument::Integer(kind(activation)),
        ],
    )?;
    Ok(output)
}

pub fn residual(x: &Tensor, bias: &Tensor, before: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let output = blank((rows, columns), DType::F32, x.device())?;
    launch(
        &format!("residual_{}", suffix(x)?),
        Grid::over(rows * columns),
        &[
            Argument::Tensor(x),
            Argument::Tensor(bias),
            Argument::Tensor(before),
            Argument::Tensor(&output),
            Argument::Count(rows * columns),
            Argument::Size(columns),
        ],
    )?;
    Ok(output)
}

pub fn columns(x: &Tensor) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let chunks = rows.div_ceil(DEEP);
    let parts = blank((chunks, columns), DType::F32, x.device())?;
    launch(
        &format!("columns_{}", suffix(x)?),
        Grid::of_columns(columns, chunks),
        &[
            Argument::Tensor(x),
            Argument::Tensor(&parts),
            Argument::Size(rows),
            Argument::Size(columns),
            Argument::Size(DEEP),
        ],
    )?;
    fold(&parts)
}

/// The sum of the rows.
fn fold(parts: &Tensor) -> Result<Tensor> {
    let (chunks, columns) = parts.dims2()?;
    let sum = blank(columns, DType::F32, parts.device())?;
    launch(
        "fold",
        Grid::over(columns),
        &[
            Argument::Tensor(parts),
            Argument::Tensor(&sum),
            Argument::Size(chunks),
            Argument::Size(columns),
        ],
    )?;
    Ok(sum)
}

/// By what a layer norm gives.
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
    launch(
        &format!("layer_norm_{}", norm_suffix(stored)?),
        Grid::of_rows(rows),
        &[
            Argument::Tensor(x),
            Argument::Tensor(weight),
            Argument::Tensor(bias),
            Argument::Tensor(&output),
            Argument::Tensor(&moments),
            Argument::Size(rows),
            Argument::Size(width),
            Argument::Number(eps),
        ],
    )?;
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
    launch(
        &format!("layer_norm_to_x_{}", norm_suffix(gradient.dtype())?),
        Grid::of_rows(rows),
        &[
            Argument::Tensor(gradient),
            Argument::Tensor(x),
            Argument::Tensor(weight),
            Argument::Tensor(moments),
            Argument::Tensor(&output),
            Argument::Size(rows),
            Argument::Size(width),
        ],
    )?;
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
    launch(
        &format!(
            "layer_norm_to_parameters_{}",
            norm_suffix(gradient.dtype())?
        ),
        Grid::of_columns(width, chunks),
        &[
            Argument::Tensor(gradient),
            Argument::Tensor(x),
            Argument::Tensor(moments),
            Argument::Tensor(&parts),
            Argument::Size(rows),
            Argument::Size(width),
            Argument::Size(DEEP),
        ],
    )?;
    let both = fold(&parts)?;
    Ok([both.narrow(0, 0, width)?, both.narrow(0, width, width)?])
}

pub fn softmax(scores: &Tensor, scale: f64) -> Result<Tensor> {
    let (rows, columns) = scores.dims2()?;
    let shares = blank((rows, columns), scores.dtype(), scores.device())?;
    launch(
        &format!("softmax_{}", suffix(scores)?),
        Grid::of_rows(rows),
        &[
            Argument::Tensor(scores),
            Argument::Tensor(&shares),
            Argument::Size(rows),
            Argument::Size(columns),
            Argument::Number(scale),
        ],
    )?;
    Ok(shares)
}

pub fn softmax_back(gradient: &Tensor, shares: &Tensor, scale: f64) -> Result<Tensor> {
    let (rows, columns) = shares.dims2()?;
    let back = blank((rows, columns), shares.dtype(), shares.device())?;
    launch(
        &format!("softmax_back_{}", suffix(shares)?),
        Grid::of_rows(rows),
        &[
            Argument::Tensor(gradient),
            Argument::Tensor(shares),
            Argument::Tensor(&back),
            Argument::Size(rows),
            Argument::Size(columns),
            Argument::Number(scale),
        ],
    )?;
    Ok(back)
}

pub fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64) -> Result<(Tensor, Tensor)> {
    let (rows, classes) = logits.dims2()?;
    let logs = blank(rows, DType::F32, logits.device())?;
    let losses = blank(rows, DType::F32, logits.device())?;
    launch(
        "cross_entropy_f32",
        Grid::of_rows(rows),
        &[
            Argument::Tensor(logits),
            Argument::Tensor(labels),
            Argument::Tensor(&logs),
            Argument::Tensor(&losses),
            Argument::Size(rows),
            Argument::Size(classes),
            Argument::Number(smoothing),
        ],
    )?;
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
    launch(
        "cross_entropy_back_f32",
        Grid::over(rows * classes),
        &[
            Argument::Tensor(seed),
            Argument::Tensor(logits),
            Argument::Tensor(labels),
            Argument::Tensor(logs),
            Argument::Tensor(&back),
            Argument::Size(rows),
            Argument::Size(classes),
            Argument::Number(smoothing),
        ],
    )?;
    Ok(back)
}

fn windows(shape: Shape) -> [Argument<'static>; 8] {
    let window = shape.window;
    [
        shape.channels,
        shape.height,
        shape.width,
        window.size,
        window.stride,
        window.padding,
        shape.down,
        shape.across,
    ]
    .map(Argument::Size)
}

pub fn unfold(x: &Tensor, shape: Shape, stored: DType) -> Result<Tensor> {
    let taps = shape.channels * shape.window.size * shape.window.size;
    let dims = (shape.batch * shape.down * shape.across, taps);
    let rows = blank(dims, stored, x.device())?;
    let count = dims.0 * dims.1;
    let mut arguments = vec![
        Argument::Tensor(x),
        Argument::Tensor(&rows),
        Argument::Count(count),
    ];
    arguments.extend(windows(shape));
    launch(
        &format!("unfold_{}", suffix(&rows)?),
        Grid::over(count),
        &arguments,
    )?;
    Ok(rows)
}

pub fn unfold_back(rows: &Tensor, shape: Shape) -> Result<Tensor> {
    let dims = (shape.batch, shape.channels, shape.height, shape.width);
    let x = blank(dims, DType::F32, rows.device())?;
    let count = x.elem_count();
    let mut arguments = vec![
        Argument::Tensor(rows),
        Argument::Tensor(&x),
        Argument::Count(count),
    ];
    arguments.extend(windows(shape));
    launch(
        &format!("unfold_back_{}", suffix(rows)?),
        Grid::over(count),
        &arguments,
    )?;
    Ok(x)
}
