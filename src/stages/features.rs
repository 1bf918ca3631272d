//! `features`: computes pooled features of a dataset, from before the model's classifier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::derived::{self, Frozen, InputArtifacts, Work, of_model_and_data};
use super::price::{self, CostEstimate, InputForecasts, Rows};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::{images, model};
use crate::contract::port::{OutputSpec, PortType};
use crate::store::artifact::Artifact;
use crate::store::tensors;
use crate::workflow::kind::{Comparison, InputSpec, Meaning, Withholds};

/// Pooled features of every image before the model's classifier, with the labels.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Features {}

impl Stage for Features {
    const NAME: &'static str = "features";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str =
        "Pooled features of every image before the model's classifier, with the labels";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one("model", PortType::Model),
            InputSpec::one("data", PortType::Dataset),
        ]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![OutputSpec::new("features", PortType::Arrays)]
    }

    fn withholds(&self) -> Withholds {
        Withholds::WhatComesIn
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        let width = price::model(foreseen, "model").map_or(0, |config| config.features());
        let count = price::images(foreseen, "data").unwrap_or_default();
        price::shown(foreseen, 4.0 * width as f64 * count as f64, Rows::Features)
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, given: &InputArtifacts, device_class: &str) -> Vec<Work> {
        of_model_and_data(given, "model", "data", |model, config, data| {
            vec![derived::features(model, config, data, device_class)]
        })
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let context = &*context;
        let (given, data) = (context.input("model")?, context.input("data")?);
        let model = model::read(context, given)?;
        let transform = model.config().input.transform();
        let set = images::load(context, data, Some(&transform))?;
        let frozen = Frozen::of(&model, given, data, &set)?;
        let rows = frozen.features(context)?;
        let (count, width) = (set.len(), model.config().features());
        let mut bytes = Vec::with_capacity(4 * count * width);
        for image in 0..count {
            bytes.extend_from_slice(rows.row(image)?);
        }
        let labels = set.labels.iter().flat_map(|it| it.to_le_bytes());
        let named = [
            ("features".to_string(), "F32", vec![count, width], bytes),
            ("labels".to_string(), "U32", vec![count], labels.collect()),
        ];
        let config = serde_json::json!({ "holds": "features", "classes": set.classes });
        let tree = tensors::save(context.blobs, config, &named)?;
        Ok(Outputs::one("features", Artifact::Tensors(tree)).note("images", count))
    }
}
