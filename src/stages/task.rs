//! The interface between kinds and the code that runs them. A task receives its inputs as
//! artifacts, reads and writes blobs by content, and does not know the store, keys or the
//! scheduler.

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
use crate::contract::port::{OutputSpec, PortType};
use crate::contract::source::Source;
use crate::fsx::Locks;
use crate::store::artifact::{Artifact, BlobError, Blobs};
use crate::workflow::kind::{
    BoundInput, ClassForecast, Comparison, InputClasses, InputSpec, Meaning, OnlyWith, Origins,
    ParameterProblem, Withholds, WorkflowFile,
};

/// A stage kind: the fields are its `with:` block, the trait defines its behaviour.
///
/// `Default` gives every optional field its default. A field that equals its default is not part of
/// the key, so a new option changes no key, and a changed default must raise `VERSION`.
pub trait Stage:
    Serialize + DeserializeOwned + Default + JsonSchema + Send + Sync + 'static
{
    const NAME: &'static str;
    const VERSION: u32;
    const SUMMARY: &'static str;
    const COMPARISON: Comparison;
    const MEANING: Meaning;
    /// See [`crate::workflow::kind::Kind::ordered_fields`].
    const ORDERED_FIELDS: &'static [&'static str] = &[];
    /// See [`crate::workflow::kind::Kind::file_fields`].
    const FILE_FIELDS: &'static [&'static str] = &[];

    fn inputs(&self) -> Vec<InputSpec>;
    fn outputs(&self) -> Vec<OutputSpec>;
    /// See [`crate::workflow::kind::Kind::conditional_inputs`].
    fn conditional_inputs() -> Vec<OnlyWith<InputSpec>> {
        Vec::new()
    }
    /// See [`crate::workflow::kind::Kind::conditional_outputs`].
    fn conditional_outputs() -> Vec<OnlyWith<OutputSpec>> {
        Vec::new()
    }
    /// See [`crate::workflow::kind::Parameters::open_inputs`].
    fn open_inputs(&self) -> Option<&'static [PortType]> {
        None
    }
    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }
    /// See [`crate::workflow::kind::Parameters::files`].
    fn files(&self) -> Vec<WorkflowFile> {
        Vec::new()
    }
    /// See [`crate::workflow::kind::Parameters::passed_variables`].
    fn passed_variables(&self) -> &[String] {
        &[]
    }
    /// See [`crate::workflow::kind::Parameters::withholds`].
    fn withholds(&self) -> Withholds;
    /// Values that are out of range, contradict each other or do not fit the inputs.
    fn check(&self, _inputs: &[BoundInput]) -> Vec<ParameterProblem> {
        Vec::new()
    }
    /// See [`crate::workflow::kind::Parameters::origin_problems`].
    fn origin_problems(&self, _given: &dyn Fn() -> Origins) -> Vec<ParameterProblem> {
        Vec::new()
    }
    /// See [`crate::workflow::kind::Parameters::classes`].
    fn classes(&self, _inputs: &InputClasses) -> ClassForecast {
        ClassForecast::default()
    }
    /// The estimated cost and outputs of a node with these inputs.
    fn price(&self, foreseen: &InputForecasts) -> CostEstimate;
    fn weight(&self) -> Weight;
    /// The derived work that a run with these inputs asks for, on a device of this class.
    fn derived(&self, _given: &InputArtifacts, _device_class: &str) -> Vec<Work> {
        Vec::new()
    }
    fn run(&self, context: &mut Context) -> Result<Outputs, TaskError>;
}

/// The weight of a node, for the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// A few milliseconds of arithmetic on small inputs; may run in the coordinator.
    Tiny,
    /// Runs in a worker.
    Heavy,
}

/// A path, URL or endpoint. It is only a location, so it never enters a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Location(pub String);

impl Serialize for Location {
    /// Serialises as null, which the canonical form leaves out.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

/// A setting that affects the handling of data, not its content, so it never enters a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct Unkeyed(pub bool);

impl Serialize for Unkeyed {
    /// Serialises as null, which the canonical form leaves out.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

/// The environment of a running task.
pub struct Context<'a> {
    pub inputs: BTreeMap<String, Vec<TaskInput>>,
    pub blobs: &'a dyn Blobs,
    /// An empty folder for this node, removed afterwards.
    pub scratch: &'a Path,
    /// The folder for partial downloads, so that a restarted node can resume them. May not exist.
    pub downloads: &'a Path,
    /// The folder of environments that programs run in, shared by all nodes. May not exist.
    pub environments: &'a Path,
    /// How both are locked.
    pub locks: &'a Locks,
    /// Where the folder of a node that fails may be kept for the user. Does not exist.
    pub failed: &'a Path,
    /// The number of cores to use. Results do not depend on it.
    pub threads: usize,
    pub device: candle_core::Device,
    /// Work that is shared with other nodes.
    pub derived: Derived<'a>,
    pub progress: &'a dyn Progress,
    pub cancelled: &'a AtomicBool,
    /// The time that a cancelled task has to stop.
    pub grace: Duration,
}

/// One member of an input.
#[derive(Clone, Debug)]
pub struct TaskInput {
    /// The gathered axes with this member's ids.
    pub axes: BTreeMap<String, String>,
    pub artifact: Artifact,
    /// Folders that may contain the encoded files of a dataset or a source. They are tried before
    /// the blobs. Files read from them must match their digest.
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

    /// Returns an error if the run was interrupted.
    pub fn check_cancelled(&self) -> Result<(), TaskError> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(TaskError::Cancelled);
        }
        Ok(())
    }
}

/// Receives the progress of a task.
pub trait Progress: Send + Sync {
    /// `done` of `total` `unit`s (images, steps, pairs). Call it as often as convenient; the
    /// receiver limits the rate.
    fn advance(&self, done: u64, total: u64, unit: &'static str);
    /// A line for the node's log.
    fn log(&self, line: &str);
}

/// The outputs of a task: one artifact per output, whose blobs are already written.
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
    /// A file of a dataset is neither in the folders of its sources nor among the blobs. If a node
    /// computed it, that node can compute it again.
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
