//! Convolution and pooling over windows of images.

mod columns;
#[cfg(target_arch = "x86_64")]
mod direct;
mod pool;

pub use self::pool::{max_pool, max_pool_backward, mean_pool, mean_pool_backward};
use crate::ops::convolution::Window;

/// The sizes of a convolution or a pooling.
#[derive(Clone, Copy)]
pub struct ConvolutionShape {
    pub batch: usize,
    pub channels: usize,
    pub height: usize,
    pub width: usize,
    pub window: Window,
    /// Vertical and horizontal positions of the window.
    pub down: usize,
    pub across: usize,
}

impl ConvolutionShape {
    fn image(&self) -> usize {
        self.channels * self.height * self.width
    }

    fn places(&self) -> usize {
        self.down * self.across
    }

    /// The number of values under the window.
    fn taps(&self) -> usize {
        self.channels * self.window.size * self.window.size
    }

    /// The image is already the matrix of its windows.
    fn is_pointwise(&self) -> bool {
        let Window {
            size,
            stride,
            padding,
        } = self.window;
        (size, stride, padding) == (1, 1, 0)
    }

    /// Whether the direct kernels are available and faster.
    #[cfg(target_arch = "x86_64")]
    fn slides(&self) -> bool {
        use super::packed::has_avx512;
        // If the image is already the matrix of its windows, the only gain is full panels. On AVX2,
        // products of matrices by `gemm` are faster.
        let gains = !self.is_pointwise() || self.places() < FEW_PLACES;
        gains && has_avx512()
    }

    /// The same for the gradient of the weight, which needs no panels of the images.
    #[cfg(target_arch = "x86_64")]
    fn slides_for_weight(&self) -> bool {
        !self.is_pointwise() && super::packed::available()
    }
}

/// With fewer positions in an image, panels that span images are fuller.
#[cfg(target_arch = "x86_64")]
const FEW_PLACES: usize = 200;

/// `[batch, outputs, places]` of `x` and `weight` `[outputs, taps]`.
pub fn forward(shape: ConvolutionShape, x: &[f32], weight: &[f32]) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if shape.slides() {
        return direct::forward(shape, x, weight);
    }
    columns::forward(shape, x, weight)
}

/// The gradient of x.
pub fn to_x(shape: ConvolutionShape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if shape.slides() {
        return direct::to_x(shape, gradient, weight);
    }
    columns::to_x(shape, gradient, weight)
}

/// The gradient of the weight `[outputs, taps]`.
pub fn to_weight(shape: ConvolutionShape, outputs: usize, gradient: &[f32], x: &[f32]) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if shape.slides_for_weight() {
        return direct::to_weight(shape, outputs, gradient, x);
    }
    columns::to_weight(shape, outputs, gradient, x)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::ops::cpu::packed::{available, has_avx512};
    use crate::rng::Stream;

    /// On one machine, only this test covers the other implementation.
    #[test]
    fn both_ways_agree() {
        if !available() {
            println!("skipped: this processor has no AVX2");
            return;
        }
        let mut stream = Stream::new(0, "convolution");
        for (batch, channels, side, size, stride, outputs) in [
            (2, 3, 8, 3, 1, 4),
            (3, 5, 9, 3, 2, 17),
            (2, 4, 12, 1, 2, 33),
            (1, 3, 30, 7, 2, 16),
            (5, 6, 4, 3, 1, 40),
            (2, 70, 7, 3, 1, 20),
            (2, 4, 9, 5, 3, 3),
            (3, 4, 9, 1, 1, 3),
        ] {
            let window = Window {
                size,
                stride,
                padding: size / 2,
            };
            let places = window.places(side).unwrap();
            let shape = ConvolutionShape {
                batch,
                channels,
                height: side,
                width: side,
                window,
                down: places,
                across: places,
            };
            let mut random = |count: usize| -> Vec<f32> {
                (0..count).map(|_| stream.range(-1.0, 1.0) as f32).collect()
            };
            let x = random(batch * shape.image());
            let weight = random(outputs * shape.taps());
            let gradient = random(batch * outputs * shape.places());
            let near = |what: &str, a: Vec<f32>, b: Vec<f32>| {
                assert_eq!(a.len(), b.len());
                let largest = b.iter().fold(0.0_f32, |top, value| top.max(value.abs()));
                for (a, b) in a.iter().zip(&b) {
                    assert!(
                        (a - b).abs() <= 4e-6 * largest,
                        "{what} of {window:?}: {a}, {b}"
                    );
                }
            };
            if has_avx512() {
                near(
                    "output",
                    direct::forward(shape, &x, &weight),
                    columns::forward(shape, &x, &weight),
                );
                near(
                    "gradient of x",
                    direct::to_x(shape, &gradient, &weight),
                    columns::to_x(shape, &gradient, &weight),
                );
            }
            near(
                "gradient of the weight",
                direct::to_weight(shape, outputs, &gradient, &x),
                columns::to_weight(shape, outputs, &gradient, &x),
            );
        }
    }
}
