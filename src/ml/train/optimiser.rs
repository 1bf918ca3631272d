//! Optimisers, with the formulas of PyTorch. Parameters are updated in place, in the order of
//! their names.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Tensor};

use crate::ml::Result;

/// How a gradient moves a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// v ← momentum·v + g, p ← p − rate·v.
    Sgd { momentum: f64 },
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW { beta1: f64, beta2: f64, eps: f64 },
}

impl Rule {
    /// PyTorch's defaults for AdamW.
    pub const ADAMW: Self = Self::AdamW {
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
    };
}

/// A parameter in training. Its tensor is its own: the updates write into it.
#[derive(Debug)]
pub struct Parameter {
    pub tensor: Tensor,
    /// Weight decay applies to it.
    pub decays: bool,
}

/// A rule with its running sums.
pub struct Optimiser {
    rule: Rule,
    weight_decay: f64,
    steps: i32,
    sums: BTreeMap<String, [Tensor; 2]>,
}

impl Optimiser {
    /// SGD adds `weight_decay`·p to the gradient; AdamW shrinks p by rate·`weight_decay`.
    pub fn new(rule: Rule, weight_decay: f64) -> Self {
        Self {
            rule,
            weight_decay,
            steps: 0,
            sums: BTreeMap::new(),
        }
    }

    /// Moves every parameter that has a gradient. A rate of 0 leaves them bit-equal.
    pub fn step(
        &mut self,
        rate: f64,
        parameters: &mut BTreeMap<String, Parameter>,
        gradients: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        self.steps += 1;
        for (name, parameter) in parameters {
            let Some(gradient) = gradients.get(name) else {
                continue;
            };
            if !self.sums.contains_key(name) {
                let zeros = || gradient.zeros_like();
                self.sums.insert(name.clone(), [zeros()?, zeros()?]);
            }
            let decay = match parameter.decays {
                true => self.weight_decay,
                false => 0.0,
            };
            if let Some(sums) = self.sums.get_mut(name) {
                let tensor = &mut parameter.tensor;
                match self.rule {
                    Rule::Sgd { momentum } => sgd(tensor, gradient, sums, rate, momentum, decay)?,
                    Rule::AdamW { beta1, beta2, eps } => {
                        let step = AdamStep {
                            rate,
                            decay,
                            beta1,
                            beta2,
                            eps,
                            correction1: 1.0 - libm::pow(beta1, self.steps.into()),
                            correction2: 1.0 - libm::pow(beta2, self.steps.into()),
                        };
                        adamw(tensor, gradient, sums, &step)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn sgd(
    parameter: &mut Tensor,
    gradient: &Tensor,
    [velocity, _]: &mut [Tensor; 2],
    rate: f64,
    momentum: f64,
    decay: f64,
) -> Result<()> {
    let decayed;
    let gradient = match decay == 0.0 {
        true => gradient,
        false => {
            decayed = (gradient + (&*parameter * decay)?)?;
            &decayed
        }
    };
    if parameter.device().is_cpu() {
        velocity.inplace_op2(gradient, &Blend(momentum as f32, 1.0))?;
        if rate != 0.0 {
            parameter.inplace_op2(velocity, &Blend(1.0, -rate as f32))?;
        }
        return Ok(());
    }
    *velocity = ((&*velocity * momentum)? + gradient)?;
    if rate != 0.0 {
        *parameter = (&*parameter - (&*velocity * rate)?)?;
    }
    Ok(())
}

struct AdamStep {
    rate: f64,
    decay: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    correction1: f64,
    correction2: f64,
}

fn adamw(
    parameter: &mut Tensor,
    gradient: &Tensor,
    [first, second]: &mut [Tensor; 2],
    step: &AdamStep,
) -> Result<()> {
    if parameter.device().is_cpu() {
        let AdamStep { beta1, beta2, .. } = *step;
        first.inplace_op2(gradient, &Blend(beta1 as f32, (1.0 - beta1) as f32))?;
        second.inplace_op2(gradient, &BlendSquare(beta2 as f32, (1.0 - beta2) as f32))?;
        if step.rate != 0.0 {
            parameter.inplace_op3(first, second, step)?;
        }
        return Ok(());
    }
    *first = ((&*first * step.beta1)? + (gradient * (1.0 - step.beta1))?)?;
    *second = ((&*second * step.beta2)? + (gradient.sqr()? * (1.0 - step.beta2))?)?;
    if step.rate != 0.0 {
        let spread = ((&*second / step.correction2)?.sqrt()? + step.eps)?;
        let shrunk = (&*parameter * (1.0 - step.rate * step.decay))?;
        let move_by = ((&*first * (step.rate / step.correction1))? / spread)?;
        *parameter = (shrunk - move_by)?;
    }
    Ok(())
}

/// a ← keep·a + add·b.
struct Blend(f32, f32);

impl InplaceOp2 for Blend {
    fn name(&self) -> &'static str {
        "blend"
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<()> {
        let Self(keep, add) = *self;
        for (a, b) in slice_mut(a, a_layout)?.iter_mut().zip(slice(b, b_layout)?) {
            *a = keep * *a + add * b;
        }
        Ok(())
    }
}

/// a ← keep·a + add·b².
struct BlendSquare(f32, f32);

impl InplaceOp2 for BlendSquare {
    fn name(&self) -> &'static str {
        "blend_square"
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> candle_core::Result<()> {
        let Self(keep, add) = *self;
        for (a, b) in slice_mut(a, a_layout)?.iter_mut().zip(slice(b, b_layout)?) {
            *a = keep * *a + add * (b * b);
        }
        Ok(())
    }
}

/// p ← (1 − rate·decay)·p − rate/correction1 · m/(√(v/correction2) + eps).
impl InplaceOp3 for AdamStep {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        parameter_layout: &Layout,
        first: &CpuStorage,
        first_layout: &Layout,
        second: &CpuStorage,
        second_layout: &Layout,
    ) -> candle_core::Result<()> {
        let keep = (1.0 - self.rate * self.decay) as f32;
        let stride = (self.rate / self.correction1) as f32;
        let scale = (1.0 / libm::sqrt(self.correction2)) as f32;
        let eps = self.eps as f32;
        let parameter = slice_mut(parameter, parameter_layout)?;
        let moments = slice(first, first_layout)?
            .iter()
            .zip(slice(second, second_layout)?);
        for (p, (m, v)) in parameter.iter_mut().zip(moments) {
            *p = keep * *p - stride * m / (v.sqrt() * scale + eps);
        }
        Ok(())
    }
}

fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> candle_core::Result<&'a [f32]> {
    let (start, end) = offsets(layout)?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

fn slice_mut<'a>(
    storage: &'a mut CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a mut [f32]> {
    let (start, end) = offsets(layout)?;
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("parameters are trained in f32"),
    }
}

fn offsets(layout: &Layout) -> candle_core::Result<(usize, usize)> {
    layout
        .contiguous_offsets()
        .ok_or_else(|| candle_core::Error::Msg("a parameter is not contiguous".to_string()))
}
