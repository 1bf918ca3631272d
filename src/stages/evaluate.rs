//! `evaluate`: measures how well a model classifies a dataset.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::derived::{Frozen, InputArtifacts, Work, of_model_and_data};
use super::known_classes;
use super::price::{self, CostEstimate, InputForecasts, Rows};
use super::task::{Context, Outputs, Stage, TaskError, TaskInput, Weight};
use super::{images, model};
use crate::contract::port::{OutputSpec, PortType};
use crate::ml::data::classes::is_same;
use crate::ml::train::classes::class_columns;
use crate::ml::train::evaluate::{
    EvaluateOptions, Evaluation, Prediction, Score, evaluate_known, evaluate_with,
};
use crate::store::artifact::{Artifact, Better, Images, Metric, Metrics, Table};
use crate::store::export::member_name;
use crate::store::tensors;
use crate::workflow::kind::{
    ClassForecast, Comparison, InputClasses, InputSpec, Meaning, OnlyWith, Withholds,
};

/// The classes that compete for an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassMask {
    /// The dataset's classes.
    #[default]
    Dataset,
    /// All of the model's classes.
    Model,
}

/// Top-1 and top-5 accuracy, loss, accuracy of each class, and the confusion matrix.
///
/// The dataset's classes are found among the model's by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Evaluate {
    /// The classes that compete: the dataset's own, or all of the model's.
    pub mask: ClassMask,
    /// Also give the output `predictions`: a table with a row for each image. It stays in this
    /// store if the licence of the data forbids sharing.
    pub predictions: bool,
}

/// The output with a row for each image.
const PREDICTIONS: &str = "predictions";
/// The number of classes in a row of it.
const BEST: usize = 5;

/// For the whole dataset, and for each part if there are several.
const METRICS: [&str; 6] = ["top1", "top5", "loss", "top1/*", "top5/*", "loss/*"];

impl Stage for Evaluate {
    const NAME: &'static str = "evaluate";
    const VERSION: u32 = 3;
    const SUMMARY: &'static str =
        "Top-1 and top-5 accuracy, loss, accuracy of each class and the confusion matrix";
    const COMPARISON: Comparison = Comparison::MetricsWithin(0.5);
    const MEANING: Meaning = Meaning::Evaluation;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![
            InputSpec::one("model", PortType::Model),
            InputSpec::one("data", PortType::Dataset),
        ]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        let counts = OutputSpec {
            reveals_inputs: false,
            ..OutputSpec::new("confusion", PortType::Arrays)
        };
        let mut outputs = vec![
            OutputSpec::metrics("metrics", &METRICS),
            OutputSpec::new("classes", PortType::Table),
            counts,
        ];
        if self.predictions {
            outputs.extend(Self::conditional_outputs().into_iter().map(|it| it.spec));
        }
        outputs
    }

    fn conditional_outputs() -> Vec<OnlyWith<OutputSpec>> {
        vec![OnlyWith {
            spec: OutputSpec::table_blob(PREDICTIONS),
            with: "`predictions: true`",
        }]
    }

    fn withholds(&self) -> Withholds {
        match self.predictions {
            true => Withholds::WhatComesIn,
            false => Withholds::Nothing,
        }
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        ClassForecast {
            problems: Vec::from_iter(known_classes::unmatched(inputs, "model", "data")),
            ..ClassForecast::default()
        }
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        // Most of the output is the confusion matrix.
        let outputs = price::model(foreseen, "model").map_or(0, |config| config.outputs());
        price::shown(foreseen, 8.0 * (outputs * outputs) as f64, Rows::None)
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, given: &InputArtifacts, _device_class: &str) -> Vec<Work> {
        of_model_and_data(given, "model", "data", |_, _, _| Vec::new())
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let context = &*context;
        let (given, data) = (context.input("model")?, context.input("data")?);
        let model = model::read(context, given)?;
        let transform = model.config().input.transform();
        let set = images::load(context, data, Some(&transform))?;
        let frozen = Frozen::of(&model, given, data, &set)?;
        let options = EvaluateOptions {
            masked: self.mask == ClassMask::Dataset,
            predictions: self.predictions,
        };
        let evaluation = match frozen.logits_if_there(context)? {
            Some(logits) => evaluate_known(&model, &set, options, &logits)?,
            None => evaluate_with(&model, &set, options, context.threads, context)?,
        };
        let competing = match self.mask {
            ClassMask::Dataset => set.classes.len(),
            ClassMask::Model => model.config().classes.len(),
        };
        let confusion = confusion(context, &evaluation)?;
        let outputs = Outputs::one(
            "metrics",
            Artifact::Metrics(metrics(&evaluation, competing)),
        )
        .and("classes", Artifact::Table(classes(&evaluation)))
        .and("confusion", confusion);
        Ok(match self.predictions {
            true => {
                let names = image_names(data);
                let classes = column_names(&model.config().classes, &set.classes)?;
                let table = predictions(&evaluation, &names, &set.labels, &classes);
                outputs.and(PREDICTIONS, Artifact::Table(table))
            }
            false => outputs,
        })
    }
}

