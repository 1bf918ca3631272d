//! Our update rules as a candle-nn optimiser.

use std::collections::BTreeMap;

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use candle_nn::{Optimizer, VarMap};

use crate::models::Config;
use crate::train::optimiser::{Optimiser, Parameter, Rule};

/// The settings of [`Updates`].
#[derive(Clone, Debug)]
pub struct Settings {
    pub rule: Rule,
    /// The learning rate.
    pub rate: f64,
    pub weight_decay: f64,
}

impl Default for Settings {
    /// SGD with momentum 0.9, as in the benchmark.
    fn default() -> Self {
        Self {
            rule: Rule::Sgd { momentum: 0.9 },
            rate: 0.001,
            weight_decay: 0.0,
        }
    }
}

/// SGD with momentum, or AdamW, with PyTorch's formulas; bit-equal to our own training loop for
/// equal gradients. A variable without a gradient is unchanged.
pub struct Updates {
    optimiser: Optimiser,
    rate: f64,
    variables: BTreeMap<String, (Var, bool)>,
}

impl Updates {
    /// For the variables of a model. As in timm, AdamW does not decay biases, norms and embeddings;
    /// SGD decays all.
    pub fn of_model(config: &Config, variables: &VarMap, settings: Settings) -> Self {
        let adamw = matches!(settings.rule, Rule::AdamW { .. });
        let data = variables.data().lock().unwrap_or_else(|it| it.into_inner());
        let specs = config.tensors().into_iter();
        let variables = specs.filter_map(|spec| {
            let variable = data.get(&spec.name)?.clone();
            let decays = !adamw || spec.is_matrix();
            Some((spec.name, (variable, decays)))
        });
        Self::over(variables.collect(), &settings)
    }

    fn over(variables: BTreeMap<String, (Var, bool)>, settings: &Settings) -> Self {
        Self {
            optimiser: Optimiser::new(settings.rule, settings.weight_decay),
            rate: settings.rate,
            variables,
        }
    }
}

impl Optimizer for Updates {
    type Config = Settings;

    /// All variables decay.
    fn new(variables: Vec<Var>, settings: Settings) -> candle_core::Result<Self> {
        let floats = variables.into_iter().filter(|it| it.dtype().is_float());
        let named = floats.enumerate();
        let named = named.map(|(index, variable)| (format!("{index:08}"), (variable, true)));
        Ok(Self::over(named.collect(), &settings))
    }

    fn step(&mut self, gradients: &GradStore) -> candle_core::Result<()> {
        let (mut parameters, mut found) = (BTreeMap::new(), BTreeMap::new());
        for (name, (variable, decays)) in &self.variables {
            if let Some(gradient) = gradients.get(variable) {
                let parameter = Parameter {
                    tensor: variable.as_detached_tensor(),
                    decays: *decays,
                };
                parameters.insert(name.clone(), parameter);
                found.insert(name.clone(), gradient.contiguous()?);
            }
        }
        let before: Vec<_> = parameters.values().map(|it| it.tensor.id()).collect();
        self.optimiser
            .step(self.rate, &mut parameters, &found)
            .map_err(candle_core::Error::wrap)?;
        for ((name, parameter), before) in parameters.iter().zip(before) {
            // If an update is not in place, its result is another tensor.
            if parameter.tensor.id() != before {
                self.write(name, &parameter.tensor)?;
            }
        }
        Ok(())
    }

    fn learning_rate(&self) -> f64 {
        self.rate
    }

    fn set_learning_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl Updates {
    fn write(&self, name: &str, value: &Tensor) -> candle_core::Result<()> {
        match self.variables.get(name) {
            Some((variable, _)) => variable.set(value),
            None => Ok(()),
        }
    }
}
