//! Training steps: forward pass, loss, gradients, update.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::clip::clip;
use super::hooks::{Method, Step};
use super::optimiser::{Optimiser, Parameter, Rule};
use super::scaler::LossScale;
use crate::models::{BufferUpdates, Config, Model, Pass, Role, Weights};
use crate::ops::{Precision, Tape, Targets, Value};
use crate::{Error, Result};

/// A batch of images with precomputed values.
#[derive(Clone, Debug)]
pub struct Batch {
    pub fed: BatchInput,
    /// The logits of the method's teacher, if they are precomputed.
    pub teacher: Option<Tensor>,
}

/// The input of the network.
#[derive(Clone, Debug)]
pub enum BatchInput {
    /// Normalised images `[batch, 3, size, size]`.
    Images(Tensor),
    /// Pooled features `[batch, width]`, if only the classifier trains.
    Features(Tensor),
}

impl From<BatchInput> for Batch {
    fn from(fed: BatchInput) -> Self {
        Self { fed, teacher: None }
    }
}

/// The report of a step, from before its update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The loss including the penalty, mean over the batch.
    pub loss: f64,
    /// Images whose label had the largest logit.
    pub correct: usize,
}

/// A model in training.
pub struct Trainer<'a> {
    config: Config,
    method: &'a dyn Method,
    /// The trained tensors of the model and of the method, which the trainer owns.
    parameters: BTreeMap<String, Parameter>,
    /// Frozen parameters and buffers.
    fixed: BTreeMap<String, Tensor>,
    additions: Vec<String>,
    optimiser: Optimiser,
    classes: Option<Vec<u32>>,
    smoothing: f64,
    clip: Option<f64>,
    precision: Precision,
    /// Only for f16.
    scale: Option<LossScale>,
}

/// Gradients by name, with the buffer updates of the forward pass.
pub struct Gradients {
    pub by_name: BTreeMap<String, Tensor>,
    buffers: BufferUpdates,
    /// Whether all of them are finite.
    finite: bool,
}

/// The update rule of a trainer and the loss that it minimises.
#[derive(Clone, Debug)]
pub struct Objective {
    pub rule: Rule,
    pub weight_decay: f64,
    /// Label smoothing in [0, 1).
    pub smoothing: f64,
    /// The columns of the logits that compete, ascending; `None`: all. Labels index these columns.
    pub classes: Option<Vec<u32>>,
    /// The maximum norm of all gradients together.
    pub clip: Option<f64>,
    /// The precision of matrix products and convolutions.
    pub precision: Precision,
    /// Seeds the method's own tensors.
    pub seed: u64,
}

impl<'a> Trainer<'a> {
    pub fn new(model: Model, method: &'a dyn Method, objective: &Objective) -> Result<Self> {
        let config = model.config().clone();
        let device = model.device();
        let added = method.additions(&model);
        let mut fixed = model.into_tensors();
        let mut parameters = BTreeMap::new();
        let adamw = matches!(objective.rule, Rule::AdamW { .. });
        for spec in config.tensors() {
            if spec.role == Role::Parameter && method.trains(&spec) {
                let tensor = fixed
                    .remove(&spec.name)
                    .ok_or_else(|| missing(&spec.name))?;
                // timm applies no decay to biases, norms and embeddings with AdamW; SGD has one
                // group.
                let decays = !adamw || spec.is_matrix();
                // A copy: the initial model may be in use elsewhere, and updates write in place.
                let tensor = tensor.copy()?;
                parameters.insert(spec.name, Parameter { tensor, decays });
            }
        }
        for spec in &added {
            let tensor = spec.start(objective.seed, &device)?;
            let decays = !adamw || spec.is_matrix();
            parameters.insert(spec.name.clone(), Parameter { tensor, decays });
        }
        Ok(Self {
            config,
            method,
            parameters,
            fixed,
            additions: added.into_iter().map(|spec| spec.name).collect(),
            optimiser: Optimiser::new(objective.rule, objective.weight_decay),
            classes: objective.classes.clone(),
            smoothing: objective.smoothing,
            clip: objective.clip,
            precision: objective.precision,
            scale: (objective.precision == Precision::F16).then(LossScale::default),
        })
    }

