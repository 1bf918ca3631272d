//! `arrays`: reads points from a file, for distances between data from other programs.

use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::images;
use super::price::{CostEstimate, InputForecasts};
use super::task::{Context, Location, Outputs, Stage, TaskError, Weight};
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::{Source, SourceShape};
use crate::store::artifact::{self, Artifact, Tensors};
use crate::store::tensors;
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, Meaning, ParameterProblem, Withholds,
};

/// Points, labels and weights from a safetensors file: `features` `[n, d]`, with optional `labels`
/// `[n]` and `weights` `[n]`. Labels have any integer type; the other arrays are F64, F32, F16 or
/// BF16.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arrays {
    /// The file. Its content enters the key. Or name a stage with the file under
    /// `needs: { file: … }`.
    pub path: Option<Location>,
    /// The name of the array with the points.
    pub features: Option<String>,
    /// The names of the classes, in the order of the labels.
    pub classes: Vec<String>,
}

/// The name of the source.
const PATH: &str = "path";
/// The name of the input that may be the file.
const FILE: &str = "file";

impl Stage for Arrays {
    const NAME: &'static str = "arrays";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Points, labels and weights from a safetensors file";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        vec![InputSpec::one(FILE, PortType::Files).optional()]
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![OutputSpec::new("arrays", PortType::Arrays)]
    }

    fn sources(&self) -> Vec<Source> {
        let source = |path: &Location| Source {
            name: PATH.to_string(),
            location: PathBuf::from(&path.0),
            shape: SourceShape::File,
            sealed: false,
        };
        self.path.iter().map(source).collect()
    }

    fn withholds(&self) -> Withholds {
        Withholds::WhatComesIn
    }

    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let mut bound = inputs.iter().filter(|input| !input.members.is_empty());
        let has_file = bound.any(|input| input.name == FILE);
        let path = self.path.as_ref().filter(|path| !path.0.is_empty());
        let problem = match (path, has_file) {
            (Some(_), false) | (None, true) => return Vec::new(),
            (None, false) => ParameterProblem::value("path", "missing the path of a file")
                .hint("`path: features.safetensors`, relative to this file"),
            (Some(_), true) => {
                ParameterProblem::value("path", "the file is also given under `needs`")
                    .hint("keep one of them")
            }
        };
        vec![problem]
    }

    fn price(&self, _foreseen: &InputForecasts) -> CostEstimate {
        CostEstimate::unknown()
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let name = if self.path.is_some() { PATH } else { FILE };
        let input = context.input(name)?;
        let wrong = |what: String| TaskError::Input(format!("`{name}`: {what}"));
        let file = match &input.artifact {
            Artifact::Files(files) => files.files.first_key_value(),
            _ => None,
        };
        let Some((name, found)) = file else {
            return Err(wrong("is not a file".to_string()));
        };
        let bytes = images::file_bytes(context, input, name, &found.blob())?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| wrong(format!("{name} is not a safetensors file: {error}")))?;
        let points = Points {
            features: self.features.as_deref().unwrap_or("features"),
            classes: &self.classes,
        };
        let array = |name: &str| {
            let array = file.tensor(name).ok()?;
            let shape = array.shape().to_vec();
            Some((array.dtype().to_string(), shape, array.data().to_vec()))
        };
        let tree = points.save(&file.names(), |name| Ok(array(name)), wrong, context)?;
        Ok(Outputs::one("arrays", Artifact::Tensors(tree)))
    }
}

/// A dtype of safetensors, a shape and bytes.
pub type Array = (String, Vec<usize>, Vec<u8>);

type Named = (String, String, Vec<usize>, Vec<u8>);

/// A set of points in named arrays.
pub struct Points<'a> {
    /// The name of the array with the points.
    pub features: &'a str,
    /// The names of the classes; may be empty.
    pub classes: &'a [String],
}

