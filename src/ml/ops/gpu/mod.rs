//! The operations of a transformer on a GPU: products by the device's library in the tape's
//! precision, and one kernel for the operations around them.
//!
//! Values between operations are stored in that precision: the outputs of linear layers, layer
//! norms and attention. Residual streams, logits, losses, weights and their gradients are f32, and
//! so is every sum inside a kernel. This is automatic mixed precision as in PyTorch's autocast,
//! except that a layer norm's output is rounded when it is written instead of when the next layer
//! reads it.
//!
//! The layers here do not depend on the device: [`fused`] uses a kernel if the tensors are on a
//! GPU, and otherwise the same formula in tensor operations, which the tests of the layers use.

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
    /// Whether the layers of this module support `x`.
    pub(super) fn is_on_gpu(&self, x: &Value) -> bool {
        let known = matches!(x.tensor().dtype(), DType::F32 | DType::BF16 | DType::F16);
        known && (self.acts_as_gpu() || x.tensor().device().is_cuda())
    }

    /// The type that products use and layers return.
    fn stored(&self) -> DType {
        match self.precision() {
            Precision::F32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
        }
    }

    /// `x` in another type; on the way back, its gradient is converted to the type of `x`.
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

    /// `x` as f32 if it is stored in half precision.
    pub(crate) fn widened(&self, x: &Value) -> Result<Value> {
        match x.tensor().dtype() {
            DType::BF16 | DType::F16 => self.cast(x, DType::F32),
            _ => Ok(x.clone()),
        }
    }
}

/// `tensor` as `[rows, columns]`, where the columns are the last dimension.
fn flat(tensor: &Tensor) -> Result<Tensor> {
    let columns = tensor.dims().last().copied().unwrap_or(1);
    let rows = tensor.elem_count() / columns.max(1);
    Ok(tensor.reshape((rows, columns))?.contiguous()?)
}
