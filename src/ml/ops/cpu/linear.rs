//! The linear layer.

use std::borrow::Cow;

use super::gemm::Matrix;
use super::math::{add_to, gelu, quick_gelu, to_bf16, vectorised};
use super::product::{Base, Right};
use super::uninit::{self, Blank};
use super::{piece_rows, sum_in_order};
use crate::ops::Precision;
use crate::ops::linear::Activation;
use crate::ops::parallel;

/// The sizes of a linear layer.
#[derive(Clone, Copy)]
pub struct LinearShape {
    pub rows: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// x, weight, bias and residual; the last two may be empty.
pub type Layer<'a> = (&'a [f32], &'a [f32], &'a [f32], &'a [f32]);

/// x·Wᵀ + bias + residual, then `activation`; also its slope if `with_slope`. In half precision the
/// product with its bias is rounded too.
pub fn forward(
    shape: LinearShape,
    (x, weight, bias, residual): Layer,
    activation: Activation,
    with_slope: bool,
    precision: Precision,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let LinearShape {
        rows,
        inputs,
        outputs,
    } = shape;
    let right = Right::new(Matrix::new(weight, outputs, inputs).t(), precision);
    let bias = rounded(bias, precision);
    let base = match bias.is_empty() {
        true => Base::Nothing,
        false => Base::Row(&bias),
    };
    let piece = piece_rows(rows);
    let pass = Forward {
        shape,
        piece,
        x,
        right,
        base,
        residual,
        precision,
    };
    let (count, size) = (rows * outputs, piece * outputs);
    if with_slope && activation != Activation::None {
        let (output, slope) = uninit::vectors(count, size, |index, target, slope| {
            let target = pass.product(index, target);
            let slope = vectorised(
                #[inline(always)]
                || activate_with_slope(target, slope, activation),
            );
            (target, slope)
        });
        return (output, Some(slope));
    }
    let output = uninit::vector(count, size, |index, target| {
        let target = pass.product(index, target);
        vectorised(
            #[inline(always)]
            || activate(target, activation),
        );
        target
    });
    (output, None)
}

/// Shared by all work items of a forward pass.
struct Forward<'a> {
    shape: LinearShape,
    /// The number of rows of a work item.
    piece: usize,
    x: &'a [f32],
    right: Right<'a>,
    base: Base<'a>,
    residual: &'a [f32],
    precision: Precision,
}

impl Forward<'_> {
    /// The output of a work item before its activation.
    fn product<'b>(&self, index: usize, target: &'b mut Blank) -> &'b mut [f32] {
        let LinearShape {
            inputs, outputs, ..
        } = self.shape;
        let (count, rows) = (target.len(), target.len() / outputs);
        let x = &self.x[index * self.piece * inputs..][..rows * inputs];
        let target = self
            .right
            .write(target, Matrix::new(x, rows, inputs), self.base);
        vectorised(
            #[inline(always)]
            || {
                round(target, self.precision);
                if !self.residual.is_empty() {
                    add_to(
                        target,
                        &self.residual[index * self.piece * outputs..][..count],
                    );
                }
            },
        );
        target
    }
}

/// The activation of `values`, and its slope if `with_slope`.
pub fn activated(
    values: &[f32],
    activation: Activation,
    with_slope: bool,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let size = values.len().div_ceil(16).max(4096);
    let piece = |index: usize, count: usize| &values[index * size..][..count];
    if with_slope {
        let (output, slope) = uninit::vectors(values.len(), size, |index, target, slope| {
            let count = target.len();
            let target = uninit::copy(target, piece(index, count));
            let slope = vectorised(
                #[inline(always)]
                || activate_with_slope(target, slope, activation),
            );
            (target, slope)
        });
        return (output, Some(slope));
    }
    let output = uninit::vector(values.len(), size, |index, target| {
        let count = target.len();
        let target = uninit::copy(target, piece(index, count));
        vectorised(
            #[inline(always)]
            || activate(target, activation),
        );
        target
    });
    (output, None)
}

