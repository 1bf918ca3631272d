//! The linear layer.

use super::gemm::{Matrix, Write, multiply};
use super::math::{add_to, gelu, quick_gelu, vectorised};
use super::{piece_rows, sum_in_order};
use crate::ml::ops::linear::Activation;
use crate::ml::ops::parallel;

/// Sizes of a linear layer.
#[derive(Clone, Copy)]
pub struct Shape {
    pub rows: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// x, weight, bias and residual; the last two empty where there is none.
pub type Layer<'a> = (&'a [f32], &'a [f32], &'a [f32], &'a [f32]);

/// x·Wᵀ + bias + residual, then `activation`; with its slope where `with_slope`.
pub fn forward(
    shape: Shape,
    (x, weight, bias, residual): Layer,
    activation: Activation,
    with_slope: bool,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let Shape {
        rows,
        inputs,
        outputs,
    } = shape;
    let mut output = start(shape, bias, residual);
    let piece = piece_rows(rows);
    let product = |index: usize, target: &mut [f32]| {
        let rows = target.len() / outputs;
        let from = index * piece * inputs;
        let x = Matrix::new(&x[from..from + rows * inputs], rows, inputs);
        let weight = Matrix::new(weight, outputs, inputs).t();
        multiply(target, outputs, x, weight, Write::Add);
        if !residual.is_empty() && !bias.is_empty() {
            vectorised(
                #[inline(always)]
                || {
                    for row in target.chunks_exact_mut(outputs) {
                        add_to(row, bias);
                    }
                },
            );
        }
    };
    let size = piece * outputs;
    if activation == Activation::None {
        parallel::each_piece(&mut output, size, product);
        return (output, None);
    }
    let mut slope = vec![0.0; if with_slope { output.len() } else { 0 }];
    if with_slope {
        parallel::each_pair(
            &mut output,
            size,
            &mut slope,
            size,
            |index, target, slope| {
                product(index, target);
                vectorised(
                    #[inline(always)]
                    || activate_with_slope(target, slope, activation),
                );
            },
        );
        return (output, Some(slope));
    }
    parallel::each_piece(&mut output, size, |index, target| {
        product(index, target);
        vectorised(
            #[inline(always)]
            || activate(target, activation),
        );
    });
    (output, None)
}

/// What the product is added to: the residual if there is one, else the bias in every row.
fn start(shape: Shape, bias: &[f32], residual: &[f32]) -> Vec<f32> {
    if !residual.is_empty() {
        return residual.to_vec();
    }
    if bias.is_empty() {
        return vec![0.0; shape.rows * shape.outputs];
    }
    let mut output = Vec::with_capacity(shape.rows * shape.outputs);
    for _ in 0..shape.rows {
        output.extend_from_slice(bias);
    }
    output
}

#[inline(always)]
fn activate_with_slope(values: &mut [f32], slopes: &mut [f32], activation: Activation) {
    let pairs = values.iter_mut().zip(slopes);
    match activation {
        Activation::None => {}
        Activation::Gelu => pairs.for_each(|(value, slope)| (*value, *slope) = gelu(*value)),
        Activation::QuickGelu => {
            pairs.for_each(|(value, slope)| (*value, *slope) = quick_gelu(*value));
        }
    }
}

#[inline(always)]
fn activate(values: &mut [f32], activation: Activation) {
    match activation {
        Activation::None => {}
        Activation::Gelu => values.iter_mut().for_each(|value| *value = gelu(*value).0),
        Activation::QuickGelu => {
            values
                .iter_mut()
                .for_each(|value| *value = quick_gelu(*value).0);
        }
    }
}

/// gradient·slope, element by element.
pub fn through_activation(gradient: &[f32], slope: &[f32]) -> Vec<f32> {
    let mut product = gradient.to_vec();
    let size = product.len().div_ceil(16).max(4096);
    parallel::each_piece(&mut product, size, |index, target| {
        let slope = &slope[index * size..][..target.len()];
        vectorised(
            #[inline(always)]
            || {
                for (value, slope) in target.iter_mut().zip(slope) {
                    *value *= slope;
                }
            },
        );
    });
    product
}

/// gradient·W: the gradient of x.
pub fn to_x(shape: Shape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let Shape {
        rows,
        inputs,
        outputs,
    } = shape;
    let mut target = vec![0.0; rows * inputs];
    let piece = piece_rows(rows);
    parallel::each_piece(&mut target, piece * inputs, |index, target| {
        let rows = target.len() / inputs;
        let from = index * piece * outputs;
        let gradient = Matrix::new(&gradient[from..from + rows * outputs], rows, outputs);
        let weight = Matrix::new(weight, outputs, inputs);
        multiply(target, inputs, gradient, weight, Write::Replace);
    });
    target
}

/// gradientᵀ·x: the gradient of W. Cut by rows of W, so that each sum over the batch is one
/// thread's.
pub fn to_weight(shape: Shape, gradient: &[f32], x: &[f32]) -> Vec<f32> {
    let Shape {
        rows,
        inputs,
        outputs,
    } = shape;
    let mut target = vec![0.0; outputs * inputs];
    let piece = outputs.div_ceil(16).max(32);
    parallel::each_piece(&mut target, piece * inputs, |index, target| {
        let columns = target.len() / inputs;
        let gradient = &gradient[(index * piece).min(gradient.len())..];
        let gradient = Matrix::strided(gradient, rows, columns, outputs).t();
        let x = Matrix::new(x, rows, inputs);
        multiply(target, inputs, gradient, x, Write::Replace);
    });
    target
}

/// The sum of the rows of `gradient`: the gradient of the bias.
pub fn to_bias(outputs: usize, gradient: &[f32]) -> Vec<f32> {
    let rows = gradient.len() / outputs.max(1);
    let piece = rows.div_ceil(8).max(64) * outputs;
    let mut partials = vec![Vec::new(); gradient.len().div_ceil(piece.max(1))];
    parallel::each_piece(&mut partials, 1, |index, partial| {
        let rows = &gradient[index * piece..gradient.len().min((index + 1) * piece)];
        let mut sum = vec![0.0; outputs];
        vectorised(
            #[inline(always)]
            || {
                for row in rows.chunks_exact(outputs) {
                    add_to(&mut sum, row);
                }
            },
        );
        partial[0] = sum;
    });
    sum_in_order(&partials)
}
