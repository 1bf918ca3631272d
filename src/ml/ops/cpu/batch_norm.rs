//! Batch normalisation with the addition and the rectifier behind it.

use super::math::{sum_of, vectorised};
use crate::ml::ops::parallel;

/// Sizes of a batch of images.
#[derive(Clone, Copy)]
pub struct Shape {
    pub batch: usize,
    pub channels: usize,
    pub pixels: usize,
}

impl Shape {
    fn image(&self) -> usize {
        self.channels * self.pixels
    }

    fn count(&self) -> f64 {
        (self.batch * self.pixels) as f64
    }

    /// Σ over a channel's pixels of f(index of the pixel), planes in lanes of f32, the planes'
    /// sums in f64.
    #[inline(always)]
    fn channel_sum(&self, channel: usize, f: impl Fn(usize) -> f32) -> f64 {
        (0..self.batch)
            .map(|image| {
                let from = image * self.image() + channel * self.pixels;
                f64::from(sum_of(self.pixels, |pixel| f(from + pixel)))
            })
            .sum()
    }
}

/// The mean and the biased variance of each channel.
pub fn moments(shape: Shape, x: &[f32]) -> Vec<[f32; 2]> {
    let mut moments = vec![[0.0; 2]; shape.channels];
    parallel::each_piece(&mut moments, 1, |channel, moments| {
        vectorised(
            #[inline(always)]
            || {
                let mean = shape.channel_sum(channel, |index| x[index]) / shape.count();
                let middle = mean as f32;
                let squares = shape.channel_sum(channel, |index| (x[index] - middle).powi(2));
                moments[0] = [middle, (squares / shape.count()) as f32];
            },
        );
    });
    moments
}

/// What turns a channel's pixel x into (x − mean)·inverse·weight + bias.
#[derive(Clone, Copy)]
pub struct Channel {
    pub mean: f32,
    /// 1/√(variance + eps)
    pub inverse: f32,
    pub weight: f32,
    pub bias: f32,
}

/// The normalised images, with `residual` added (if there is one) and rectified.
pub fn forward(
    shape: Shape,
    x: &[f32],
    channels: &[Channel],
    residual: &[f32],
    rectify: bool,
) -> Vec<f32> {
    let mut output = vec![0.0; x.len()];
    parallel::each_piece(&mut output, shape.image(), |image, target| {
        let from = image * shape.image();
        let x = &x[from..][..target.len()];
        vectorised(
            #[inline(always)]
            || {
                let planes = x
                    .chunks_exact(shape.pixels)
                    .zip(target.chunks_exact_mut(shape.pixels));
                for ((x, target), channel) in planes.zip(channels) {
                    let scale = channel.inverse * channel.weight;
                    for (x, target) in x.iter().zip(target) {
                        *target = (x - channel.mean).mul_add(scale, channel.bias);
                    }
                }
                if !residual.is_empty() {
                    let residual = &residual[from..][..target.len()];
                    super::math::add_to(target, residual);
                }
                if rectify {
                    for value in target.iter_mut() {
                        *value = if *value > 0.0 { *value } else { 0.0 };
                    }
                }
            },
        );
    });
    output
}

/// `gradient` where `output` is positive, else 0.
pub fn through_rectifier(shape: Shape, gradient: &[f32], output: &[f32]) -> Vec<f32> {
    let mut target = gradient.to_vec();
    parallel::each_piece(&mut target, shape.image(), |image, target| {
        let output = &output[image * shape.image()..][..target.len()];
        vectorised(
            #[inline(always)]
            || {
                for (value, output) in target.iter_mut().zip(output) {
                    *value = if *output > 0.0 { *value } else { 0.0 };
                }
            },
        );
    });
    target
}

/// The gradients of weight and bias: for each channel Σ gradient·normal and Σ gradient.
pub fn to_channels(
    shape: Shape,
    gradient: &[f32],
    x: &[f32],
    channels: &[Channel],
) -> Vec<[f32; 2]> {
    let mut sums = vec![[0.0; 2]; shape.channels];
    parallel::each_piece(&mut sums, 1, |index, sums| {
        let channel = channels[index];
        vectorised(
            #[inline(always)]
            || {
                let normal = |index: usize| (x[index] - channel.mean) * channel.inverse;
                let along = shape.channel_sum(index, |pixel| gradient[pixel] * normal(pixel));
                let level = shape.channel_sum(index, |pixel| gradient[pixel]);
                sums[0] = [along as f32, level as f32];
            },
        );
    });
    sums
}

/// The gradient of x. `sums` are those of [`to_channels`] where the statistics were the batch's
/// own, and thus moved with x.
pub fn to_x(
    shape: Shape,
    gradient: &[f32],
    x: &[f32],
    channels: &[Channel],
    sums: Option<&[[f32; 2]]>,
) -> Vec<f32> {
    let share = (1.0 / shape.count()) as f32;
    let mut target = vec![0.0; x.len()];
    parallel::each_piece(&mut target, shape.image(), |image, target| {
        let range = image * shape.image()..(image + 1) * shape.image();
        vectorised(
            #[inline(always)]
            || {
                let planes = x[range.clone()]
                    .chunks_exact(shape.pixels)
                    .zip(gradient[range].chunks_exact(shape.pixels))
                    .zip(target.chunks_exact_mut(shape.pixels));
                for (index, ((x, gradient), target)) in planes.enumerate() {
                    let channel = channels[index];
                    let [along, level] =
                        sums.map_or([0.0; 2], |sums| sums[index].map(|s| s * share));
                    let scale = channel.inverse * channel.weight;
                    for ((x, gradient), target) in x.iter().zip(gradient).zip(target) {
                        let normal = (x - channel.mean) * channel.inverse;
                        *target = (gradient - level - normal * along) * scale;
                    }
                }
            },
        );
    });
    target
}
