//! Convolution as a matrix product with the pixels under each window, image by image.

use super::gemm::{Matrix, Write, multiply};
use super::math::{sum_of, vectorised};
use super::sum_in_order;
use crate::ml::ops::convolution::Window;
use crate::ml::ops::parallel;

/// Sizes of a convolution or a pooling.
#[derive(Clone, Copy)]
pub struct Shape {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub window: Window,
    /// Places of the window.
    pub down: usize,
    pub across: usize,
}

impl Shape {
    fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn places(&self) -> usize {
        self.down * self.across
    }

    /// Values under the window.
    fn taps(&self) -> usize {
        self.channels * self.window.size * self.window.size
    }

    /// The image itself is the matrix of its windows.
    fn is_pointwise(&self) -> bool {
        let Window {
            size,
            stride,
            padding,
        } = self.window;
        (size, stride, padding) == (1, 1, 0)
    }

    /// The places in a row or column whose window's pixel `offset` falls inside `length` pixels.
    fn inside(&self, offset: usize, length: usize, places: usize) -> std::ops::Range<usize> {
        let Window {
            stride, padding, ..
        } = self.window;
        let first = padding.saturating_sub(offset).div_ceil(stride);
        let end = (length + padding).saturating_sub(offset).div_ceil(stride);
        first.min(places)..end.min(places)
    }

    /// Calls `line` for each run of places of one row and one tap: index in the columns, index in
    /// the image of the first pixel, number of places.
    fn each_line(&self, mut line: impl FnMut(usize, usize, usize)) {
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

    /// Gathers the pixels under every window: `columns` is `[taps, places]`, zero outside.
    fn gather(&self, image: &[f32], columns: &mut [f32]) {
        let stride = self.window.stride;
        self.each_line(|to, from, count| {
            let target = &mut columns[to..to + count];
            if stride == 1 {
                target.copy_from_slice(&image[from..from + count]);
            } else {
                let pixels = image[from..].iter().step_by(stride);
                target
                    .iter_mut()
                    .zip(pixels)
                    .for_each(|(to, from)| *to = *from);
            }
        });
    }

    /// Adds each value of `columns` to the pixel it was gathered from.
    fn scatter(&self, columns: &[f32], image: &mut [f32]) {
        let stride = self.window.stride;
        self.each_line(|from, to, count| {
            let source = &columns[from..from + count];
            let pixels = image[to..].iter_mut().step_by(stride);
            pixels.zip(source).for_each(|(to, from)| *to += from);
        });
    }
}

/// `[batch, outputs, places]` of `x` and `weight` `[outputs, taps]`.
pub fn forward(shape: Shape, x: &[f32], weight: &[f32]) -> Vec<f32> {
    let (taps, places) = (shape.taps(), shape.places());
    let outputs = weight.len() / taps;
    let mut output = vec![0.0; shape.batch * outputs * places];
    parallel::each_piece(&mut output, outputs * places, |index, target| {
        let image = &x[index * shape.image()..][..shape.image()];
        with_columns(shape, image, |columns| {
            let weight = Matrix::new(weight, outputs, taps);
            let columns = Matrix::new(columns, taps, places);
            multiply(target, places, weight, columns, Write::Replace);
        });
    });
    output
}

fn with_columns(shape: Shape, image: &[f32], work: impl FnOnce(&[f32])) {
    if shape.is_pointwise() {
        return work(image);
    }
    let mut columns = vec![0.0; shape.taps() * shape.places()];
    shape.gather(image, &mut columns);
    work(&columns);
}

/// The gradient of x.
pub fn to_x(shape: Shape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let (taps, places) = (shape.taps(), shape.places());
    let outputs = weight.len() / taps;
    let mut target = vec![0.0; shape.batch * shape.image()];
    parallel::each_piece(&mut target, shape.image(), |index, image| {
        let gradient = &gradient[index * outputs * places..][..outputs * places];
        let gradient = Matrix::new(gradient, outputs, places);
        let weight = Matrix::new(weight, outputs, taps).t();
        if shape.is_pointwise() {
            return multiply(image, places, weight, gradient, Write::Replace);
        }
        let mut columns = vec![0.0; taps * places];
        multiply(&mut columns, places, weight, gradient, Write::Replace);
        shape.scatter(&columns, image);
    });
    target
}

/// The gradient of the weight `[outputs, taps]`: partial sums over groups of images.
pub fn to_weight(shape: Shape, outputs: usize, gradient: &[f32], x: &[f32]) -> Vec<f32> {
    let (taps, places) = (shape.taps(), shape.places());
    let group = shape.batch.div_ceil(8).max(1);
    let mut partials = vec![Vec::new(); shape.batch.div_ceil(group)];
    parallel::each_piece(&mut partials, 1, |index, partial| {
        let mut sum = vec![0.0; outputs * taps];
        for image in index * group..shape.batch.min((index + 1) * group) {
            let gradient = &gradient[image * outputs * places..][..outputs * places];
            let gradient = Matrix::new(gradient, outputs, places);
            let image = &x[image * shape.image()..][..shape.image()];
            with_columns(shape, image, |columns| {
                let columns = Matrix::new(columns, taps, places).t();
                multiply(&mut sum, taps, gradient, columns, Write::Add);
            });
        }
        partial[0] = sum;
    });
    sum_in_order(&partials)
}

/// The largest pixel under each window, `[batch, channels, places]`, and its place in its plane.
pub fn max_pool(shape: Shape, x: &[f32]) -> (Vec<f32>, Vec<u32>) {
    let (plane, places) = (shape.height * shape.width, shape.places());
    let count = shape.batch * shape.channels * places;
    let (mut output, mut best) = (vec![f32::NEG_INFINITY; count], vec![0; count]);
    let one = Shape {
        channels: 1,
        ..shape
    };
    let stride = shape.window.stride;
    parallel::each_pair(
        &mut output,
        places,
        &mut best,
        places,
        |index, output, best| {
            let x = &x[index * plane..][..plane];
            one.each_line(|to, from, count| {
                let to = to % places;
                for step in 0..count {
                    let pixel = from + step * stride;
                    if x[pixel] > output[to + step] {
                        (output[to + step], best[to + step]) = (x[pixel], pixel as u32);
                    }
                }
            });
        },
    );
    (output, best)
}

/// The gradient of what [`max_pool`] took its values from.
pub fn max_pool_backward(shape: Shape, gradient: &[f32], best: &[u32]) -> Vec<f32> {
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
    vectorised(
        #[inline(always)]
        || {
            x.chunks_exact(pixels)
                .map(|plane| sum_of(pixels, |index| plane[index]) * share)
                .collect()
        },
    )
}

/// The gradient of what [`mean_pool`] took the means of.
pub fn mean_pool_backward(gradient: &[f32], pixels: usize) -> Vec<f32> {
    let share = 1.0 / pixels as f32;
    let mut target = Vec::with_capacity(gradient.len() * pixels);
    for gradient in gradient {
        target.resize(target.len() + pixels, gradient * share);
    }
    target
}
