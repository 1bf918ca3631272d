//! What the language needs to know of a stage kind: how its `with:` is typed, what it takes,
//! what it gives. The kinds themselves live in `stages`; none is known here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a port holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortType {
    /// Labelled images.
    Dataset,
    /// A model: a tree of tensors with a config.
    Model,
    /// Named arrays: features with labels, distance matrices, confusion matrices.
    Arrays,
    /// Named numbers with units.
    Metrics,
    /// Rows and columns.
    Table,
    /// A tree of files.
    Files,
}

/// An input that a kind takes.
#[derive(Clone, Debug)]
pub struct InputSpec {
    pub name: String,
    /// The port types it accepts; empty: any.
    pub accepts: Vec<PortType>,
    pub required: bool,
    /// Takes several members (a list or a gathering selector).
    pub many: bool,
    /// Which gathered axes it has a role for.
    pub gathers: Gathers,
}

impl InputSpec {
    /// A required input of one member.
    pub fn one(name: &str, accepts: PortType) -> Self {
        Self {
            name: name.to_string(),
            accepts: vec![accepts],
            required: true,
            many: false,
            gathers: Gathers::None,
        }
    }

    /// A required input of any number of members.
    pub fn many(name: &str, accepts: PortType, gathers: Gathers) -> Self {
        Self {
            many: true,
            gathers,
            ..Self::one(name, accepts)
        }
    }

    pub fn optional(mut self) -> Self {
        self.required = false;
        self
    }
}

/// The axes an input may gather. A kind refuses a gathered axis for which it has no role, so that
/// a new axis can't silently join a mean.
#[derive(Clone, Debug)]
pub enum Gathers {
    None,
    Any,
    Only(Vec<String>),
}

/// An output that a kind gives. The first one is the default port of the stage.
#[derive(Clone, Debug)]
pub struct OutputSpec {
    pub name: String,
    pub gives: PortType,
    /// Of a port of metrics, the names that it can have. `*` stands for any text: behind a name
    /// for a part (`ri[*]`), before it for an input (`*_drop_pearson`). `None` where only a record
    /// shows them.
    pub metrics: Option<Vec<String>>,
}

impl OutputSpec {
    pub fn new(name: &str, gives: PortType) -> Self {
        Self {
            name: name.to_string(),
            gives,
            metrics: None,
        }
    }

    /// A port of metrics with these names and no others.
    pub fn metrics(name: &str, metrics: &[&str]) -> Self {
        Self {
            metrics: Some(metrics.iter().map(|name| name.to_string()).collect()),
            ..Self::new(name, PortType::Metrics)
        }
    }
}

/// How the inputs of one node were bound, for checks that span parameters and inputs.
#[derive(Clone, Debug)]
pub struct BoundInput {
    pub name: String,
    /// For each member its gathered axes and their ids.
    pub members: Vec<BTreeMap<String, String>>,
}

/// Outside data that a node reads: its content enters the key, its place does not. The task gets
/// it as a tree of files, or as a table where it is variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The input name under which the task finds its content and the key records it. An input
    /// under `needs:` is an identifier; a kind that takes inputs of any name gives its sources
    /// names that are none (`files/redraw.py`).
    pub name: String,
    /// Absolute, or relative to the folder of the workflow file. Empty for variables.
    pub location: PathBuf,
    pub shape: SourceShape,
    /// The user's word that it does not change: once hashed it is not looked at again, as long as
    /// its folder itself is the same. Says nothing of what it holds, so it is in no key.
    pub sealed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SourceShape {
    /// One file; in the tree it stands under its base name.
    File,
    /// One file, or every file under a folder, by paths that begin with its name.
    FileOrFolder,
    /// Every file under a folder, by relative path.
    Tree,
    /// One file, or the first of these names in a folder; and where that is the index of a
    /// sharded file (`*.index.json`), the shards that its `weight_map` names, beside it.
    Sharded(Vec<String>),
    /// `class/…/image` as torchvision's ImageFolder walks it, other files ignored.
    ImageFolder(ImageSelection),
    /// The same in the first of these folders below the location that is there and has a class
    /// folder of the selection.
    ImageFolderAt {
        places: Vec<String>,
        selection: ImageSelection,
    },
    /// These environment variables, as a table of names and values; they must be set.
    Environment(Vec<String>),
}

