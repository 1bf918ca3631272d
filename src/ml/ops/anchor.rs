//! The distance of a tensor from a fixed one.

use candle_core::{DType, Tensor};

use super::{Tape, Value, cpu};
use crate::{Error, Result};

/// Σ x² over all values of a tensor; on the CPU, summed in f64.
pub(crate) fn sum_of_squares(x: &Tensor) -> Result<f64> {
    if cpu::serves(&[x]) {
        return cpu::read([x], |[x]| cpu::anchor::sum_of_squares(x));
    }
    let sum = x.to_dtype(DType::F32)?.sqr()?.sum_all()?;
    Ok(f64::from(sum.to_scalar::<f32>()?))
}

impl Tape {
    /// `strength`·Σ w·(x − a)², a scalar; `anchor` a and `weights` w (all 1 if absent) have the
    /// shape of `x`.
    pub fn squared_distance(
        &self,
        x: &Value,
        anchor: &Tensor,
        weights: Option<&Tensor>,
        strength: f64,
    ) -> Result<Value> {
        let fits = |other: &Tensor| other.dims() == x.tensor().dims();
        if !fits(anchor) || !weights.is_none_or(fits) {
            let (x, anchor) = (x.tensor().dims(), anchor.dims());
            return Err(Error::Invalid(format!(
                "{x:?} and {anchor:?} differ in shape"
            )));
        }
        let pull = AnchorTerm {
            x: x.tensor().clone(),
            anchor: anchor.clone(),
            weights: weights.cloned(),
            strength,
        };
        let distance = pull.distance()?;
        Ok(self.record(distance, &[x], move |gradient, _| {
            Ok(vec![Some(pull.gradient(gradient)?)])
        }))
    }

    /// `factor`·x.
    pub fn scale(&self, x: &Value, factor: f64) -> Result<Value> {
        let output = (x.tensor() * factor)?;
        Ok(self.record(output, &[x], move |gradient, _| {
            Ok(vec![Some((gradient * factor)?)])
        }))
    }
}

struct AnchorTerm {
    x: Tensor,
    anchor: Tensor,
    weights: Option<Tensor>,
    strength: f64,
}

impl AnchorTerm {
    fn fused(&self) -> bool {
        let weights = self.weights.as_ref().unwrap_or(&self.x);
        cpu::serves(&[&self.x, &self.anchor, weights])
    }

    /// The tensor of weights, empty if all are 1.
    fn weights(&self) -> Result<Tensor> {
        match &self.weights {
            Some(weights) => Ok(weights.clone()),
            None => Ok(Tensor::zeros(0, self.x.dtype(), self.x.device())?),
        }
    }

    fn distance(&self) -> Result<Tensor> {
        if self.fused() {
            let sum = cpu::read(
                [&self.x, &self.anchor, &self.weights()?],
                |[x, anchor, weights]| cpu::anchor::squared_distance(x, anchor, weights),
            )?;
            return cpu::tensor(vec![(self.strength * sum) as f32], ());
        }
        let mut squares = (&self.x - &self.anchor)?.sqr()?;
        if let Some(weights) = &self.weights {
            squares = (squares * weights)?;
        }
        Ok((squares.sum_all()? * self.strength)?)
    }

    fn gradient(&self, gradient: &Tensor) -> Result<Tensor> {
        if self.fused() {
            let factor = gradient.to_dtype(DType::F64)?.to_scalar::<f64>()?;
            let factor = (2.0 * self.strength * factor) as f32;
            let values = cpu::read(
                [&self.x, &self.anchor, &self.weights()?],
                |[x, anchor, weights]| cpu::anchor::gradient(x, anchor, weights, factor),
            )?;
            return cpu::tensor(values, self.x.shape());
        }
        let mut moved = ((&self.x - &self.anchor)? * (2.0 * self.strength))?;
        if let Some(weights) = &self.weights {
            moved = (moved * weights)?;
        }
        Ok(moved.broadcast_mul(gradient)?)
    }
}
