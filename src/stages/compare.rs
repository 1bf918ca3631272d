//! `compare`: two models on the same images, image by image.

mod sheet;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::evaluate::image_names;
use super::price::{CostEstimate, InputForecasts};
use super::task::{Context, Outputs, Stage, TaskError, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::ml::data::classes::is_same;
use crate::ml::metrics::mcnemar;
use crate::store::artifact::{Artifact, Better, Metric, Metrics, Table};
use crate::workflow::kind::{
    Comparison, InputSpec, Meaning, OnlyWith, Origins, ParameterProblem, Withholds,
};
use sheet::Difference;

/// Compares the predictions of two evaluations (`predictions: true`) on the same images.
///
/// `agreement` is the share of images with the same prediction; `only_a` and `only_b` are the shares
/// that only one model gets right; `difference` is the accuracy of `b` minus that of `a`; `mcnemar_p`
/// is the p-value of McNemar's exact test of whether they differ.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Compare {
    /// Also give the output `images`: at most this many images on which the models differ, those
    /// first that only one model gets right. Needs the input `data`, the dataset of the evaluations.
    /// The output stays in this store if the licence of the data forbids sharing.
    #[schemars(range(max = 100))]
    pub show: usize,
}

const METRICS: [&str; 7] = [
    "agreement",
    "both_right",
    "both_wrong",
    "difference",
    "mcnemar_p",
    "only_a",
    "only_b",
];

/// The output with a row for each image on which the models differ.
const FLIPS: &str = "flips";
/// The input with the images, and the output that shows some of them.
const DATA: &str = "data";
const SHOWN: &str = "images";

impl Stage for Compare {
    const NAME: &'static str = "compare";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str =
        "Agreement, flips and McNemar's test of two models on the same images";
    const COMPARISON: Comparison = Comparison::MetricsWithin(0.5);
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        let mut inputs = vec![
            InputSpec::one("a", PortType::Table),
            InputSpec::one("b", PortType::Table),
        ];
        if self.show > 0 {
            inputs.extend(Self::conditional_inputs().into_iter().map(|it| it.spec));
        }
        inputs
    }

    fn conditional_inputs() -> Vec<OnlyWith<InputSpec>> {
        vec![OnlyWith {
            spec: InputSpec::one(DATA, PortType::Dataset),
            with: "`show` above 0",
        }]
    }

    fn conditional_outputs() -> Vec<OnlyWith<OutputSpec>> {
        vec![OnlyWith {
            spec: OutputSpec {
                is_plot: true,
                ..OutputSpec::new(SHOWN, PortType::Files)
            },
            with: "`show` above 0",
        }]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        let mut outputs = vec![
            OutputSpec::metrics("metrics", &METRICS),
            OutputSpec::table_blob(FLIPS),
        ];
        if self.show > 0 {
            outputs.extend(Self::conditional_outputs().into_iter().map(|it| it.spec));
        }
        outputs
    }

    fn origin_problems(&self, given: &dyn Fn() -> Origins) -> Vec<ParameterProblem> {
        other_data(&given()).into_iter().collect()
    }

    fn withholds(&self) -> Withholds {
        Withholds::WhatComesIn
    }

    fn price(&self, _foreseen: &InputForecasts) -> CostEstimate {
        CostEstimate::nothing()
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let (a, b) = (predictions(context, "a")?, predictions(context, "b")?);
        if a.len() != b.len() {
            let message = format!("`a` has {} images, but `b` has {}", a.len(), b.len());
            return Err(TaskError::Input(message));
        }
        if a.is_empty() {
            return Err(TaskError::Input("there are no images".to_string()));
        }
        let mut counts = Counts::default();
        let mut flips = Vec::new();
        for (one, other) in a.iter().zip(&b) {
            if !is_same(&one.image, &other.image) || !is_same(&one.label, &other.label) {
                return Err(TaskError::Input(format!(
                    "`a` has {} ({}) where `b` has {} ({}): the datasets differ",
                    one.image, one.label, other.image, other.label
                )));
            }
            counts.add(one, other);
            if !is_same(&one.predicted, &other.predicted) {
                let row = [&one.image, &one.label, &one.predicted, &other.predicted];
                let right = [one.is_right, other.is_right].map(Value::from);
                flips.push(
                    row.map(|text| json!(text))
                        .into_iter()
                        .chain(right)
                        .collect(),
                );
            }
        }
        let columns = ["image", "label", "a", "b", "a_is_right", "b_is_right"];
        let flips = Table {
            columns: columns.map(String::from).to_vec(),
            rows: flips,
        };
        let outputs = Outputs::one("metrics", Artifact::Metrics(counts.metrics()))
            .and(FLIPS, Artifact::Table(flips));
        Ok(match self.show {
            0 => outputs,
            _ => outputs.and(SHOWN, self.sheet(context, &a, &b)?),
        })
    }
}

