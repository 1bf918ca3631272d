//! `arrays`: points from a file, to measure distances of what was made elsewhere.

use std::path::PathBuf;

use safetensors::SafeTensors;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::derived::{Given, Work};
use super::images;
use super::price::{Foreseen, Price};
use super::task::{Context, Location, Outputs, Stage, TaskError, Weight};
use crate::store::artifact::Artifact;
use crate::store::tensors;
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, Meaning, OutputSpec, ParameterProblem, PortType, Source,
    SourceShape, Withholds,
};

/// Points, labels and weights from a safetensors file: `features` `[n, d]` in F32 or F64, with
/// `labels` `[n]` in U32 or I64 and `weights` `[n]` in F32 or F64 where there are any.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Arrays {
    /// The file. Its content enters the key.
    pub path: Location,
    /// The array that holds the points.
    pub features: Option<String>,
    /// The names of the classes, in the order of the labels.
    pub classes: Vec<String>,
}

impl Stage for Arrays {
    const NAME: &'static str = "arrays";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Points, labels and weights from a safetensors file";
    const COMPARISON: Comparison = Comparison::BitEqual;
    const MEANING: Meaning = Meaning::Plain;

    fn inputs(&self) -> Vec<InputSpec> {
        Vec::new()
    }

    fn outputs(&self) -> Vec<OutputSpec> {
        vec![OutputSpec::new("arrays", PortType::Arrays)]
    }

    fn open_inputs(&self) -> bool {
        false
    }

    fn sources(&self) -> Vec<Source> {
        vec![Source {
            name: "path".to_string(),
            location: PathBuf::from(&self.path.0),
            shape: SourceShape::File,
            sealed: false,
        }]
    }

    fn withholds(&self) -> Withholds {
        Withholds::Nothing
    }

    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        let missing = || {
            let problem = ParameterProblem::value("path", "no file is named");
            problem.hint("`path: features.safetensors`, relative to this file")
        };
        self.path.0.is_empty().then(missing).into_iter().collect()
    }

    fn price(&self, _foreseen: &Foreseen) -> Price {
        Price::unknown()
    }

    fn weight(&self) -> Weight {
        Weight::Heavy
    }

    fn derived(&self, _given: &Given, _device_class: &str) -> Vec<Work> {
        Vec::new()
    }

    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError> {
        let input = context.input("path")?;
        let wrong = |what: String| TaskError::Input(format!("`path`: {what}"));
        let file = match &input.artifact {
            Artifact::Files(files) => files.files.first_key_value(),
            _ => None,
        };
        let Some((name, found)) = file else {
            return Err(wrong("is no file".to_string()));
        };
        let bytes = images::file_bytes(context, input, name, &found.blob())?;
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|error| wrong(format!("{name} is no safetensors file: {error}")))?;
        let points = self.features.as_deref().unwrap_or("features");
        let mut named = Vec::new();
        for (from, to) in [
            (points, "features"),
            ("labels", "labels"),
            ("weights", "weights"),
        ] {
            let Ok(array) = file.tensor(from) else {
                continue;
            };
            let dtype = format!("{:?}", array.dtype());
            let (dtype, bytes) = match (to, dtype.as_str()) {
                ("features" | "weights", "F32" | "F64") | ("labels", "U32") => {
                    (dtype, array.data().to_vec())
                }
                ("labels", "I64") => ("U32".to_string(), narrowed(array.data()).map_err(wrong)?),
                (_, other) => {
                    return Err(wrong(format!("`{from}` is of type {other}")));
                }
            };
            named.push((to.to_string(), dtype, array.shape().to_vec(), bytes));
        }
        self.fit(&file.names(), points, &named).map_err(wrong)?;
        let named: Vec<tensors::NamedTensor> = named
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                (name.clone(), dtype.as_str(), shape.clone(), bytes.clone())
            })
            .collect();
        let config = serde_json::json!({ "holds": "features", "classes": self.classes });
        let tree = tensors::save(context.blobs, config, &named)?;
        Ok(Outputs::one("arrays", Artifact::Tensors(tree)))
    }
}

type Named = (String, String, Vec<usize>, Vec<u8>);

impl Arrays {
    fn fit(&self, names: &[&str], points: &str, named: &[Named]) -> Result<(), String> {
        let Some((_, _, shape, _)) = named.iter().find(|array| array.0 == "features") else {
            let mut names = names.to_vec();
            names.sort_unstable();
            let names = names.join("`, `");
            return Err(format!("there is no array `{points}`, only `{names}`"));
        };
        let [count, _] = shape[..] else {
            return Err(format!("`{points}` is of shape {shape:?}, not [n, d]"));
        };
        for (name, _, shape, bytes) in named.iter().filter(|array| array.0 != "features") {
            if shape[..] != [count] {
                return Err(format!(
                    "`{name}` is of shape {shape:?}, and there are {count} points"
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
                    "a label is {label}, and `classes` names {}",
                    self.classes.len()
                ));
            }
        }
        Ok(())
    }
}

/// Labels as PyTorch has them, in 32 bits.
fn narrowed(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let (labels, _) = bytes.as_chunks::<8>();
    let mut narrow = Vec::with_capacity(bytes.len() / 2);
    for label in labels.iter().map(|bytes| i64::from_le_bytes(*bytes)) {
        let label = u32::try_from(label).map_err(|_| format!("{label} is no label"))?;
        narrow.extend(label.to_le_bytes());
    }
    Ok(narrow)
}