/// Which images of an image folder count. Taken by name, before anything is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageSelection {
    /// These class folders only; `None`: all.
    pub classes: Option<Vec<String>>,
    /// At most so many images of a class, the first by name.
    pub limit: Option<usize>,
}

/// A problem with `with:` or with how it fits the inputs.
#[derive(Clone, Debug)]
pub struct ParameterProblem {
    pub code: &'static str,
    /// Field names and list indices from `with:` down; empty: the whole block.
    /// When `input` is set, the problem lies in `needs:` at that input instead.
    pub path: Vec<String>,
    pub input: Option<String>,
    /// Point at the field's name rather than at its value.
    pub at_name: bool,
    pub message: String,
    pub hint: Option<String>,
}

impl ParameterProblem {
    /// A value that is out of range or does not fit.
    pub fn value(path: &str, message: impl Into<String>) -> Self {
        Self {
            code: "bad-value",
            path: vec![path.to_string()],
            input: None,
            at_name: false,
            message: message.into(),
            hint: None,
        }
    }

    /// A problem with an input.
    pub fn input(name: &str, message: impl Into<String>) -> Self {
        Self {
            code: "bad-input",
            path: Vec::new(),
            input: Some(name.to_string()),
            at_name: false,
            message: message.into(),
            hint: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A stage kind, as the language sees it.
pub trait Kind: Send + Sync {
    fn name(&self) -> &'static str;
    /// Raised when the output for the same input may change.
    fn version(&self) -> u32;
    /// One sentence for `schema` and the docs.
    fn summary(&self) -> &'static str;
    /// The JSON Schema of `with:`.
    fn schema(&self) -> Value;
    /// Types `with`: a map whose references are all resolved.
    fn parse(&self, with: &Value) -> Result<Box<dyn Parameters>, Vec<ParameterProblem>>;
    fn comparison(&self) -> Comparison;
    fn meaning(&self) -> Meaning;
    /// The parameters where nothing is given: what the kind usually takes and gives.
    fn usual(&self) -> Box<dyn Parameters>;
}

/// What the outputs of a kind mean to reports, to cost estimates and to the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// What their ports say, and nothing more.
    Plain,
    /// Images, drawn by ribflow where `with.builtin` is given.
    Images,
    /// A model as it was published, possibly a file of a hub.
    Published,
    /// How well a model, which stays as it is, does on a dataset.
    Evaluation,
    /// What fine-tuning does to the accuracy on other datasets. The inputs `before` and `after`
    /// are evaluations; `with` gives axes their roles. The metric `before` comes from `before`
    /// alone.
    Robustness,
    /// The metric `distance` between the datasets `a` and `b`, seen through `model`; a table
    /// `pairs` of their classes.
    Distance,
    /// Comparisons of results: a table `relation`, correlations as metrics, and the published
    /// values that `with.expect` names.
    Report,
    /// The result of a program that the workflow brings.
    Program,
}

/// How two outcomes of one key are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    BitEqual,
    /// Every metric within this absolute difference (in the metric's unit).
    MetricsWithin(f64),
}

/// What of a node's datasets, files and arrays may not be passed on to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withholds {
    /// They hold counts, means and weights, whatever came in.
    Nothing,
    /// They show what came in: where that may not be passed on, neither may they.
    WhatComesIn,
    /// They hold outside data that must stay.
    Data,
}

/// The typed `with:` of one node.
pub trait Parameters: Send + Sync {
    /// What enters the key: no locations, nothing equal to its default.
    fn canonical(&self) -> Value;
    fn inputs(&self) -> Vec<InputSpec>;
    /// Inputs of any name are taken as they come (the `command` kind).
    fn open_inputs(&self) -> bool;
    fn outputs(&self) -> Vec<OutputSpec>;
    fn sources(&self) -> Vec<Source>;
    /// What of its outputs may not be passed on to others.
    fn withholds(&self) -> Withholds;
    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem>;
}

/// The kinds of one build, by name.
#[derive(Clone, Default)]
pub struct Kinds(pub BTreeMap<String, Arc<dyn Kind>>);

impl Kinds {
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.0.get(name)
    }
}