impl Points<'_> {
    /// Stores the points with their labels and weights, and ignores other arrays. `names` are those
    /// of all arrays, `array` reads one, `wrong` makes an error of what does not fit.
    pub fn save(
        &self,
        names: &[&str],
        array: impl Fn(&str) -> Result<Option<Array>, TaskError>,
        wrong: impl Fn(String) -> TaskError,
        context: &Context,
    ) -> Result<Tensors, TaskError> {
        let mut named = Vec::new();
        for (from, to) in [
            (self.features, "features"),
            ("labels", "labels"),
            ("weights", "weights"),
        ] {
            let Some((dtype, shape, bytes)) = array(from)? else {
                continue;
            };
            let dtype =
                artifact::dtype(&dtype).ok_or_else(|| wrong(format!("`{from}`: {dtype}")))?;
            let read = match to {
                "labels" => labels(dtype, &bytes),
                _ => fractions(dtype, &bytes),
            };
            let (dtype, bytes) = read.map_err(|what| wrong(format!("`{from}`: {what}")))?;
            named.push((to.to_string(), dtype.to_string(), shape, bytes));
        }
        self.fit(names, &named).map_err(&wrong)?;
        let named: Vec<tensors::NamedTensor> = named
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                (name.clone(), dtype.as_str(), shape.clone(), bytes.clone())
            })
            .collect();
        let config = serde_json::json!({ "holds": "features", "classes": self.classes });
        Ok(tensors::save(context.blobs, config, &named)?)
    }

    fn fit(&self, names: &[&str], named: &[Named]) -> Result<(), String> {
        let points = self.features;
        let Some((_, _, shape, _)) = named.iter().find(|array| array.0 == "features") else {
            let mut names = names.to_vec();
            names.sort_unstable();
            let names = names.join("`, `");
            return Err(format!(
                "there is no array `{points}`; the file has `{names}`"
            ));
        };
        let [count, _] = shape[..] else {
            return Err(format!("`{points}` has shape {shape:?}, not [n, d]"));
        };
        for (name, _, shape, bytes) in named.iter().filter(|array| array.0 != "features") {
            if shape[..] != [count] {
                return Err(format!(
                    "`{name}` has shape {shape:?}, but there are {count} points"
                ));
            }
            let (labels, _) = bytes.as_chunks::<4>();
            let largest = labels.iter().map(|bytes| u32::from_le_bytes(*bytes)).max();
            let beyond = largest.filter(|label| {
                name == "labels"
                    && !self.classes.is_empty()
                    && *label as usize >= self.classes.len()
            });
            if let Some(label) = beyond {
                return Err(format!(
                    "found label {label}, but `classes` names {}",
                    self.classes.len()
                ));
            }
        }
        Ok(())
    }
}

type Elements = (&'static str, Vec<u8>);

/// Floats in 32 or 64 bits. Narrower ones are widened, which is exact.
fn fractions(dtype: Dtype, bytes: &[u8]) -> Result<Elements, String> {
    let narrow = match dtype {
        Dtype::F32 => return Ok(("F32", bytes.to_vec())),
        Dtype::F64 => return Ok(("F64", bytes.to_vec())),
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        other => return Err(format!("it has type {other}, not F64, F32, F16 or BF16")),
    };
    let count = bytes.len() / narrow.size_in_bytes();
    let wide = Tensor::from_raw_buffer(bytes, narrow, &[count], &Device::Cpu)
        .and_then(|it| it.to_dtype(DType::F32)?.to_vec1::<f32>());
    let wide = wide.map_err(|error| error.to_string())?;
    Ok(("F32", wide.iter().flat_map(|it| it.to_le_bytes()).collect()))
}

/// Labels of any integer type, as 32-bit integers.
fn labels(dtype: Dtype, bytes: &[u8]) -> Result<Elements, String> {
    let width = match dtype {
        Dtype::I8 | Dtype::U8 => 1,
        Dtype::I16 | Dtype::U16 => 2,
        Dtype::I32 | Dtype::U32 => 4,
        Dtype::I64 | Dtype::U64 => 8,
        other => return Err(format!("it has type {other}, but labels must be integers")),
    };
    let signed = matches!(dtype, Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64);
    let mut narrow = Vec::with_capacity(bytes.len() / width * size_of::<u32>());
    for label in bytes.chunks_exact(width) {
        let negative = signed && label[width - 1] & 0x80 != 0;
        let mut wide = [if negative { 0xff } else { 0 }; size_of::<i128>()];
        wide[..width].copy_from_slice(label);
        let label = i128::from_le_bytes(wide);
        let label = u32::try_from(label).map_err(|_| format!("{label} is not a valid label"))?;
        narrow.extend(label.to_le_bytes());
    }
    Ok(("U32", narrow))
}
