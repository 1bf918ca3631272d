//! Pooling.

use super::ConvolutionShape;
use crate::ops::convolution::Window;
use crate::ops::cpu::{lanes, math::vectorised};
use crate::ops::parallel;

impl ConvolutionShape {
    /// The positions in a row or column for which the window's pixel `offset` is inside `length`
    /// pixels.
    fn inside(&self, offset: usize, length: usize, places: usize) -> std::ops::Range<usize> {
        let Window {
            stride, padding, ..
        } = self.window;
        let first = padding.saturating_sub(offset).div_ceil(stride);
        let end = (length + padding).saturating_sub(offset).div_ceil(stride);
        first.min(places)..end.min(places)
    }

    /// Calls `line` for each run of positions of one row and one tap: index in the columns, index
    /// in the image of the first pixel, number of positions.
    pub(super) fn each_line(&self, mut line: impl FnMut(usize, usize, usize)) {
        let Window {
            size,
            stride,
            padding,
        } = self.window;
        for channel in 0..self.channels {
            for dy in 0..size {
                let rows = self.inside(dy, self.height, self.down);
                for dx in 0..size {
                    let columns = self.inside(dx, self.width, self.across);
                    if columns.is_empty() {
                        continue;
                    }
                    let tap = (channel * size + dy) * size + dx;
                    let x = columns.start * stride + dx - padding;
                    for row in rows.clone() {
                        let y = row * stride + dy - padding;
                        let to = tap * self.places() + row * self.across + columns.start;
                        let from = (channel * self.height + y) * self.width + x;
                        line(to, from, columns.len());
                    }
                }
            }
        }
    }
}

/// The largest pixel under each window, `[batch, channels, places]`, and its index in its plane;
/// the first in row-major order if several are equal.
pub fn max_pool(shape: ConvolutionShape, x: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let (plane, places) = (shape.height * shape.width, shape.places());
    let count = shape.batch * shape.channels * places;
    let (mut output, mut best) = (vec![f32::NEG_INFINITY; count], vec![0; count]);
    parallel::each_pair(
        &mut output,
        places,
        &mut best,
        places,
        |index, output, best| {
            let x = &x[index * plane..][..plane];
            let (mut tops, mut pixels) = (vec![0.0; shape.width], vec![0; shape.width]);
            let rows = output
                .chunks_exact_mut(shape.across)
                .zip(best.chunks_exact_mut(shape.across));
            for (row, (output, best)) in rows.enumerate() {
                vectorised(
                    #[inline(always)]
                    || tallest(shape, x, row, &mut tops, &mut pixels),
                );
                widest(shape, &tops, &pixels, output, best);
            }
        },
    );
    (output, best)
}

/// For each column, the largest pixel of the rows that the windows of row `row` cover.
#[inline(always)]
fn tallest(shape: ConvolutionShape, x: &[f32], row: usize, tops: &mut [f32], pixels: &mut [u32]) {
    let Window {
        size,
        stride,
        padding,
    } = shape.window;
    let first = (row * stride).saturating_sub(padding);
    let end = (row * stride + size - padding).min(shape.height);
    tops.fill(f32::NEG_INFINITY);
    pixels.fill(0);
    for y in first..end {
        let from = y * shape.width;
        let columns = tops.iter_mut().zip(pixels.iter_mut());
        for (x, ((top, pixel), value)) in columns.zip(&x[from..from + shape.width]).enumerate() {
            let larger = *value > *top;
            *top = if larger { *value } else { *top };
            *pixel = if larger { (from + x) as u32 } else { *pixel };
        }
    }
}

/// For each window, the largest of its columns' maxima; the smallest index if several are equal.
fn widest(
    shape: ConvolutionShape,
    tops: &[f32],
    pixels: &[u32],
    output: &mut [f32],
    best: &mut [u32],
) {
    let Window {
        size,
        stride,
        padding,
    } = shape.window;
    for (place, (output, best)) in output.iter_mut().zip(best).enumerate() {
        let first = (place * stride).saturating_sub(padding);
        let end = (place * stride + size - padding).min(shape.width);
        for (top, pixel) in tops[first..end].iter().zip(&pixels[first..end]) {
            let before = *top == *output && *pixel < *best;
            if *top > *output || before {
                (*output, *best) = (*top, *pixel);
            }
        }
    }
}

/// The gradient of the input of [`max_pool`].
pub fn max_pool_backward(shape: ConvolutionShape, gradient: &[f32], best: &[u32]) -> Vec<f32> {
    let (plane, places) = (shape.height * shape.width, shape.places());
    let mut target = vec![0.0; shape.batch * shape.channels * plane];
    parallel::each_piece(&mut target, plane, |index, target| {
        let range = index * places..(index + 1) * places;
        for (gradient, best) in gradient[range.clone()].iter().zip(&best[range]) {
            target[*best as usize] += gradient;
        }
    });
    target
}

/// The mean of each plane of `pixels` values.
pub fn mean_pool(x: &[f32], pixels: usize) -> Vec<f32> {
    let share = 1.0 / pixels as f32;
    let planes = x.chunks_exact(pixels);
    planes.map(|plane| lanes::total(plane) * share).collect()
}

/// The gradient of the input of [`mean_pool`].
pub fn mean_pool_backward(gradient: &[f32], pixels: usize) -> Vec<f32> {
    let share = 1.0 / pixels as f32;
    let mut target = Vec::with_capacity(gradient.len() * pixels);
    for gradient in gradient {
        target.resize(target.len() + pixels, gradient * share);
    }
    target
}
