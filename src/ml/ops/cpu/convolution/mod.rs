//! Convolution and pooling over windows of images.

mod columns;
#[cfg(target_arch = "x86_64")]
mod direct;
mod pool;
#[cfg(target_arch = "x86_64")]
mod winograd;

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

    /// Whether minimal filtering is possible, and its kernels are available.
    #[cfg(target_arch = "x86_64")]
    fn by_winograd(&self) -> bool {
        winograd::serves(self) && super::packed::available()
    }

    /// Whether the direct kernels are available and faster than products with a matrix of windows.
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
    if shape.by_winograd() {
        return winograd::forward(shape, x, weight);
    }
    #[cfg(target_arch = "x86_64")]
    if shape.slides() {
        return direct::forward(shape, x, weight);
    }
    columns::forward(shape, x, weight)
}

/// The gradient of x.
pub fn to_x(shape: ConvolutionShape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if shape.by_winograd() {
        return winograd::to_x(shape, gradient, weight);
    }
    #[cfg(target_arch = "x86_64")]
    if shape.slides() {
        return direct::to_x(shape, gradient, weight);
    }
    columns::to_x(shape, gradient, weight)
}

/// The gradient of the weight `[outputs, taps]`.
pub fn to_weight(shape: ConvolutionShape, outputs: usize, gradient: &[f32], x: &[f32]) -> Vec<f32> {
    #[cfg(target_arch = "x86_64")]
    if shape.by_winograd() {
        return winograd::to_weight(shape, outputs, gradient, x);
    }
    #[cfg(target_arch = "x86_64")]
    if shape.slides_for_weight() {
        return direct::to_weight(shape, outputs, gradient, x);
    }
    columns::to_weight(shape, outputs, gradient, x)
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests;