    /// One step at learning rate `rate`. `labels` index the competing classes.
    pub fn step(&mut self, batch: &Batch, labels: &[u32], rate: f64) -> Result<StepReport> {
        let (report, gradients) = self.gradients(batch, labels)?;
        if !report.loss.is_finite() {
            return Ok(report);
        }
        let finite = gradients.finite;
        match &mut self.scale {
            Some(scale) => scale.observe(finite),
            None => return self.apply(gradients, rate).map(|()| report),
        }
        match finite {
            true => self.apply(gradients, rate)?,
            // Running statistics are updated in any case, as in PyTorch.
            false => self.fixed.extend(gradients.buffers),
        }
        Ok(report)
    }

    /// Steps that were skipped because a gradient overflowed f16.
    pub fn skipped(&self) -> u64 {
        self.scale.map_or(0, |scale| scale.skipped())
    }

    /// The loss and its gradients, without an update.
    pub fn gradients(&self, batch: &Batch, labels: &[u32]) -> Result<(StepReport, Gradients)> {
        let tape = Tape::with_precision(self.precision);
        let leaves = Leaves::new(&tape, &self.parameters, &self.fixed);
        let seen = MethodView {
            method: self.method,
            leaves: &leaves,
        };
        let pass = Pass::new(&tape, &seen, self.method.training_mode());
        let features = match &batch.fed {
            BatchInput::Features(features) => Value::constant(features.clone()),
            BatchInput::Images(images) => {
                let images = Value::constant(images.clone());
                let images = self.method.input(&tape, &leaves, images)?;
                self.config.features_of(&pass, &images)?
            }
        };
        let mut logits = self.config.classify(&pass, &features)?;
        if let Some(classes) = &self.classes {
            logits = tape.select_classes(&logits, classes)?;
        }
        let targets = Targets {
            labels,
            smoothing: self.smoothing,
        };
        let mut loss = tape.cross_entropy(&logits, targets)?;
        if let BatchInput::Images(images) = &batch.fed {
            let step = Step {
                tape: &tape,
                parameters: &leaves,
                images,
                teacher: batch.teacher.as_ref(),
                classes: self.classes.as_deref(),
                logits: &logits,
            };
            if let Some(penalty) = self.method.penalty(&step)? {
                loss = tape.add(&loss, &penalty)?;
            }
        }
        let report = StepReport {
            loss: f64::from(loss.tensor().to_scalar::<f32>()?),
            correct: correct(logits.tensor(), labels)?,
        };
        let factor = self.scale.map(|scale| scale.factor());
        if let Some(factor) = factor {
            loss = tape.scale(&loss, factor)?;
        }
        let buffers = pass.into_updates();
        let leaves = leaves.leaves;
        let mut found = tape.backward(&loss)?;
        let mut by_name = BTreeMap::new();
        let mut finite = true;
        for (name, leaf) in leaves {
            let Some(mut gradient) = found.take(&leaf) else {
                continue;
            };
            if let Some(factor) = factor {
                gradient = (gradient * (1.0 / factor))?;
                finite &= is_finite(&gradient)?;
            }
            by_name.insert(name.to_string(), gradient);
        }
        let gradients = Gradients {
            by_name,
            buffers,
            finite,
        };
        Ok((report, gradients))
    }

    /// Updates the parameters with `gradients`, and the buffers with those of the forward pass.
    pub fn apply(&mut self, mut gradients: Gradients, rate: f64) -> Result<()> {
        if let Some(most) = self.clip {
            clip(&mut gradients.by_name, most)?;
        }
        self.fixed.extend(gradients.buffers);
        self.optimiser
            .step(rate, &mut self.parameters, &gradients.by_name)
    }

