//! What the language needs to know about a stage kind: the type of its `with:`, its inputs and its
//! outputs. `stages` implements the kinds; this module knows none of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::Source;

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

/// An input or an output that a kind has only with some parameters.
#[derive(Clone, Debug)]
pub struct OnlyWith<T> {
    pub spec: T,
    /// The parameters, in words: `method: greedy_soup`.
    pub with: &'static str,
}

/// The axes that an input may gather. A kind refuses a gathered axis for which it has no role, so
/// that a new axis can't silently become part of a mean.
#[derive(Clone, Debug)]
pub enum Gathers {
    None,
    Any,
    Only(Vec<String>),
}

/// The inputs of one node as bound, for checks across parameters and inputs.
#[derive(Clone, Debug)]
pub struct BoundInput {
    pub name: String,
    /// For each member, its gathered axes and their ids.
    pub members: Vec<BTreeMap<String, String>>,
}

/// A problem with `with:` or with how it fits the inputs.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterProblem {
    pub code: &'static str,
    /// Field names and list indices from `with:` down; empty: the whole block. If `input` is set,
    /// the problem is at that input in `needs:` instead.
    pub path: Vec<String>,
    pub input: Option<String>,
    /// Report the place of the field's name instead of its value.
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

/// The names of the classes of each member of each input; `None` where only a run shows them.
pub type InputClasses = BTreeMap<String, Vec<Option<Arc<[String]>>>>;

/// What is known about the classes of one node before anything has run.
#[derive(Clone, Debug, Default)]
pub struct ClassForecast {
    /// The names of the classes of datasets and models, by port.
    pub outputs: BTreeMap<&'static str, Arc<[String]>>,
    /// Classes of inputs with which the node would fail.
    pub problems: Vec<ParameterProblem>,
}

/// An output of a node of the workflow.
#[derive(Clone, Debug)]
pub struct OutputOf {
    /// The id of the node, for messages.
    pub id: String,
    /// Equal for nodes with the same kind, parameters and inputs.
    pub work: u32,
    pub port: String,
}

impl OutputOf {
    /// Whether both have the same content, as far as the workflow file shows.
    pub fn is_same(&self, other: &Self) -> bool {
        self.work == other.work && self.port == other.port
    }
}

/// The node behind a member of an input.
#[derive(Clone, Debug)]
pub struct Origin {
    pub output: OutputOf,
    /// The gathered axes of the member and their ids.
    pub axes: BTreeMap<String, String>,
    pub meaning: Meaning,
    /// What the inputs of the node are, by name.
    pub inputs: BTreeMap<String, Vec<OutputOf>>,
}

impl Origin {
    /// What an evaluation has as `input`; `None` for other nodes.
    pub fn measured(&self, input: &str) -> Option<&OutputOf> {
        let is_evaluation = self.meaning == Meaning::Evaluation;
        is_evaluation.then(|| self.inputs.get(input)?.first())?
    }
}

/// A file or folder that belongs to the workflow: a script, a lock file.
#[derive(Clone, Debug)]
pub struct WorkflowFile {
    /// Field names and list indices from `with:` down.
    pub field: Vec<String>,
    pub location: PathBuf,
    /// What a folder leaves out.
    pub ignore: Vec<String>,
    /// What to do if it does not exist.
    pub hint: &'static str,
}

/// The nodes behind the members of each input.
pub type Origins = BTreeMap<String, Vec<Origin>>;

