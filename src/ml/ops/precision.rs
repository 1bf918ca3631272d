//! Half precision as in automatic mixed precision: matrix products and convolutions take and return
//! rounded numbers, in both directions; everything else, and every sum, is f32.

use candle_core::{DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::linear::{Activation, activate};
use super::{Tape, Value};
use crate::Result;

/// The number type of matrix products in training. Weights are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    /// 11 bits, up to 65504; with loss scaling, as in PyTorch's GradScaler.
    F16,
    /// 8 bits, the range of f32.
    Bf16,
}

impl Precision {
    fn dtype(self) -> Option<DType> {
        match self {
            Self::F32 => None,
            Self::F16 => Some(DType::F16),
            Self::Bf16 => Some(DType::BF16),
        }
    }

    /// `tensor` rounded to nearest, ties to even; infinite beyond the range.
    fn round(self, tensor: &Tensor) -> Result<Tensor> {
        match self.dtype() {
            Some(dtype) => Ok(tensor.to_dtype(dtype)?.to_dtype(tensor.dtype())?),
            None => Ok(tensor.clone()),
        }
    }
}

impl Tape {
    /// `x` rounded to the tape's precision; the gradient is also rounded on its way back.
    pub(super) fn rounded(&self, x: &Value) -> Result<Value> {
        let precision = self.precision();
        if precision == Precision::F32 {
            return Ok(x.clone());
        }
        let output = precision.round(x.tensor())?;
        Ok(self.record(output, &[x], move |gradient, _| {
            Ok(vec![Some(precision.round(gradient)?)])
        }))
    }

    /// Applies only the activation.
    pub(super) fn activated(&self, x: &Value, activation: Activation) -> Result<Value> {
        if activation == Activation::None {
            return Ok(x.clone());
        }
        let (output, slope) = activate(x.tensor(), activation, x.is_tracked())?;
        Ok(self.record(output, &[x], move |gradient, _| {
            let through = slope.map(|slope| gradient * slope).transpose()?;
            Ok(vec![through])
        }))
    }
}
