//! `features`: pooled features of a dataset before a model's classifier.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::task::{Context, Outputs, Stage, TaskError, Weight};
use super::{images, model};
use crate::ml::train;
use crate::store::artifact::Artifact;
use crate::store::tensors;
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, OutputSpec, ParameterProblem, PortType, Source,
};

/// Pooled features of every image before the model's classifier, with the labels.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Features {}

impl Stage for Features {
    const NAME: &'static str = "features";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Pooled features of every image before the model's classifier, with the labels";
    const COMPARISON: Comparison = Comparison::BitEqual;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one("model", PortType::Model),
            InputSpec::one("data", PortType::Dataset),
        ]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![OutputSpec::new("features", PortType::Arrays)]
    }

    fn open_inputs(&self) -> bool {
        false
    }

    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        Vec::new()
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let model = model::read(context, context.input("model")?)?;
        let transform = model.config().input.transform();
        let set = images::load(context, context.input("data")?, Some(&transform))?;
        let features = train::features(&model, &set, context.threads, &*context)?;
        let count = features.labels.len();
        let bytes = |values: &[f32]| values.iter().flat_map(|it| it.to_le_bytes()).collect();
        let labels = features.labels.iter().flat_map(|it| it.to_le_bytes());
        let named = [
            (
                "features".to_string(),
                "F32",
                vec![count, features.width],
                bytes(&features.values),
            ),
            ("labels".to_string(), "U32", vec![count], labels.collect()),
        ];
        let config = serde_json::json!({ "holds": "features", "classes": set.classes });
        let tree = tensors::save(context.blobs, config, &named)?;
        Ok(Outputs::one("features", Artifact::Tensors(tree)).note("images", count))
    }
}