/// A stage kind, as the language sees it.
pub trait Kind: Send + Sync {
    fn name(&self) -> &'static str;
    /// Incremented when the output for the same input may change.
    fn version(&self) -> u32;
    /// One sentence for `schema` and the docs.
    fn summary(&self) -> &'static str;
    /// The JSON Schema of `with:`.
    fn schema(&self) -> Value;
    /// Deserialises `with`: a map whose references are all resolved.
    fn parse(&self, with: &Value) -> Result<Box<dyn Parameters>, Vec<ParameterProblem>>;
    fn comparison(&self) -> Comparison;
    fn meaning(&self) -> Meaning;
    /// The default parameters, which give the usual inputs and outputs of the kind.
    fn usual(&self) -> Box<dyn Parameters>;
    /// The inputs that not all parameters have.
    fn conditional_inputs(&self) -> Vec<OnlyWith<InputSpec>> {
        Vec::new()
    }
    /// The outputs that not all parameters have.
    fn conditional_outputs(&self) -> Vec<OnlyWith<OutputSpec>> {
        Vec::new()
    }
    /// The fields of `with:` whose maps have an order that matters. The kind gets such a map as a
    /// list of maps with one entry each, in the order of the file.
    fn ordered_fields(&self) -> &'static [&'static str] {
        &[]
    }
    /// The fields of `with:` that a workflow may also have at its top, for all stages of the kind.
    fn file_fields(&self) -> &'static [&'static str] {
        &[]
    }
}

/// How reports, cost estimates and the command line may interpret the outputs of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Only what their port types say.
    Plain,
    /// Images, drawn by ribflow if `with.builtin` is set.
    Images,
    /// A published model, possibly a file of a hub.
    Published,
    /// How well an unchanged model performs on a dataset.
    Evaluation,
    /// The effect of fine-tuning on the accuracy on other datasets. The inputs `before` and `after`
    /// are evaluations; `with` gives axes their roles. The metric `before` depends only on the
    /// input `before`.
    Robustness,
    /// The metric `distance` between the datasets `a` and `b`, in the feature space of `model`; a
    /// table `pairs` of their classes.
    Distance,
    /// A choice among models, with a table as [`selection`] names it.
    Selection,
    /// Comparisons of results: a table `relation`, correlations as metrics, and the published
    /// values that `with.expect` names.
    Report,
    /// The result of a program that is part of the workflow.
    Program,
}

/// The table that a kind with [`Meaning::Selection`] gives.
pub mod selection {
    /// The output: a row for each candidate.
    pub const CHOICE: &str = "choice";
    /// The columns: the name of the candidate, the metric that all are compared by, and whether the
    /// result contains it.
    pub const CANDIDATE: &str = "candidate";
    pub const METRIC: &str = "metric";
    pub const TAKEN: &str = "taken";
}

/// How two outcomes of one key are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Comparison {
    BitEqual,
    /// Every metric within this absolute difference (in the metric's unit).
    MetricsWithin(f64),
}

/// Which of a node's datasets, files and arrays may not be redistributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withholds {
    /// None: they contain only counts, means and weights.
    Nothing,
    /// They reveal their inputs: they may not be redistributed if an input may not.
    WhatComesIn,
    /// They contain outside data that may not be redistributed.
    Data,
}

/// The typed `with:` of one node.
pub trait Parameters: Send + Sync {
    /// What enters the key: no locations, and no values equal to their default.
    fn canonical(&self) -> Value;
    fn inputs(&self) -> Vec<InputSpec>;
    /// What inputs of any other name may be, where such are taken; empty: anything.
    fn open_inputs(&self) -> Option<&'static [PortType]>;
    fn outputs(&self) -> Vec<OutputSpec>;
    fn sources(&self) -> Vec<Source>;
    /// Files that belong to the workflow.
    fn files(&self) -> Vec<WorkflowFile> {
        Vec::new()
    }
    /// Variables whose values are not in the key, but without which it fails.
    fn passed_variables(&self) -> &[String] {
        &[]
    }
    /// Which of its outputs may not be redistributed.
    fn withholds(&self) -> Withholds;
    fn check(&self, inputs: &[BoundInput]) -> Vec<ParameterProblem>;
    /// Inputs whose nodes do not belong together. `given` is costly: only a kind with such checks
    /// calls it.
    fn origin_problems(&self, _given: &dyn Fn() -> Origins) -> Vec<ParameterProblem> {
        Vec::new()
    }
    /// The classes of the outputs, and whether those of the inputs fit together.
    fn classes(&self, _inputs: &InputClasses) -> ClassForecast {
        ClassForecast::default()
    }
}

/// The kinds of one build, by name.
#[derive(Clone, Default)]
pub struct Kinds(pub BTreeMap<String, Arc<dyn Kind>>);

impl Kinds {
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Kind>> {
        self.0.get(name)
    }
}