/// The name of each image of a dataset: its path, or its number where images are packed; with the
/// part in front if there are several.
pub(super) fn image_names(data: &TaskInput) -> Vec<String> {
    let Artifact::Dataset(dataset) = &data.artifact else {
        return Vec::new();
    };
    let several = dataset.parts.len() > 1;
    let names = dataset.parts.iter().flat_map(|part| {
        let names: Vec<String> = match &part.images {
            Images::Encoded { files, .. } => files.iter().map(|file| file.path.clone()).collect(),
            Images::Packed { labels, .. } => (0..labels.len()).map(|it| it.to_string()).collect(),
        };
        let part = member_name(&part.axes).filter(|_| several);
        names.into_iter().map(move |name| match &part {
            Some(part) => format!("{part}/{name}"),
            None => name,
        })
    });
    names.collect()
}

/// The names of the model's classes; those of the dataset as the dataset writes them.
fn column_names(model: &[String], dataset: &[String]) -> Result<Vec<String>, TaskError> {
    let mut names = model.to_vec();
    let columns = class_columns(model, dataset).map_err(crate::ml::Error::from)?;
    for (name, columns) in dataset.iter().zip(columns) {
        if let [only] = columns[..]
            && is_same(name, &model[only as usize])
        {
            names[only as usize].clone_from(name);
        }
    }
    Ok(names)
}

/// A row for each image: its name, its class, whether the prediction is right, and the five likeliest
/// classes with their probabilities.
fn predictions(
    evaluation: &Evaluation,
    names: &[String],
    labels: &[u32],
    classes: &[String],
) -> Table {
    let rows = names.iter().zip(labels).zip(&evaluation.predictions);
    let row = |((name, label), prediction): ((&String, &u32), &Prediction)| {
        let label = &evaluation.classes[*label as usize];
        let mut row = vec![json!(name), json!(label), json!(prediction.is_right)];
        for place in 0..BEST {
            let best = prediction.best.get(place);
            row.push(best.map_or(Value::Null, |(column, _)| json!(classes[*column as usize])));
            row.push(best.map_or(Value::Null, |(_, probability)| json!(probability)));
        }
        row
    };
    let named = |place: usize| [format!("class_{place}"), format!("probability_{place}")];
    let first = ["image", "label", "is_right"].map(String::from);
    Table {
        columns: first
            .into_iter()
            .chain((1..=BEST).flat_map(named))
            .collect(),
        rows: rows.map(row).collect(),
    }
}

/// The metrics of the whole dataset, and of each part if there are several. The value for the whole
/// is then the mean over the parts.
pub(super) fn metrics(evaluation: &Evaluation, competing: usize) -> Metrics {
    let parts = &evaluation.parts;
    let mean = |of: fn(&Score) -> f64| parts.iter().map(of).sum::<f64>() / parts.len() as f64;
    let images = parts.iter().map(|part| part.images).sum();
    let whole = Rates {
        top1: mean(|part| share(part.top1, part.images)),
        top5: mean(|part| share(part.top5, part.images)),
        loss: mean(|part| part.loss / part.images as f64),
        images,
    };
    let mut values = BTreeMap::new();
    whole.add("", competing, &mut values);
    if parts.len() > 1 {
        for part in parts {
            let rates = Rates {
                top1: share(part.top1, part.images),
                top5: share(part.top5, part.images),
                loss: part.loss / part.images as f64,
                images: part.images,
            };
            rates.add(&format!("/{}", part.name), competing, &mut values);
        }
    }
    Metrics { values }
}

struct Rates {
    top1: f64,
    top5: f64,
    loss: f64,
    images: u64,
}

impl Rates {
    fn add(&self, suffix: &str, competing: usize, values: &mut BTreeMap<String, Metric>) {
        let chance = |tries: usize| 100.0 * tries.min(competing) as f64 / competing as f64;
        let metric = |value: f64, unit: &str, better: Better, chance: f64| Metric {
            n: Some(self.images),
            better: Some(better),
            chance: Some(chance),
            ..Metric::new(value, unit)
        };
        let top1 = metric(self.top1, "percent", Better::Higher, chance(1));
        values.insert(format!("top1{suffix}"), top1);
        if competing > 5 {
            let top5 = metric(self.top5, "percent", Better::Higher, chance(5));
            values.insert(format!("top5{suffix}"), top5);
        }
        let guess = libm::log(competing as f64);
        let loss = metric(self.loss, "nats", Better::Lower, guess);
        values.insert(format!("loss{suffix}"), loss);
    }
}

fn share(of: u64, total: u64) -> f64 {
    100.0 * of as f64 / total as f64
}

/// One row for each class: the number of images, and the accuracy.
fn classes(evaluation: &Evaluation) -> Table {
    let count = evaluation.classes.len();
    let row = |class: usize| {
        let images = evaluation.images[class];
        let right = evaluation.confusion[class * count + class];
        let accuracy = match images {
            0 => Value::Null,
            _ => json!(share(right, images)),
        };
        vec![json!(evaluation.classes[class]), json!(images), accuracy]
    };
    Table {
        columns: ["class", "images", "accuracy"].map(String::from).to_vec(),
        rows: (0..count).map(row).collect(),
    }
}

fn confusion(context: &Context, evaluation: &Evaluation) -> Result<Artifact, TaskError> {
    let count = evaluation.classes.len();
    let bytes = evaluation.confusion.iter();
    let bytes = bytes.flat_map(|images| images.to_le_bytes()).collect();
    let named = [("confusion".to_string(), "U64", vec![count, count], bytes)];
    let config = json!({
        "holds": "confusion",
        "rows": "true class",
        "columns": "predicted class",
        "classes": evaluation.classes,
    });
    let tree = tensors::save(context.blobs, config, &named)?;
    Ok(Artifact::Tensors(tree))
}
