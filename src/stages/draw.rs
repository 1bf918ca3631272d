//! `draw`: turns the photographs of a dataset into pencil drawings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::corrupt::redone;
use super::dataset::summary;
use super::images;
use super::known_classes;
use super::price::{self, CostEstimate, InputForecasts};
use super::task::{Context, Location, Outputs, Stage, TaskError, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::{Source, SourceShape};
use crate::ml::data::decode::decode;
use crate::ml::data::drawing::{self, Pattern};
use crate::ml::data::encode::jpeg;
use crate::ml::data::picture::Picture;
use crate::store::artifact::Artifact;
use crate::workflow::kind::{
    ClassForecast, Comparison, InputClasses, InputSpec, Meaning, Withholds,
};

/// The JPEG quality of the output.
const QUALITY: u8 = 95;

/// Makes a pencil drawing of every image, as ImageNet-Drawing does (Lu, Xu and Jia 2012): strokes
/// and tone in the luma, colours kept, at the images' own size, saved as JPEG of quality 95.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Draw {
    /// An image of a pencil texture. Default: a procedural one, which is not ImageNet-Drawing's.
    pub pattern: Option<Location>,
}

impl Stage for Draw {
    const NAME: &'static str = "draw";
    const VERSION: u32 = 2;
    const SUMMARY: &'static str = "Turns the images of a dataset into pencil drawings";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::one("images", PortType::Dataset)]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![
            OutputSpec::new("images", PortType::Dataset),
            OutputSpec::metrics("summary", &["images", "classes"]),
        ]
    }

    fn sources(&self) -> Vec<Source> {
        let source = |file: &Location| Source {
            name: "pattern".to_string(),
            location: file.0.clone().into(),
            shape: SourceShape::File,
            sealed: false,
        };
        self.pattern.iter().map(source).collect()
    }

    fn withholds(&self) -> Withholds {
        Withholds::WhatComesIn
    }

    fn classes(&self, inputs: &InputClasses) -> ClassForecast {
        known_classes::giving("images", known_classes::of(inputs, "images"))
    }

    fn price(&self, foreseen: &InputForecasts) -> CostEstimate {
        price::remade(foreseen, "images")
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let pattern = pattern(context)?;
        let make = |picture: &Picture, _: &str| jpeg(&drawing::draw(picture, &pattern), QUALITY);
        let dataset = redone(context, &make)?;
        let summary = summary(&dataset);
        Ok(Outputs::one("images", Artifact::Dataset(dataset)).and("summary", summary))
    }
}

/// The given pattern, or the procedural one.
fn pattern(context: &Context) -> Result<Pattern, TaskError> {
    let Some(input) = context.members("pattern").first() else {
        let note = "pattern: a procedural one of ribflow, not ImageNet-Drawing's";
        context.progress.log(note);
        return Ok(drawing::procedural_pattern());
    };
    let Artifact::Files(files) = &input.artifact else {
        return Err(TaskError::Input("`pattern` is not a file".to_string()));
    };
    let Some((name, file)) = files.files.first_key_value() else {
        return Err(TaskError::Input("`pattern` is not a file".to_string()));
    };
    let bytes = images::file_bytes(context, input, name, &file.blob())?;
    let wrong = |error: String| TaskError::Input(format!("pattern `{name}` {error}"));
    let picture = decode(&bytes).map_err(|error| wrong(error.to_string()))?;
    Pattern::of(&picture).map_err(|error| wrong(format!("can't be used: {error}")))
}
