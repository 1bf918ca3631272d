//! `average`: a weighted mean of models (WiSE-FT, model soups).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::known_classes;
use super::model;
use super::price::{self, CostEstimate, InputForecasts, PortForecast};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::ml::models::average::average;
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, Gathers, InputClasses, InputSpec, Meaning,
    ParameterProblem, Withholds,
};

/// The weighted mean of models with the same structure, tensor by tensor.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Average {
    /// One weight for each model, in order, with a sum of 1. Default: equal weights.
    pub weights: Option<Vec<f64>>,
}

impl Average {
    fn problem(&self, models: usize) -> Option<ParameterProblem> {
        let weights = self.weights.as_ref()?;
        if weights.len() != models {
            let message = format!("{} weights for {models} models", weights.len());
            return Some(ParameterProblem::value("weights", message));
        }
        let sum: f64 = weights.iter().sum();
        if (sum - 1.0).abs() > 1e-6 {
            let message = format!("the weights sum to {sum}, not to 1");
            return Some(ParameterProblem::value("weights", message));
        }
        None
    }
}

impl Stage for Average {
    const NAME: &'static str = "average";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "The weighted mean of models with the same structure, tensor by tensor";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::many("models", PortType::Model, Gathers::Any)]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![OutputSpec::new("model", PortType::Model)]
    }

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let models = inputs.iter().find(|input| input.name == "models");
        let count = models.map_or(0, |input| input.members.len());
        self.problem(count).into_iter().collect()
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        let members = inputs.get("models").map_or(&[][..], Vec::as_slice);
        let weight = |index: usize| self.weights.as_ref()?.get(index).copied();
        // Models with weight 0 are not read.
        let counted = members
            .iter()
            .enumerate()
            .map(|(index, classes)| match weight(index) {
                Some(0.0) => None,
                _ => classes.clone(),
            });
        let counted: Vec<_> = counted.collect();
        let first = counted.iter().flatten().next().cloned();
        ClassForecast {
            problems: known_classes::difference(&counted, "models", true)
                .into_iter()
                .collect(),
            ..known_classes::giving("model", first)
        }
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        let mut price = match price::model(foreseen, "models") {
            Some(config) => {
                let written = price::bytes(&config);
                let mut price =
                    CostEstimate::nothing().giving("model", PortForecast::Model(config));
                price.cost.written = written;
                price
            }
            None => CostEstimate::unknown(),
        };
        price.cost.operations = price.cost.written / 2.0;
        price
    }

    fn weight(&self) -> Weight {
        Weight::Tiny
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let models = context
            .members("models")
            .iter()
            .map(|input| model::read(context, input))
            .collect::<Result<Vec<_>, _>>()?;
        let equal = || vec![1.0 / models.len() as f64; models.len()];
        let weights = self.weights.clone().unwrap_or_else(equal);
        let mean = average(&models, &weights)?;
        Ok(Outputs::one("model", model::write(context, &mean)?))
    }
}
