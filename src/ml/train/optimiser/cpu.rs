//! Updates on the CPU: each parameter is read and written once, on all threads.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};

use super::{AdamStep, SgdStep};
use crate::Result;
use crate::ops::parallel;
use crate::ops::vectorised;

/// Values in a work item.
const PIECE: usize = 1 << 16;

/// Returns the velocity.
pub fn sgd(
    parameter: &mut Tensor,
    gradient: &Tensor,
    velocity: Vec<f32>,
    step: SgdStep,
) -> Result<Vec<f32>> {
    let update = Update {
        memory: RefCell::new(velocity),
        step,
    };
    parameter.inplace_op2(&gradient.contiguous()?, &update)?;
    Ok(update.memory.into_inner())
}

/// Returns the running means.
pub fn adamw(
    parameter: &mut Tensor,
    gradient: &Tensor,
    moments: Vec<[f32; 2]>,
    step: AdamStep,
) -> Result<Vec<[f32; 2]>> {
    let update = Update {
        memory: RefCell::new(moments),
        step,
    };
    parameter.inplace_op2(&gradient.contiguous()?, &update)?;
    Ok(update.memory.into_inner())
}

/// A step and the state of the parameter, with one entry per value.
struct Update<S, M> {
    step: S,
    memory: RefCell<Vec<M>>,
}

/// The update rule for consecutive values.
trait Rule<M>: Copy + Send + Sync {
    const NAME: &'static str;

    fn apply(self, parameters: &mut [f32], memory: &mut [M], gradients: &[f32]);
}

impl Rule<f32> for SgdStep {
    const NAME: &'static str = "sgd";

    #[inline(always)]
    fn apply(self, parameters: &mut [f32], velocities: &mut [f32], gradients: &[f32]) {
        let (rate, momentum, decay) = (self.rate as f32, self.momentum as f32, self.decay as f32);
        let values = parameters.iter_mut().zip(velocities).zip(gradients);
        for ((parameter, velocity), gradient) in values {
            *velocity = momentum * *velocity + (gradient + decay * *parameter);
            *parameter -= rate * *velocity;
        }
    }
}

impl Rule<[f32; 2]> for AdamStep {
    const NAME: &'static str = "adamw";

    /// p ← (1 − rate·decay)·p − rate/correction1 · m/(√(v/correction2) + eps).
    #[inline(always)]
    fn apply(self, parameters: &mut [f32], moments: &mut [[f32; 2]], gradients: &[f32]) {
        let (beta1, beta2) = (self.beta1 as f32, self.beta2 as f32);
        let (rest1, rest2) = ((1.0 - self.beta1) as f32, (1.0 - self.beta2) as f32);
        let keep = (1.0 - self.rate * self.decay) as f32;
        let stride = (self.rate / self.correction1) as f32;
        let scale = (1.0 / libm::sqrt(self.correction2)) as f32;
        let eps = self.eps as f32;
        let values = parameters.iter_mut().zip(moments).zip(gradients);
        for ((parameter, [first, second]), gradient) in values {
            *first = beta1 * *first + rest1 * gradient;
            *second = beta2 * *second + rest2 * (gradient * gradient);
            if self.rate != 0.0 {
                *parameter = keep * *parameter - stride * *first / (second.sqrt() * scale + eps);
            }
        }
    }
}

impl<M: Send, S: Rule<M>> InplaceOp2 for Update<S, M> {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (start, end) = offsets(gradient_layout)?;
        let gradient = &gradient.as_slice::<f32>()?[start..end];
        let (start, end) = offsets(parameter_layout)?;
        let CpuStorage::F32(values) = parameter else {
            candle_core::bail!("parameters are trained in f32")
        };
        let values = &mut values[start..end];
        let mut memory = self.memory.borrow_mut();
        if values.len() != gradient.len() || values.len() != memory.len() {
            candle_core::bail!("a gradient does not fit its parameter")
        }
        let step = self.step;
        let work = |index: usize, values: &mut [f32], memory: &mut [M]| {
            let gradient = &gradient[index * PIECE..][..values.len()];
            vectorised(
                #[inline(always)]
                || step.apply(values, memory, gradient),
            );
        };
        parallel::each_pair(values, PIECE, &mut memory, PIECE, work);
        Ok(())
    }
}

fn offsets(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::Msg("a parameter is not contiguous".to_string()))
}
