//! Half precision as automatic mixed precision has it: matrix products and convolutions take and
//! give numbers rounded to it, in both directions; everything else, and every sum, is f32.

use candle_core::{DType, Tensor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::linear::{Activation, activate};
use super::{Tape, Value};
use crate::Result;

/// The numbers that matrix products work on in training. Weights are f32 in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    #[default]
    F32,
    /// 11 bits, up to 65504; with loss scaling, as PyTorch's GradScaler.
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

    /// `tensor` rounded to the nearest numbers, ties to even; beyond the range infinite.
    fn round(self, tensor: &Tensor) -> Result<Tensor> {
        match self.dtype() {
            Some(dtype) => Ok(tensor.to_dtype(dtype)?.to_dtype(tensor.dtype())?),
            None => Ok(tensor.clone()),
        }
    }
}

impl Tape {
    /// `x` rounded to the tape's precision; the gradient is rounded on its way back too.
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

    /// The activation alone.
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
