//! Updates as compositions of tensor operations, for every device.

use candle_core::Tensor;

use super::{AdamStep, SgdStep};
use crate::{Error, Result};

pub fn sgd(
    parameter: &mut Tensor,
    gradient: &Tensor,
    velocity: Vec<Tensor>,
    step: SgdStep,
) -> Result<Vec<Tensor>> {
    let [velocity] = memory(velocity)?;
    let mut gradient = gradient.clone();
    if step.decay != 0.0 {
        gradient = (gradient + (&*parameter * step.decay)?)?;
    }
    let velocity = ((velocity * step.momentum)? + gradient)?;
    if step.rate != 0.0 {
        *parameter = (&*parameter - (&velocity * step.rate)?)?;
    }
    Ok(vec![velocity])
}

pub fn adamw(
    parameter: &mut Tensor,
    gradient: &Tensor,
    means: Vec<Tensor>,
    step: AdamStep,
) -> Result<Vec<Tensor>> {
    let [first, second] = memory(means)?;
    let first = ((first * step.beta1)? + (gradient * (1.0 - step.beta1))?)?;
    let second = ((second * step.beta2)? + (gradient.sqr()? * (1.0 - step.beta2))?)?;
    if step.rate != 0.0 {
        let spread = ((&second / step.correction2)?.sqrt()? + step.eps)?;
        let shrunk = (&*parameter * (1.0 - step.rate * step.decay))?;
        let move_by = ((&first * (step.rate / step.correction1))? / spread)?;
        *parameter = (shrunk - move_by)?;
    }
    Ok(vec![first, second])
}

fn memory<const N: usize>(tensors: Vec<Tensor>) -> Result<[Tensor; N]> {
    let count = tensors.len();
    <[Tensor; N]>::try_from(tensors)
        .map_err(|_| Error::Invalid(format!("{N} running means were expected, not {count}")))
}
