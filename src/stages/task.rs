//! The seam between kinds and whoever runs them. A task gets its inputs as artifacts, reads and
//! writes blobs by content, and knows no store, no key and no scheduler.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::derived::{Derived, InputArtifacts, Work};
use super::price::{CostEstimate, InputForecasts};
use crate::store::artifact::{Artifact, BlobError, Blobs};
use crate::workflow::kind::{
    BoundInput, Comparison, InputSpec, Meaning, OutputSpec, ParameterProblem, PortType, Source,
    Withholds,
};

/// A stage kind in one place: the fields are its `with:` block, the rest is what it does.
///
/// `Default` gives every optional field its default. A field equal to its default stays out of
/// the key, so a new option moves no key and a changed default must raise `VERSION`.
pub trait Stage:
    Serialize + DeserializeOwned + Default + JsonSchema + Send + Sync + 'static
{
    const NAME: &'static str;
    const VERSION: u32;
    const SUMMARY: &'static str;
    const COMPARISON: Comparison;
    const MEANING: Meaning;

    fn inputs(&self) -> Vec<InputSpec>;
    fn outputs(&self) -> Vec<OutputSpec>;
    /// See [`crate::workflow::kind::Parameters::open_inputs`].
    fn open_inputs(&self) -> Option<&'static [PortType]> {
        None
    }
    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }
    /// See [`crate::workflow::kind::Parameters::withholds`].
    fn withholds(&self) -> Withholds;
    /// Values that are out of range, contradict each other or do not fit the inputs.
    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        Vec::new()
    }
    /// What a node with such inputs will cost and give.
    fn price(&self, foreseen: &InputForecasts) -> CostEstimate;
    fn weight(&self) -> Weight;
    /// The derived work that a run with these inputs asks for, on a device of this class.
    fn derived(&self, _given: &InputArtifacts, _device_class: &str) -> Vec<Work> {
        Vec::new()
    }
    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError>;
}

/// How much a node weighs, for whoever places it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// A few milliseconds of arithmetic on small inputs; may run in the coordinator.
    Tiny,
    /// Runs in a worker.
    Heavy,
}

/// A path, URL or endpoint: says where something lies, so it never enters a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Location(pub String);

impl Serialize for Location {
    /// As null, which the canonical form leaves out.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

/// A fact about how things may be handled, not about what they are, so it never enters a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Unkeyed(pub bool);

impl Serialize for Unkeyed {
    /// As null, which the canonical form leaves out.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

/// What a task runs with.
pub struct Context<'a> {
    pub inputs: BTreeMap<String, Vec<TaskInput>>,
    pub blobs: &'a dyn Blobs,
    /// An empty folder of this node's own, removed afterwards.
    pub scratch: &'a Path,
    /// Keeps downloads that are not whole yet, for when the node is started again. May not exist.
    pub downloads: &'a Path,
    /// Cores it may use. Results do not depend on it.
    pub threads: usize,
    pub device: candle_core::Device,
    /// Work that other nodes share.
    pub derived: Derived<'a>,
    pub progress: &'a dyn Progress,
    pub cancelled: &'a AtomicBool,
    /// How long it has, once cancelled, to stop by itself.
    pub grace: Duration,
}

/// One member of an input.
#[derive(Clone, Debug)]
pub struct TaskInput {
    /// The gathered axes with this member's ids.
    pub axes: BTreeMap<String, String>,
    pub artifact: Artifact,
    /// Folders in which the encoded files of a dataset or a source may lie, to be tried before
    /// the blobs. What is read there must match its digest.
    pub roots: Vec<PathBuf>,
}

impl Context<'_> {
    /// The one member of a required input.
    pub fn input(&self, name: &str) -> Result<&TaskInput, TaskError> {
        self.inputs
            .get(name)
            .and_then(|members| members.first())
            .ok_or_else(|| TaskError::Input(format!("input `{name}` is missing")))
    }

    /// The members of an input, none where it is optional and absent.
    pub fn members(&self, name: &str) -> &[TaskInput] {
        self.inputs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Ends the task here if the run was interrupted.
    pub fn check_cancelled(&self) -> Result<(), TaskError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(TaskError::Cancelled);
        }
        Ok(())
    }
}

/// Receives how far a task is.
pub trait Progress: Send + Sync {
    /// `done` of `total` `unit`s (images, steps, pairs). Called as often as it suits; the
    /// receiver thins it out.
    fn advance(&self, done: u64, total: u64, unit: &'static str);
    /// A line for the node's log.
    fn log(&self, line: &str);
}

/// What a task gives: an artifact per output, blobs already written.
#[derive(Debug, Default)]
pub struct Outputs {
    pub ports: BTreeMap<String, Artifact>,
    /// For the provenance.
    pub notes: BTreeMap<String, Value>,
}

impl Outputs {
    pub fn one(name: &str, artifact: Artifact) -> Self {
        Self::default().and(name, artifact)
    }

    pub fn and(mut self, name: &str, artifact: Artifact) -> Self {
        self.ports.insert(name.to_string(), artifact);
        self
    }

    pub fn note(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.notes.insert(name.to_string(), value.into());
        self
    }
}

/// Why a node failed.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    #[error("interrupted")]
    Cancelled,
    /// An input is not what the task needs.
    #[error("{0}")]
    Input(String),
    /// The computation itself failed: divergence, NaN, no convergence.
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A file of a dataset is neither in the folders of its sources nor among the blobs. Where a
    /// node made it, that node can make it again.
    #[error("{message}, and {blob}")]
    Lost { message: String, blob: BlobError },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
}
