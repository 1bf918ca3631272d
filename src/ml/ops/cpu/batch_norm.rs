//! Batch normalisation with the addition and the ReLU after it.

use super::lanes;
use super::math::{sums_of, vectorised};
use super::uninit;
use crate::ops::parallel;

/// The sizes of a batch of images.
#[derive(Clone, Copy)]
pub struct BatchNormShape {
    pub batch: usize,
    pub channels: usize,
    pub pixels: usize,
}

impl BatchNormShape {
    fn image(&self) -> usize {
        self.channels * self.pixels
    }

    fn count(&self) -> f64 {
        (self.batch * self.pixels) as f64
    }

    fn range(&self, image: usize) -> std::ops::Range<usize> {
        image * self.image()..(image + 1) * self.image()
    }

    /// Σ over a channel's pixels of both values of f(value of a, value of b): f32 lanes within a
    /// plane, f64 across planes.
    #[inline(always)]
    fn channel_sums(
        &self,
        channel: usize,
        a: &[f32],
        b: &[f32],
        f: impl Fn(f32, f32) -> [f32; 2],
    ) -> [f64; 2] {
        let mut sums = [0.0; 2];
        for image in 0..self.batch {
            let from = image * self.image() + channel * self.pixels;
            let plane = from..from + self.pixels;
            let found = sums_of(&a[plane.clone()], &b[plane], &f);
            for (sum, found) in sums.iter_mut().zip(found) {
                *sum += f64::from(found);
            }
        }
        sums
    }
}

/// The mean and the biased variance of each channel, in one pass: sums of the differences from the
/// mean of the channel's first plane, and of their squares.
pub fn moments(shape: BatchNormShape, x: &[f32]) -> Vec<[f32; 2]> {
    let mut moments = vec![[0.0; 2]; shape.channels];
    parallel::each_piece(&mut moments, 1, |channel, moments| {
        let plane = &x[channel * shape.pixels..][..shape.pixels];
        let middle = lanes::total(plane) / shape.pixels as f32;
        vectorised(
            #[inline(always)]
            || {
                let squares = |x: f32, _| [x - middle, (x - middle) * (x - middle)];
                let [level, square] = shape
                    .channel_sums(channel, x, x, squares)
                    .map(|sum| sum / shape.count());
                let variance = (square - level * level).max(0.0);
                moments[0] = [(f64::from(middle) + level) as f32, variance as f32];
            },
        );
    });
    moments
}

/// The coefficients that map a channel's pixel x to (x − mean)·inverse·weight + bias.
#[derive(Clone, Copy)]
pub struct Channel {
    pub mean: f32,
    /// 1/√(variance + eps)
    pub inverse: f32,
    pub weight: f32,
    pub bias: f32,
}

/// The normalised images, with `residual` added (if present), after ReLU.
pub fn forward(
    shape: BatchNormShape,
    x: &[f32],
    channels: &[Channel],
    residual: &[f32],
    rectify: bool,
) -> Vec<f32> {
    let bound = if rectify { 0.0 } else { f32::NEG_INFINITY };
    uninit::vector(x.len(), shape.image(), |image, target| {
        let range = shape.range(image);
        let x = &x[range.clone()];
        let normal = |x: f32, channel: &Channel| {
            let scale = channel.inverse * channel.weight;
            (x - channel.mean).mul_add(scale, channel.bias)
        };
        let bounded = |value: f32| if value > bound { value } else { bound };
        vectorised(
            #[inline(always)]
            || match residual.is_empty() {
                true => uninit::planes(target, shape.pixels, x, x, |index| {
                    let channel = channels[index];
                    move |x, _| bounded(normal(x, &channel))
                }),
                false => uninit::planes(target, shape.pixels, x, &residual[range], |index| {
                    let channel = channels[index];
                    move |x, residual| bounded(normal(x, &channel) + residual)
                }),
            },
        )
    })
}

/// `gradient` where `output` is positive, otherwise 0.
pub fn through_rectifier(shape: BatchNormShape, gradient: &[f32], output: &[f32]) -> Vec<f32> {
    uninit::vector(gradient.len(), shape.image(), |image, target| {
        let range = shape.range(image);
        let (gradient, output) = (&gradient[range.clone()], &output[range]);
        vectorised(
            #[inline(always)]
            || {
                uninit::planes(target, shape.pixels, gradient, output, |_| {
                    |gradient, output| if output > 0.0 { gradient } else { 0.0 }
                })
            },
        )
    })
}

/// The gradients of weight and bias: for each channel Σ gradient·normal and Σ gradient.
pub fn to_channels(
    shape: BatchNormShape,
    gradient: &[f32],
    x: &[f32],
    channels: &[Channel],
) -> Vec<[f32; 2]> {
    let mut sums = vec![[0.0; 2]; shape.channels];
    parallel::each_piece(&mut sums, 1, |index, sums| {
        let channel = channels[index];
        let along = |gradient: f32, x: f32| {
            let normal = (x - channel.mean) * channel.inverse;
            [gradient * normal, gradient]
        };
        vectorised(
            #[inline(always)]
            || {
                let both = shape.channel_sums(index, gradient, x, along);
                sums[0] = both.map(|sum| sum as f32);
            },
        );
    });
    sums
}

/// The gradient of x. `sums` are those of [`to_channels`] if the statistics were the batch's own,
/// and so depend on x.
pub fn to_x(
    shape: BatchNormShape,
    gradient: &[f32],
    x: &[f32],
    channels: &[Channel],
    sums: Option<&[[f32; 2]]>,
) -> Vec<f32> {
    let share = (1.0 / shape.count()) as f32;
    uninit::vector(x.len(), shape.image(), |image, target| {
        let range = shape.range(image);
        let (x, gradient) = (&x[range.clone()], &gradient[range]);
        vectorised(
            #[inline(always)]
            || {
                uninit::planes(target, shape.pixels, x, gradient, |index| {
                    let channel = channels[index];
                    let [along, level] =
                        sums.map_or([0.0; 2], |sums| sums[index].map(|sum| sum * share));
                    let scale = channel.inverse * channel.weight;
                    move |x, gradient| {
                        let normal = (x - channel.mean) * channel.inverse;
                        (gradient - level - normal * along) * scale
                    }
                })
            },
        )
    })
}
