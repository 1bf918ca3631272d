//! Optimisers with PyTorch's formulas. Parameters are updated in place, in the order of their
//! names.

mod composed;
mod cpu;
#[cfg(feature = "cuda")]
mod cuda;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use crate::Result;

/// The update rule.
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

/// A trained parameter. It owns its tensor, which updates overwrite.
#[derive(Debug)]
pub struct Parameter {
    pub tensor: Tensor,
    /// Whether weight decay applies to it.
    pub decays: bool,
}

/// The optimiser state of a parameter.
enum Memory {
    /// On the CPU under SGD.
    Velocity(Vec<f32>),
    /// On the CPU under AdamW: the running means of the gradient and of its square.
    Moments(Vec<[f32; 2]>),
    /// On a GPU: the velocity, or the two means one after the other.
    #[cfg(feature = "cuda")]
    Joint(Tensor),
    /// Elsewhere: the velocity, or the two means.
    Tensors(Vec<Tensor>),
}

impl Memory {
    fn new(rule: Rule, parameter: &Tensor) -> Result<Self> {
        let count = parameter.elem_count();
        let own = parameter.device().is_cpu() && parameter.dtype() == DType::F32;
        Ok(match rule {
            Rule::Sgd { .. } if own => Self::Velocity(vec![0.0; count]),
            Rule::AdamW { .. } if own => Self::Moments(vec![[0.0; 2]; count]),
            Rule::Sgd { .. } => Self::Tensors(vec![parameter.zeros_like()?]),
            Rule::AdamW { .. } => {
                Self::Tensors(vec![parameter.zeros_like()?, parameter.zeros_like()?])
            }
        })
    }
}

/// A rule with its state.
pub struct Optimiser {
    rule: Rule,
    weight_decay: f64,
    steps: i32,
    memory: BTreeMap<String, Memory>,
}

/// One step of SGD.
#[derive(Clone, Copy)]
struct SgdStep {
    rate: f64,
    momentum: f64,
    decay: f64,
}

/// One step of AdamW.
#[derive(Clone, Copy)]
struct AdamStep {
    rate: f64,
    decay: f64,
    beta1: f64,
    beta2: f64,
    eps: f64,
    correction1: f64,
    correction2: f64,
}

impl Optimiser {
    /// SGD adds `weight_decay`·p to the gradient; AdamW shrinks p by rate·`weight_decay`.
    pub fn new(rule: Rule, weight_decay: f64) -> Self {
        Self {
            rule,
            weight_decay,
            steps: 0,
            memory: BTreeMap::new(),
        }
    }

    /// Updates every parameter with a gradient. A rate of 0 leaves them bit-equal.
    pub fn step(
        &mut self,
        rate: f64,
        parameters: &mut BTreeMap<String, Parameter>,
        gradients: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        self.steps += 1;
        #[cfg(feature = "cuda")]
        if parameters.values().any(|it| it.tensor.device().is_cuda()) {
            return self.step_on_gpu(rate, parameters, gradients);
        }
        for (name, parameter) in parameters {
            let Some(gradient) = gradients.get(name) else {
                continue;
            };
            let decay = self.decay(parameter);
            let tensor = &mut parameter.tensor;
            let memory = match self.memory.remove(name) {
                Some(memory) => memory,
                None => Memory::new(self.rule, tensor)?,
            };
            let memory = match self.rule {
                Rule::Sgd { momentum } => {
                    let step = SgdStep {
                        rate,
                        momentum,
                        decay,
                    };
                    sgd(tensor, gradient, memory, step)?
                }
                Rule::AdamW { .. } => {
                    let step = AdamStep {
                        decay,
                        ..self.adam(rate)
                    };
                    adamw(tensor, gradient, memory, step)?
                }
            };
            self.memory.insert(name.clone(), memory);
        }
        Ok(())
    }

    fn decay(&self, parameter: &Parameter) -> f64 {
        match parameter.decays {
            true => self.weight_decay,
            false => 0.0,
        }
    }

    /// This step of AdamW, without decay.
    fn adam(&self, rate: f64) -> AdamStep {
        let (beta1, beta2, eps) = match self.rule {
            Rule::AdamW { beta1, beta2, eps } => (beta1, beta2, eps),
            Rule::Sgd { .. } => (0.0, 0.0, 0.0),
        };
        AdamStep {
            rate,
            decay: 0.0,
            beta1,
            beta2,
            eps,
            correction1: 1.0 - libm::pow(beta1, self.steps.into()),
            correction2: 1.0 - libm::pow(beta2, self.steps.into()),
        }
    }

    /// Updates all parameters at once.
    #[cfg(feature = "cuda")]
    fn step_on_gpu(
        &mut self,
        rate: f64,
        parameters: &BTreeMap<String, Parameter>,
        gradients: &BTreeMap<String, Tensor>,
    ) -> Result<()> {
        let means = match self.rule {
            Rule::Sgd { .. } => 1,
            Rule::AdamW { .. } => 2,
        };
        let mut all = Vec::with_capacity(parameters.len());
        for (name, parameter) in parameters {
            let Some(gradient) = gradients.get(name) else {
                continue;
            };
            let tensor = &parameter.tensor;
            let memory = match self.memory.get(name) {
                Some(Memory::Joint(memory)) => memory.clone(),
                _ => Tensor::zeros(means * tensor.elem_count(), DType::F32, tensor.device())?,
            };
            self.memory
                .insert(name.clone(), Memory::Joint(memory.clone()));
            let decay = self.decay(parameter);
            all.push(cuda::ParameterUpdate::new(tensor, gradient, memory, decay)?);
        }
        match self.rule {
            Rule::Sgd { momentum } => {
                let decay = self.weight_decay;
                let step = SgdStep {
                    rate,
                    momentum,
                    decay,
                };
                cuda::sgd(&all, step)
            }
            Rule::AdamW { .. } => cuda::adamw(&all, self.adam(rate)),
        }
    }
}

fn sgd(tensor: &mut Tensor, gradient: &Tensor, memory: Memory, step: SgdStep) -> Result<Memory> {
    Ok(match memory {
        Memory::Velocity(velocity) => Memory::Velocity(cpu::sgd(tensor, gradient, velocity, step)?),
        Memory::Tensors(tensors) => {
            Memory::Tensors(composed::sgd(tensor, gradient, tensors, step)?)
        }
        // Unreachable: a rule creates its own state.
        other => other,
    })
}

fn adamw(tensor: &mut Tensor, gradient: &Tensor, memory: Memory, step: AdamStep) -> Result<Memory> {
    Ok(match memory {
        Memory::Moments(moments) => Memory::Moments(cpu::adamw(tensor, gradient, moments, step)?),
        Memory::Tensors(tensors) => {
            Memory::Tensors(composed::adamw(tensor, gradient, tensors, step)?)
        }
        other => other,
    })
}
