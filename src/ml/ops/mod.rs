//! Differentiable tensor operations, recorded on a [`Tape`].
//!
//! Candle provides tensors, devices and matrix products; the gradients are our own. Each operation
//! defines its backward pass, so a step keeps only what that pass needs, gradients are not
//! accumulated into zeros, and an upstream parameter can't silently lose its gradient. Each
//! operation has two implementations: a composition of Candle's tensor operations, which supports
//! every device and number type, and a fused kernel for `f32` on the CPU. The operations of a
//! transformer also have GPU implementations (`gpu`).
//!
//! The kernels run on the threads of the current [`parallel`] scope and divide their work by shape,
//! so the same input gives the same bits for any number of threads.
//!
//! Knows no models, images or optimisers.

/// Incremented when a kernel may give different bits for the same input: data derived with older
/// kernels is then recomputed.
pub const KERNELS: u32 = 2;

mod anchor;
mod attention;
mod batch_norm;
mod convolution;
mod cpu;
mod cross_entropy;
mod distillation;
mod elementwise;
mod frame;
mod gpu;
mod layer_norm;
mod linear;
mod low_rank;
pub mod parallel;
mod patches;
mod precision;
mod tape;
#[cfg(test)]
mod tests;

pub(crate) use anchor::sum_of_squares;
pub use batch_norm::{Affine, BatchMoments, Epilogue, Statistics};
pub use convolution::Window;
pub(crate) use cpu::math::vectorised;
pub use cross_entropy::Targets;
pub use frame::Frame;
#[cfg(feature = "cuda")]
pub(crate) use gpu::launch;
pub use linear::Activation;
pub use precision::Precision;
pub use tape::{Gradients, Tape, Value};
