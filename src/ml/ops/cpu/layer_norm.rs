//! Layer normalisation.

use super::math::{sum_of, vectorised};
use super::{piece_rows, sum_in_order};
use crate::ops::parallel;

/// Mean and inverse standard deviation of a row.
type Moments = [f32; 2];

/// The normalised, scaled and shifted rows, and each row's moments.
pub fn forward(
    width: usize,
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
) -> (Vec<f32>, Vec<Moments>) {
    let rows = x.len() / width;
    let mut output = vec![0.0; x.len()];
    let mut moments = vec![[0.0; 2]; rows];
    let piece = piece_rows(rows);
    let work = |index: usize, target: &mut [f32], moments: &mut [Moments]| {
        let x = &x[index * piece * width..][..target.len()];
        vectorised(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(width).zip(target.chunks_exact_mut(width));
                for ((x, target), moments) in rows.zip(moments) {
                    *moments = row_forward(x, target, weight, bias, eps);
                }
            },
        );
    };
    parallel::each_pair(&mut output, piece * width, &mut moments, piece, work);
    (output, moments)
}

#[inline(always)]
fn row_forward(x: &[f32], target: &mut [f32], weight: &[f32], bias: &[f32], eps: f32) -> Moments {
    let width = x.len();
    let (weight, bias, target) = (&weight[..width], &bias[..width], &mut target[..width]);
    let share = 1.0 / width as f32;
    let mean = sum_of(width, |index| x[index]) * share;
    let variance = sum_of(width, |index| (x[index] - mean) * (x[index] - mean)) * share;
    let inverse = 1.0 / (variance + eps).sqrt();
    for index in 0..width {
        target[index] = ((x[index] - mean) * inverse).mul_add(weight[index], bias[index]);
    }
    [mean, inverse]
}

/// The gradients of x, weight and bias.
pub fn backward(
    width: usize,
    gradient: &[f32],
    x: &[f32],
    weight: &[f32],
    moments: &[Moments],
) -> [Vec<f32>; 3] {
    let rows = moments.len();
    let piece = piece_rows(rows);
    let mut to_x = vec![0.0; x.len()];
    let mut partials = vec![[Vec::new(), Vec::new()]; rows.div_ceil(piece)];
    let work = |index: usize, target: &mut [f32], partial: &mut [[Vec<f32>; 2]]| {
        let from = index * piece;
        let x = &x[from * width..][..target.len()];
        let gradient = &gradient[from * width..][..target.len()];
        let (mut to_weight, mut to_bias) = (vec![0.0; width], vec![0.0; width]);
        vectorised(
            #[inline(always)]
            || {
                let rows = x
                    .chunks_exact(width)
                    .zip(gradient.chunks_exact(width))
                    .zip(target.chunks_exact_mut(width));
                for (((x, gradient), target), moments) in rows.zip(&moments[from..]) {
                    let sums = (&mut to_weight[..], &mut to_bias[..]);
                    row_backward(x, gradient, target, weight, *moments, sums);
                }
            },
        );
        partial[0] = [to_weight, to_bias];
    };
    parallel::each_pair(&mut to_x, piece * width, &mut partials, 1, work);
    let (to_weight, to_bias): (Vec<_>, Vec<_>) = partials
        .into_iter()
        .map(|[to_weight, to_bias]| (to_weight, to_bias))
        .unzip();
    [to_x, sum_in_order(&to_weight), sum_in_order(&to_bias)]
}

#[inline(always)]
fn row_backward(
    x: &[f32],
    gradient: &[f32],
    target: &mut [f32],
    weight: &[f32],
    [mean, inverse]: Moments,
    (to_weight, to_bias): (&mut [f32], &mut [f32]),
) {
    let width = x.len();
    let (gradient, target) = (&gradient[..width], &mut target[..width]);
    let (weight, to_weight) = (&weight[..width], &mut to_weight[..width]);
    let to_bias = &mut to_bias[..width];
    let share = 1.0 / width as f32;
    let normal = |index: usize| (x[index] - mean) * inverse;
    let level = sum_of(width, |index| gradient[index] * weight[index]) * share;
    let along = sum_of(width, |index| {
        gradient[index] * weight[index] * normal(index)
    }) * share;
    for index in 0..width {
        let normal = normal(index);
        let inner = gradient[index] * weight[index] - level - normal * along;
        target[index] = inner * inverse;
        to_weight[index] += gradient[index] * normal;
        to_bias[index] += gradient[index];
    }
}
