//! A model: its config and its named tensors.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};

use super::config::Input;
use super::pass::{Pass, Weights};
use super::{Config, Initial, Network, TensorSpec, prompt, resnet, vit};
use crate::ops::{Activation, Tape, Value};
use crate::{Error, Result};

/// A classifier. Its tensors are never changed in place; training creates new ones.
#[derive(Clone, Debug)]
pub struct Model {
    config: Config,
    tensors: BTreeMap<String, Tensor>,
}

impl Model {
    /// A new model; every tensor is drawn from `(seed, its name)`.
    pub fn new(config: Config, seed: u64, device: &Device) -> Result<Self> {
        config.check()?;
        let tensors = config
            .tensors()
            .into_iter()
            .map(|spec| Ok((spec.name.clone(), spec.start(seed, device)?)))
            .collect::<Result<_>>()?;
        Ok(Self { config, tensors })
    }

    /// A model with given tensors: exactly those of the config, in shape and type.
    pub fn from_tensors(config: Config, tensors: BTreeMap<String, Tensor>) -> Result<Self> {
        config.check()?;
        let specs = config.tensors();
        for spec in &specs {
            check_tensor(spec, tensors.get(&spec.name))?;
        }
        if let Some(extra) = tensors
            .keys()
            .find(|name| !specs.iter().any(|spec| spec.name == **name))
        {
            let arch = &config.arch;
            return Err(Error::Invalid(format!("{arch} has no tensor `{extra}`")));
        }
        Ok(Self { config, tensors })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// By name; all on one device.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    pub fn into_tensors(self) -> BTreeMap<String, Tensor> {
        self.tensors
    }

    /// The device of the tensors.
    pub fn device(&self) -> Device {
        let first = self.tensors.values().next();
        first.map_or(Device::Cpu, |tensor| tensor.device().clone())
    }

    /// The same backbone with a new classifier for `classes`, drawn from `seed`.
    pub fn with_new_head(&self, classes: &[String], seed: u64) -> Result<Self> {
        let config = Config {
            classes: classes.to_vec(),
            embedding: None,
            headless: false,
            ..self.config.clone()
        };
        let device = self.device();
        let mut tensors = self.tensors.clone();
        for spec in config.tensors().into_iter().filter(|spec| spec.head) {
            tensors.insert(spec.name.clone(), spec.start(seed, &device)?);
        }
        Self::from_tensors(config, tensors)
    }

    /// Logits `[batch, classes]` of normalised `images` `[batch, 3, size, size]`, in evaluation
    /// mode and without gradients.
    pub fn logits(&self, images: &Tensor) -> Result<Tensor> {
        let tape = Tape::new();
        let pass = Pass::new(&tape, self, false);
        let features = self
            .config
            .features_of(&pass, &Value::constant(images.clone()))?;
        Ok(self.config.classify(&pass, &features)?.into_tensor())
    }

    /// As [`Model::logits`], but the pooled features `[batch, features]` before the classifier.
    pub fn features(&self, images: &Tensor) -> Result<Tensor> {
        let tape = Tape::new();
        let pass = Pass::new(&tape, self, false);
        let features = self
            .config
            .features_of(&pass, &Value::constant(images.clone()))?;
        Ok(features.into_tensor())
    }
}

/// A classifier that can be evaluated.
pub trait Classifier: Sync {
    /// The images it takes.
    fn input(&self) -> &Input;
    /// Names of the classes, one per logit; empty if the outputs have no names.
    fn classes(&self) -> &[String];
    /// The number of logits.
    fn outputs(&self) -> usize;
    /// The device it runs on.
    fn device(&self) -> Device;
    /// Logits f32 `[batch, outputs]` of normalised `images` f32 `[batch, 3, size, size]`, in
    /// evaluation mode.
    fn logits(&self, images: &Tensor) -> Result<Tensor>;
}

impl Classifier for Model {
    fn input(&self) -> &Input {
        &self.config.input
    }

    fn classes(&self) -> &[String] {
        &self.config.classes
    }

    fn outputs(&self) -> usize {
        self.config.outputs()
    }

    fn device(&self) -> Device {
        Model::device(self)
    }

    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        Model::logits(self, images)
    }
}

impl Weights for Model {
    fn weight(&self, _tape: &Tape, name: &str) -> Result<Value> {
        let tensor = self.tensors.get(name).ok_or_else(|| missing(name))?;
        Ok(Value::constant(tensor.clone()))
    }
}

impl Config {
    /// The pooled features of `images` in `pass`.
    pub fn features_of(&self, pass: &Pass, images: &Value) -> Result<Value> {
        let framed = match self.prompt {
            Some(_) => Some(prompt::framed(pass.tape, images, |name| pass.weight(name))?),
            None => None,
        };
        let images = framed.as_ref().unwrap_or(images);
        match &self.network {
            Network::Vit(network) => vit::features(network, pass, images),
            Network::Resnet(network) => resnet::features(network, pass, images),
        }
    }

    /// The logits of pooled `features` in `pass`.
    pub fn classify(&self, pass: &Pass, features: &Value) -> Result<Value> {
        if self.headless {
            return Ok(features.clone());
        }
        let (weight, bias) = (
            pass.of(self.head(), "weight")?,
            pass.of(self.head(), "bias")?,
        );
        let tape = pass.tape;
        let logits = tape.linear(features, &weight, Some(&bias), Activation::None)?;
        tape.widened(&logits)
    }
}

fn missing(name: &str) -> Error {
    Error::Invalid(format!("the model's tensor `{name}` is missing"))
}

fn check_tensor(spec: &TensorSpec, tensor: Option<&Tensor>) -> Result<()> {
    let tensor = tensor.ok_or_else(|| missing(&spec.name))?;
    if tensor.dims() != spec.shape.as_slice() {
        return Err(Error::Invalid(format!(
            "tensor `{}` has the shape {:?}, not {:?}",
            spec.name,
            tensor.dims(),
            spec.shape
        )));
    }
    let expected = match spec.initial {
        Initial::Counter => DType::I64,
        _ => DType::F32,
    };
    if tensor.dtype() != expected {
        return Err(Error::Invalid(format!(
            "tensor `{}` holds {:?}, not {expected:?}",
            spec.name,
            tensor.dtype()
        )));
    }
    Ok(())
}
