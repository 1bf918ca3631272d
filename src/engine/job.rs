//! Jobs, worker messages and outcomes: plain data between the engine and the executor of a node.
//! One JSON document per line, over a worker's standard input and output; docs/engine.md specifies
//! it with examples.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::stages::derived::DerivedResult;
use crate::store::artifact::Artifact;
use crate::store::derived_cache::Budget;

/// A request to a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Execute this job; one at a time.
    Run(Box<Job>),
    /// Stop the running job as soon as possible.
    Cancel,
}

/// A node to execute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub key: Digest,
    pub kind: String,
    /// `with:` after references.
    pub with: Value,
    pub inputs: BTreeMap<String, Vec<JobInput>>,
    /// The number of cores it may use.
    pub threads: usize,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// Whether none of its outputs may be redistributed: they are marked before they are written.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub withheld: bool,
    /// Seconds that it has to stop on its own after cancellation.
    #[serde(default)]
    pub grace: u64,
    /// The maximum amount of derived work to keep.
    pub derived: Budget,
    /// An empty folder of its own, removed by the sender of the job.
    #[serde(with = "super::paths")]
    pub scratch: PathBuf,
    /// Where the folder of a command that fails is kept.
    #[serde(with = "super::paths", default)]
    pub failed: PathBuf,
    /// The file that all its output is appended to.
    #[serde(with = "super::paths")]
    pub log: PathBuf,
}

/// A member of an input, by content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobInput {
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub axes: BTreeMap<String, String>,
    pub digest: Digest,
    /// The artifact if the record contains it; otherwise it is read from the blob `digest`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inline: Option<Artifact>,
    #[serde(with = "super::paths::list")]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub roots: Vec<PathBuf>,
}

/// A message from a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerMessage {
    /// It has started and accepts jobs.
    Ready,
    Progress {
        done: u64,
        total: u64,
        unit: String,
    },
    /// The last message about a job; the worker accepts the next one.
    Finished(Outcome),
}

/// How a job ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done(Product),
    Failed {
        message: String,
        /// The missing or damaged blob, if that is the cause.
        lost: Option<Digest>,
    },
    Cancelled,
}

impl Outcome {
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
            lost: None,
        }
    }
}

/// The result of a job: artifacts as data, with their blobs already in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Product {
    pub ports: BTreeMap<String, Artifact>,
    pub notes: BTreeMap<String, Value>,
    pub device_class: String,
    /// Work that it also did for other nodes.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub derived: Vec<DerivedResult>,
    pub wall_seconds: f64,
}
