//! Layer normalisation.

use pulp::{Simd, WithSimd};

use super::lanes::{dispatch, sum_of};
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
        dispatch(Forward {
            width,
            x,
            target,
            moments,
            weight,
            bias,
            eps,
        });
    };
    parallel::each_pair(&mut output, piece * width, &mut moments, piece, work);
    (output, moments)
}

/// The rows of a work item.
struct Forward<'a> {
    width: usize,
    x: &'a [f32],
    target: &'a mut [f32],
    moments: &'a mut [Moments],
    weight: &'a [f32],
    bias: &'a [f32],
    eps: f32,
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.width;
        let (weight, bias) = (&self.weight[..width], &self.bias[..width]);
        let share = 1.0 / width as f32;
        let targets = self.target.chunks_exact_mut(width);
        let rows = self.x.chunks_exact(width).zip(targets);
        for ((x, target), moments) in rows.zip(self.moments) {
            let mean = share
                * sum_of(
                    simd,
                    [x],
                    #[inline(always)]
                    |[x]| x,
                );
            let means = simd.splat_f32s(mean);
            let variance = share
                * sum_of(
                    simd,
                    [x],
                    #[inline(always)]
                    |[x]| {
                        let difference = simd.sub_f32s(x, means);
                        simd.mul_f32s(difference, difference)
                    },
                );
            let inverse = 1.0 / (variance + self.eps).sqrt();
            for index in 0..width {
                let normal = (x[index] - mean) * inverse;
                target[index] = normal.mul_add(weight[index], bias[index]);
            }
            *moments = [mean, inverse];
        }
    }
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
        dispatch(Backward {
            width,
            x,
            gradient,
            target,
            moments: &moments[from..],
            weight,
            to_weight: &mut to_weight,
            to_bias: &mut to_bias,
        });
        partial[0] = [to_weight, to_bias];
    };
    parallel::each_pair(&mut to_x, piece * width, &mut partials, 1, work);
    let (to_weight, to_bias): (Vec<_>, Vec<_>) = partials
        .into_iter()
        .map(|[to_weight, to_bias]| (to_weight, to_bias))
        .unzip();
    [to_x, sum_in_order(&to_weight), sum_in_order(&to_bias)]
}

/// The rows of a work item, whose gradients of weight and bias are added up.
struct Backward<'a> {
    width: usize,
    x: &'a [f32],
    gradient: &'a [f32],
    target: &'a mut [f32],
    moments: &'a [Moments],
    weight: &'a [f32],
    to_weight: &'a mut [f32],
    to_bias: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.width;
        let weight = &self.weight[..width];
        let to_weight = &mut self.to_weight[..width];
        let to_bias = &mut self.to_bias[..width];
        let share = 1.0 / width as f32;
        let sources = self.x.chunks_exact(width);
        let rows = sources
            .zip(self.gradient.chunks_exact(width))
            .zip(self.target.chunks_exact_mut(width));
        for (((x, gradient), target), [mean, inverse]) in rows.zip(self.moments) {
            let [mean, inverse] = [*mean, *inverse];
            let [means, inverses] = [mean, inverse].map(|value| simd.splat_f32s(value));
            let level = share
                * sum_of(
                    simd,
                    [gradient, weight],
                    #[inline(always)]
                    |[gradient, weight]| simd.mul_f32s(gradient, weight),
                );
            let along = share
                * sum_of(
                    simd,
                    [gradient, weight, x],
                    #[inline(always)]
                    |[gradient, weight, x]| {
                        let normal = simd.mul_f32s(simd.sub_f32s(x, means), inverses);
                        simd.mul_f32s(simd.mul_f32s(gradient, weight), normal)
                    },
                );
            for index in 0..width {
                let normal = (x[index] - mean) * inverse;
                let inner = gradient[index] * weight[index] - level - normal * along;
                target[index] = inner * inverse;
                to_weight[index] += gradient[index] * normal;
                to_bias[index] += gradient[index];
            }
        }
    }
}
