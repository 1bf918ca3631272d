//! A model as a candle-nn module.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor, Var};
use candle_nn::{Init, Module, ModuleT, VarBuilder, VarMap};

use super::bridge;
use crate::Result;
use crate::models::{Config, Initial, Model, Role, TensorSpec};

/// A vision transformer or residual network whose tensors belong to Candle.
///
/// [`ModuleT::forward_t`] returns the logits f32 `[batch, outputs]` of normalised images f32
/// `[batch, 3, size, size]`; in training mode it also updates the running statistics of batch
/// norms. [`NnModel::evaluation`] is the same as a [`Module`]: Candle gives every `Module` a
/// `forward_t` that ignores the mode, so one type can't be both.
#[derive(Clone, Debug)]
pub struct NnModel {
    config: Config,
    parameters: BTreeMap<String, Tensor>,
    /// Running statistics and their counters: variables, as in candle-nn's own batch norm.
    buffers: BTreeMap<String, Var>,
}

impl NnModel {
    /// Takes the tensors of `config` from `builder`, by their names in timm or torchvision. A
    /// builder over a [`VarMap`] initialises missing ones; on a CPU, Candle uses an unseeded
    /// generator, so use [`variables`] if the initialisation must be reproducible.
    ///
    /// # Errors
    /// A tensor that is missing or has another shape; an invalid config.
    pub fn load(config: Config, builder: VarBuilder) -> candle_core::Result<Self> {
        config.check().map_err(candle_core::Error::wrap)?;
        let (mut parameters, mut buffers) = (BTreeMap::new(), BTreeMap::new());
        for spec in config.tensors() {
            let (init, dtype) = start(&spec);
            let shape = spec.shape.as_slice();
            let tensor = builder.get_with_hints_dtype(shape, &spec.name, init, dtype)?;
            match spec.role {
                Role::Parameter => {
                    parameters.insert(spec.name, tensor);
                }
                Role::Buffer => {
                    buffers.insert(spec.name, Var::from_tensor(&tensor)?);
                }
            }
        }
        Ok(Self {
            config,
            parameters,
            buffers,
        })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The model as a module in evaluation mode.
    pub fn evaluation(&self) -> EvaluationMode<'_> {
        EvaluationMode(self)
    }

    /// A copy of the current model, independent of Candle's variables.
    ///
    /// # Errors
    /// A copy that fails.
    pub fn to_model(&self) -> Result<Model> {
        let tensors = self.tensors();
        let copies = tensors
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.detach().copy()?)))
            .collect::<Result<_>>()?;
        Model::from_tensors(self.config.clone(), copies)
    }

    /// Parameters, and buffers without a gradient.
    fn tensors(&self) -> BTreeMap<String, Tensor> {
        let buffers = self.buffers.iter();
        let buffers = buffers.map(|(name, var)| (name.clone(), var.as_detached_tensor()));
        self.parameters.clone().into_iter().chain(buffers).collect()
    }
}

/// A model in evaluation mode.
#[derive(Clone, Copy, Debug)]
pub struct EvaluationMode<'a>(&'a NnModel);

impl Module for EvaluationMode<'_> {
    fn forward(&self, images: &Tensor) -> candle_core::Result<Tensor> {
        self.0.forward_t(images, false)
    }
}

impl ModuleT for NnModel {
    fn forward_t(&self, images: &Tensor, train: bool) -> candle_core::Result<Tensor> {
        let (logits, updates) = bridge::forward(&self.config, &self.tensors(), images, train)
            .map_err(candle_core::Error::wrap)?;
        for (name, value) in updates {
            if let Some(buffer) = self.buffers.get(&name) {
                buffer.set(&value)?;
            }
        }
        Ok(logits)
    }
}

/// Copies of the tensors of `model` as variables: for an [`NnModel`] that trains from this
/// initialisation, and to save it with [`VarMap::save`].
///
/// # Errors
/// A copy that fails.
pub fn variables(model: &Model) -> Result<VarMap> {
    let variables = VarMap::new();
    {
        let mut data = variables.data().lock().unwrap_or_else(|it| it.into_inner());
        for (name, tensor) in model.tensors() {
            data.insert(name.clone(), Var::from_tensor(&tensor.copy()?)?);
        }
    }
    Ok(variables)
}

fn start(spec: &TensorSpec) -> (Init, DType) {
    match spec.initial {
        Initial::Constant(value) => (Init::Const(value.into()), DType::F32),
        Initial::Normal { deviation } => {
            let init = Init::Randn {
                mean: 0.0,
                stdev: deviation,
            };
            (init, DType::F32)
        }
        Initial::Uniform { bound } => {
            let init = Init::Uniform {
                lo: -bound,
                up: bound,
            };
            (init, DType::F32)
        }
        Initial::Counter => (Init::Const(0.0), DType::I64),
    }
}
