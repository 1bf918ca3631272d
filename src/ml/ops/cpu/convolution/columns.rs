//! Convolution as a matrix product with the pixels under each window, image by image.

use super::ConvolutionShape;
use crate::ops::cpu::gemm::{Matrix, Write, multiply};
use crate::ops::cpu::sum_in_order;
use crate::ops::parallel;

impl ConvolutionShape {
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
pub fn forward(shape: ConvolutionShape, x: &[f32], weight: &[f32]) -> Vec<f32> {
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

fn with_columns(shape: ConvolutionShape, image: &[f32], work: impl FnOnce(&[f32])) {
    if shape.is_pointwise() {
        return work(image);
    }
    let mut columns = vec![0.0; shape.taps() * shape.places()];
    shape.gather(image, &mut columns);
    work(&columns);
}

/// The gradient of x.
pub fn to_x(shape: ConvolutionShape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
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

/// The gradient of the weight `[outputs, taps]`, from partial sums over groups of images.
pub fn to_weight(shape: ConvolutionShape, outputs: usize, gradient: &[f32], x: &[f32]) -> Vec<f32> {
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
