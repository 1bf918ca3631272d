//! Fused kernels for `f32` on the CPU: plain functions over slices.
//!
//! Elementwise code uses only operations that IEEE 754 specifies (including fused multiply-add), in
//! an order that does not depend on the instruction set; matrix products come from `gemm`, whose
//! kernels differ between instruction sets.

pub(super) mod anchor;
pub(super) mod attention;
pub(super) mod batch_norm;
pub(super) mod convolution;
pub(super) mod gemm;
pub(super) mod lanes;
pub(super) mod layer_norm;
pub(super) mod linear;
pub(super) mod math;
#[cfg(target_arch = "x86_64")]
pub(super) mod packed;
pub(super) mod patches;
pub(super) mod product;
pub(super) mod uninit;

use candle_core::{DType, Device, Storage, Tensor};

use crate::{Error, Result};

/// Whether the kernels here support these tensors.
pub(super) fn serves(tensors: &[&Tensor]) -> bool {
    tensors
        .iter()
        .all(|tensor| tensor.device().is_cpu() && tensor.dtype() == DType::F32)
}

/// Calls `work` with the row-major values of `tensors`.
pub(super) fn read<const N: usize, R>(
    tensors: [&Tensor; N],
    work: impl FnOnce([&[f32]; N]) -> R,
) -> Result<R> {
    let dense = tensors
        .iter()
        .map(|tensor| tensor.contiguous())
        .collect::<candle_core::Result<Vec<Tensor>>>()?;
    let guards: Vec<_> = dense.iter().map(Tensor::storage_and_layout).collect();
    let mut slices: [&[f32]; N] = [&[]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(&guards) {
        let (Storage::Cpu(storage), Some((start, end))) = (&**storage, layout.contiguous_offsets())
        else {
            return Err(Error::Invalid(
                "a kernel of the CPU met another device".to_string(),
            ));
        };
        *slice = &storage.as_slice::<f32>()?[start..end];
    }
    Ok(work(slices))
}

/// A tensor of `values`.
pub(super) fn tensor(values: Vec<f32>, shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape.into(), &Device::Cpu)?)
}

/// The number of rows in a work item for `rows` rows: enough to be worth a task, and at most 16
/// work items.
pub(super) fn piece_rows(rows: usize) -> usize {
    rows.div_ceil(16).max(64)
}

/// Adds partial sums of equal length, in their order.
pub(super) fn sum_in_order(partials: &[Vec<f32>]) -> Vec<f32> {
    let Some((first, rest)) = partials.split_first() else {
        return Vec::new();
    };
    let mut sum = first.clone();
    for partial in rest {
        math::add_to(&mut sum, partial);
    }
    sum
}
