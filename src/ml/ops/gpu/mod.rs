//! The operations of a transformer as a GPU has them: products by the device's library in the tape's
//! precision, and one kernel for what stands around them.
//!
//! What goes from one operation to the next is stored in that precision: the output of a linear
//! layer, of a layer norm and of attention. Residual streams, logits, losses, weights and their
//! gradients are f32, and so is every sum inside a kernel: automatic mixed precision as PyTorch's
//! autocast has it, but that a layer norm's output is rounded where it is written rather than where
//! the next layer reads it.
//!
//! The layers here know no device: [`fused`] has a kernel where the tensors lie on a GPU, and the
//! same formula in tensor operations elsewhere, by which the layers are tested.

mod batch_norm;
mod convolution;
#[cfg(feature = "cuda")]
mod cuda;
#[cfg(feature = "cuda")]
pub(crate) use cuda::launch;
mod fused;
mod layers;
#[cfg(test)]
mod tests;

use candle_core::{DType, Tensor};

use super::{Precision, Tape, Value};
use crate::Result;

impl Tape {
    /// Whether the layers of this module serve `x`.
    pub(super) fn is_on_gpu(&self, x: &Value) -> bool {
        let known = matches!(x.tensor().dtype(), DType::F32 | DType::BF16 | DType::F16);
        known && (self.acts_as_gpu() || x.tensor().device().is_cuda())
    }

    /// What products work on and layers give.
    fn stored(&self) -> DType {
        match self.precision() {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        }
    }

    /// `x` in another type; so is its gradient, on the way back in `x`'s.
    pub(super) fn cast(&self, x: &Value, dtype: DType) -> Result<Value> {
        let from = x.tensor().dtype();
        if from == dtype {
            return Ok(x.clone());
        }
        let output = x.tensor().to_dtype(dtype)?;
        Ok(self.record(output, &[x], move |gradient, _| {
            Ok(vec![Some(gradient.to_dtype(from)?)])
        }))
    }

    /// `x` as f32 where it is stored in half precision.
    pub(crate) fn widened(&self, x: &Value) -> Result<Value> {
        match x.tensor().dtype() {
            DType::BF16 | DType::F16 => self.cast(x, DType::F32),
            _ => Ok(x.clone()),
        }
    }
}

/// `tensor` as `[rows, columns]`, its last dimension being the columns.
fn flat(tensor: &Tensor) -> Result<Tensor> {
    let columns = tensor.dims().last().copied().unwrap_or(1);
    let rows = tensor.elem_count() / columns.max(1);
    Ok(tensor.reshape((rows, columns))?.contiguous()?)
}