/// `values` rounded to `precision`; borrowed if nothing changes.
fn rounded(values: &[f32], precision: Precision) -> Cow<'_, [f32]> {
    if precision == Precision::F32 {
        return Cow::Borrowed(values);
    }
    let mut values = values.to_vec();
    round(&mut values, precision);
    Cow::Owned(values)
}

/// Rounds to the nearest bf16, ties to even, if that is the precision.
#[inline(always)]
fn round(values: &mut [f32], precision: Precision) {
    if precision == Precision::Bf16 {
        for value in values {
            *value = to_bf16(*value);
        }
    }
}

#[inline(always)]
fn activate_with_slope<'a>(
    values: &mut [f32],
    slopes: &'a mut Blank,
    activation: Activation,
) -> &'a mut [f32] {
    match activation {
        Activation::None => uninit::fill(slopes, 1.0),
        Activation::Gelu => uninit::beside(values, slopes, gelu),
        Activation::QuickGelu => uninit::beside(values, slopes, quick_gelu),
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
    let size = gradient.len().div_ceil(16).max(4096);
    uninit::vector(gradient.len(), size, |index, blank| {
        let from = index * size;
        let slope = &slope[from..][..blank.len()];
        let target = uninit::copy(blank, &gradient[from..][..slope.len()]);
        vectorised(
            #[inline(always)]
            || {
                for (value, slope) in target.iter_mut().zip(slope) {
                    *value *= slope;
                }
            },
        );
        target
    })
}

/// gradient·W: the gradient of x.
pub fn to_x(
    shape: LinearShape,
    gradient: &[f32],
    weight: &[f32],
    precision: Precision,
) -> Vec<f32> {
    let LinearShape {
        rows,
        inputs,
        outputs,
    } = shape;
    let right = Right::new(Matrix::new(weight, outputs, inputs), precision);
    let piece = piece_rows(rows);
    uninit::vector(rows * inputs, piece * inputs, |index, blank| {
        let rows = blank.len() / inputs;
        let from = index * piece * outputs;
        let gradient = Matrix::new(&gradient[from..from + rows * outputs], rows, outputs);
        let target = right.write(blank, gradient, Base::Nothing);
        vectorised(
            #[inline(always)]
            || round(target, precision),
        );
        target
    })
}

/// gradientᵀ·x: the gradient of W. Divided by rows of W, so that one thread computes each sum over
/// the batch.
pub fn to_weight(
    shape: LinearShape,
    gradient: &[f32],
    x: &[f32],
    precision: Precision,
) -> Vec<f32> {
    let LinearShape {
        rows,
        inputs,
        outputs,
    } = shape;
    let right = Right::new(Matrix::new(x, rows, inputs), precision);
    let piece = outputs.div_ceil(16).max(32);
    uninit::vector(outputs * inputs, piece * inputs, |index, blank| {
        let columns = blank.len() / inputs;
        let gradient = &gradient[(index * piece).min(gradient.len())..];
        let gradient = Matrix::strided(gradient, rows, columns, outputs).t();
        let target = right.write(blank, gradient, Base::Nothing);
        vectorised(
            #[inline(always)]
            || round(target, precision),
        );
        target
    })
}

/// The sum of the rows of `gradient`: the gradient of the bias.
pub fn to_bias(outputs: usize, gradient: &[f32], precision: Precision) -> Vec<f32> {
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
                    match precision {
                        Precision::Bf16 => add_rounded_to(&mut sum, row),
                        _ => add_to(&mut sum, row),
                    }
                }
            },
        );
        partial[0] = sum;
    });
    let mut sum = sum_in_order(&partials);
    round(&mut sum, precision);
    sum
}

#[inline(always)]
fn add_rounded_to(sum: &mut [f32], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += to_bf16(*value);
    }
}
