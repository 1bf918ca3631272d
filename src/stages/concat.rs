//! `concat`: joins datasets. Their parts stay separate in reports.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dataset::summary;
use super::images;
use super::known_classes;
use super::price::{self, CostEstimate, InputForecasts};
use super::task::{Context, Outputs, Stage, TaskError, TaskInput, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::ml::data::classes::{difference, labels_in};
use crate::store::artifact::{Artifact, Dataset, Images, Part};
use crate::workflow::kind::{
    ClassForecast, Comparison, Gathers, InputClasses, InputSpec, Meaning, Withholds,
};

/// Joins the datasets of `needs.parts`, in order. They must have the same classes, whose labels are
/// those of the first dataset.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Concat {}

impl Stage for Concat {
    const NAME: &'static str = "concat";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str =
        "Joins several datasets; the parts stay labelled by their gathered axes.";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::many("parts", PortType::Dataset, Gathers::Any)]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("images", PortType::Dataset),
            OutputSpec::metrics("summary", &["images", "classes"]),
        ]
    }

    fn withholds(&self) -> Withholds {
        Withholds::WhatComesIn
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        let parts = inputs.get("parts").map_or(&[][..], Vec::as_slice);
        let first = parts.first().cloned().flatten();
        ClassForecast {
            problems: known_classes::difference(parts, "parts", false)
                .into_iter()
                .collect(),
            ..known_classes::giving("images", first)
        }
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        price::dataset(price::images(foreseen, "parts"), true)
    }

    fn weight(&self) -> Weight {
        Weight::Tiny
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let dataset = joined(context.members("parts"))?;
        let summary = summary(&dataset);
        Ok(Outputs::one("images", Artifact::Dataset(dataset)).and("summary", summary))
    }
}

fn joined(members: &[TaskInput]) -> Result<Dataset, TaskError> {
    let mut datasets = Vec::new();
    for member in members {
        datasets.push((&member.axes, images::dataset(member)?));
    }
    let Some((_, first)) = datasets.first() else {
        return Err(TaskError::Input(
            "there are no datasets to join".to_string(),
        ));
    };
    let classes = first.classes.clone();
    let clause = datasets.iter().find_map(|(_, it)| it.clause.clone());
    let mut parts = Vec::new();
    for (index, (axes, dataset)) in datasets.into_iter().enumerate() {
        let Some(labels) = labels_in(&classes, &dataset.classes) else {
            let name = named(axes, index);
            let difference = difference(&classes, &dataset.classes).unwrap_or_default();
            return Err(TaskError::Input(format!(
                "the classes of {name} differ from those of the first dataset: {difference}"
            )));
        };
        for part in &dataset.parts {
            parts.push(Part {
                axes: merged(axes, &part.axes)?,
                images: relabelled(&part.images, &labels),
            });
        }
    }
    tell_apart(&mut parts);
    Ok(Dataset {
        classes,
        parts,
        clause,
    })
}

/// The images with the labels that `labels` gives for theirs.
fn relabelled(images: &Images, labels: &[u32]) -> Images {
    // A label that is out of range is refused where images are read.
    let new = |label: &mut u32| *label = labels.get(*label as usize).copied().unwrap_or(*label);
    let mut images = images.clone();
    match &mut images {
        Images::Packed { labels, .. } => labels.iter_mut().for_each(new),
        Images::Encoded { files, .. } => files.iter_mut().for_each(|file| new(&mut file.label)),
    }
    images
}

fn named(axes: &BTreeMap<String, String>, index: usize) -> String {
    if axes.is_empty() {
        return format!("dataset {}", index + 1);
    }
    let ids: Vec<String> = axes
        .iter()
        .map(|(axis, id)| format!("{axis}={id}"))
        .collect();
    format!("[{}]", ids.join(","))
}

/// The axes of a part within its dataset, and the axes by which the dataset was gathered.
fn merged(
    outer: &BTreeMap<String, String>,
    inner: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, TaskError> {
    let mut axes = inner.clone();
    for (axis, id) in outer {
        if let Some(old) = axes.insert(axis.clone(), id.clone())
            && old != *id
        {
            return Err(TaskError::Input(format!(
                "a part is already labelled {axis}={old} and can't be labelled {axis}={id}"
            )));
        }
    }
    Ok(axes)
}

/// Labels parts by position if no axis distinguishes them.
fn tell_apart(parts: &mut [Part]) {
    let labels: Vec<_> = parts.iter().map(|part| part.axes.clone()).collect();
    for (index, part) in parts.iter_mut().enumerate() {
        let same = labels.iter().filter(|axes| **axes == labels[index]).count();
        if same > 1 {
            part.axes
                .insert("part".to_string(), (index + 1).to_string());
        }
    }
}