/// The first input on other data than `a`. Predictions that are not those of an evaluation can't be
/// checked.
fn other_data(origins: &Origins) -> Option<ParameterProblem> {
    let first = |input: &str| origins.get(input)?.first();
    let of = first("a")?.measured(DATA)?;
    let b = first("b").and_then(|it| Some(("b", it.measured(DATA)?)));
    let shown = first(DATA).map(|it| (DATA, &it.output));
    let mut others = [b, shown].into_iter().flatten();
    let (input, other) = others.find(|(_, it)| !it.is_same(of))?;
    let message = match input {
        DATA => format!("`{DATA}` is `{}`, and `a` is on `{}`", other.id, of.id),
        _ => format!("`b` is on `{}`, and `a` on `{}`", other.id, of.id),
    };
    let hint = "compare evaluations on the same dataset";
    Some(ParameterProblem::input(input, message).hint(hint))
}

impl Compare {
    fn sheet(
        &self,
        context: &Context,
        a: &[Prediction],
        b: &[Prediction],
    ) -> Result<Artifact, TaskError> {
        let data = context.input(DATA)?;
        let names = image_names(data);
        if !a.iter().map(|it| &it.image).eq(&names) {
            let message =
                "`data` is not the dataset of the evaluations: its images have other names";
            return Err(TaskError::Input(message.to_string()));
        }
        let mut shown: Vec<(usize, &Prediction, &Prediction)> = a
            .iter()
            .zip(b)
            .enumerate()
            .filter(|(_, (one, other))| one.predicted != other.predicted)
            .map(|(index, (one, other))| (index, one, other))
            .collect();
        // Stable: in the order of the dataset otherwise.
        shown.sort_by_key(|(_, one, other)| one.is_right == other.is_right);
        shown.truncate(self.show);
        let shown: Vec<Difference> = shown
            .into_iter()
            .map(|(index, one, other)| Difference {
                index,
                label: &one.label,
                a: (&one.predicted, one.is_right),
                b: (&other.predicted, other.is_right),
            })
            .collect();
        let blob = context.blobs.write(&sheet::svg(context, data, &shown)?)?;
        let files = [(format!("{SHOWN}.svg"), blob)].into_iter().collect();
        Ok(Artifact::Files(files))
    }
}

struct Prediction {
    image: String,
    label: String,
    predicted: String,
    is_right: bool,
}

/// The rows of a table that `evaluate` gives.
fn predictions(context: &Context, input: &str) -> Result<Vec<Prediction>, TaskError> {
    let wrong = || {
        TaskError::Input(format!(
            "`{input}` is not a table of predictions: `evaluate` with `predictions: true` gives one"
        ))
    };
    let Artifact::Table(table) = &context.input(input)?.artifact else {
        return Err(wrong());
    };
    let place = |name: &str| {
        let place = table.columns.iter().position(|column| column == name);
        place.ok_or_else(wrong)
    };
    let [image, label, is_right, predicted] = ["image", "label", "is_right", "class_1"].map(place);
    let (image, label, is_right, predicted) = (image?, label?, is_right?, predicted?);
    let text = |value: Option<&Value>| match value {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let row = |row: &Vec<Value>| {
        Some(Prediction {
            image: text(row.get(image))?,
            label: text(row.get(label))?,
            predicted: text(row.get(predicted))?,
            is_right: row.get(is_right)?.as_bool()?,
        })
    };
    let rows: Option<Vec<Prediction>> = table.rows.iter().map(row).collect();
    rows.ok_or_else(wrong)
}

#[derive(Default)]
struct Counts {
    images: u64,
    same: u64,
    both_right: u64,
    only_a: u64,
    only_b: u64,
}

impl Counts {
    fn add(&mut self, a: &Prediction, b: &Prediction) {
        self.images += 1;
        self.same += u64::from(is_same(&a.predicted, &b.predicted));
        self.both_right += u64::from(a.is_right && b.is_right);
        self.only_a += u64::from(a.is_right && !b.is_right);
        self.only_b += u64::from(!a.is_right && b.is_right);
    }

    fn metrics(&self) -> Metrics {
        let percent = |count: u64| 100.0 * count as f64 / self.images as f64;
        let of = |value: f64, unit: &str| Metric {
            n: Some(self.images),
            ..Metric::new(value, unit)
        };
        let wrong = self.images - self.both_right - self.only_a - self.only_b;
        let difference = Metric {
            better: Some(Better::Higher),
            ..of(percent(self.only_b) - percent(self.only_a), "points")
        };
        let values = [
            ("agreement", of(percent(self.same), "percent")),
            ("both_right", of(percent(self.both_right), "percent")),
            ("both_wrong", of(percent(wrong), "percent")),
            ("difference", difference),
            (
                "mcnemar_p",
                of(mcnemar::exact(self.only_a, self.only_b), ""),
            ),
            ("only_a", of(percent(self.only_a), "percent")),
            ("only_b", of(percent(self.only_b), "percent")),
        ];
        let values = values.map(|(name, metric)| (name.to_string(), metric));
        Metrics {
            values: BTreeMap::from(values),
        }
    }
}