    /// A trained tensor, of the model or of the method.
    pub fn parameter(&self, name: &str) -> Option<&Tensor> {
        self.parameters.get(name).map(|it| &it.tensor)
    }

    /// Replaces a trained tensor, to start with the values of another implementation.
    pub fn replace(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let parameter = self.parameters.get_mut(name).ok_or_else(|| missing(name))?;
        if parameter.tensor.shape() != tensor.shape() {
            let message = format!("`{name}` has another shape than what replaces it");
            return Err(Error::Invalid(message));
        }
        parameter.tensor = tensor.copy()?;
        Ok(())
    }

    /// The trained model.
    pub fn finish(self) -> Result<Model> {
        let mut tensors = self.fixed;
        let mut own = BTreeMap::new();
        for (name, parameter) in self.parameters {
            match self.additions.contains(&name) {
                true => own.insert(name, parameter.tensor),
                false => tensors.insert(name, parameter.tensor),
            };
        }
        let model = Model::from_tensors(self.config, tensors)?;
        self.method.finish(model, &Fixed(own))
    }
}

fn is_finite(tensor: &Tensor) -> Result<bool> {
    // Infinity times zero is NaN, and so is a sum with a NaN.
    let sum = (tensor * 0.0)?.sum_all()?.to_scalar::<f32>()?;
    Ok(sum == 0.0)
}

/// Images whose label has the largest logit of its row; the first one if several are equal.
fn correct(logits: &Tensor, labels: &[u32]) -> Result<usize> {
    let rows = logits.to_vec2::<f32>()?;
    let best = |row: &[f32]| {
        let mut best = 0;
        for (column, logit) in row.iter().enumerate() {
            if *logit > row[best] {
                best = column;
            }
        }
        best as u32
    };
    let right = rows.iter().zip(labels);
    Ok(right.filter(|(row, label)| best(row) == **label).count())
}

fn missing(name: &str) -> Error {
    Error::Invalid(format!("the tensor `{name}` is missing"))
}

/// The tensors of a step: trained ones as leaves of its tape.
struct Leaves<'a> {
    leaves: BTreeMap<&'a str, Value>,
    fixed: &'a BTreeMap<String, Tensor>,
}

impl<'a> Leaves<'a> {
    fn new(
        tape: &Tape,
        parameters: &'a BTreeMap<String, Parameter>,
        fixed: &'a BTreeMap<String, Tensor>,
    ) -> Self {
        let leaf = |parameter: &Parameter| tape.leaf(parameter.tensor.clone());
        let leaves = parameters
            .iter()
            .map(|(name, parameter)| (name.as_str(), leaf(parameter)))
            .collect();
        Self { leaves, fixed }
    }
}

impl Weights for Leaves<'_> {
    fn weight(&self, _tape: &Tape, name: &str) -> Result<Value> {
        if let Some(leaf) = self.leaves.get(name) {
            return Ok(leaf.clone());
        }
        let tensor = self.fixed.get(name).ok_or_else(|| missing(name))?;
        Ok(Value::constant(tensor.clone()))
    }
}

/// The tensors as the method presents them to the network.
struct MethodView<'a> {
    method: &'a dyn Method,
    leaves: &'a Leaves<'a>,
}

impl Weights for MethodView<'_> {
    fn weight(&self, tape: &Tape, name: &str) -> Result<Value> {
        self.method.weight(tape, self.leaves, name)
    }
}

/// Finished tensors.
struct Fixed(BTreeMap<String, Tensor>);

impl Weights for Fixed {
    fn weight(&self, _tape: &Tape, name: &str) -> Result<Value> {
        let tensor = self.0.get(name).ok_or_else(|| missing(name))?;
        Ok(Value::constant(tensor.clone()))
    }
}
