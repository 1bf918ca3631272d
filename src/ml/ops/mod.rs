//! Differentiable tensor operations, recorded on a [`Tape`].
//!
//! Candle gives tensors, devices and matrix products; the gradients are our own. Each operation
//! states its backward pass itself, so a step keeps only what that pass needs, nothing starts
//! from zeros, and no upstream parameter can silently lose its gradient. Operations exist twice:
//! as a composition of Candle's tensor operations, which serves every device and number type, and
//! as a fused kernel for `f32` on the CPU; those of a transformer also as a GPU has them (`gpu`).
//!
//! The kernels run on the threads of the current [`parallel`] scope and cut their work by the
//! shapes alone, so the same input gives the same bits whatever the number of threads.
//!
//! Knows no model, no image and no optimiser.

/// Raised when a kernel may give other bits for the same input: what was derived with older ones
/// is then computed again.
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
pub use batch_norm::{Affine, BatchMoments, Follow, Statistics};
pub use convolution::Window;
pub(crate) use cpu::math::vectorised;
pub use cross_entropy::Targets;
pub use frame::Frame;
#[cfg(feature = "cuda")]
pub(crate) use gpu::launch;
pub use linear::Activation;
pub use precision::Precision;
pub use tape::{Gradients, Tape, Value};
