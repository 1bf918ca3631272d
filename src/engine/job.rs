//! Jobs, worker messages and outcomes: plain data between the engine and whoever executes a node.
//! One JSON document a line, over a worker's standard input and output; docs/engine.md has it
//! with examples.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::stages::derived::Made;
use crate::store::artifact::Artifact;
use crate::store::derived_cache::Budget;

/// What a worker is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Execute this; one at a time.
    Run(Box<Job>),
    /// Stop the job that runs, as soon as it can.
    Cancel,
}

/// One node to execute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub key: Digest,
    pub kind: String,
    /// `with:` after references.
    pub with: Value,
    pub inputs: BTreeMap<String, Vec<JobInput>>,
    /// Cores it may use.
    pub threads: usize,
    /// `cpu` or `cuda:0`.
    pub device: String,
    /// Whether all that it keeps may not be passed on: marked before it is there.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub withheld: bool,
    /// Seconds that it has, once cancelled, to stop by itself.
    #[serde(default)]
    pub grace: u64,
    /// How much derived work may be kept.
    pub derived: Budget,
    /// An empty folder of its own, removed by whoever gives the job.
    #[serde(with = "super::paths")]
    pub scratch: PathBuf,
    /// The file that everything it prints is appended to.
    #[serde(with = "super::paths")]
    pub log: PathBuf,
}

/// One member of an input, by content.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct JobInput {
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub axes: BTreeMap<String, String>,
    pub digest: Digest,
    /// The artifact, where the record holds it; else it is read from the blob `digest`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inline: Option<Artifact>,
    #[serde(with = "super::paths::list")]
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub roots: Vec<PathBuf>,
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerMessage {
    /// It has started and takes jobs.
    Ready,
    Progress {
        done: u64,
        total: u64,
        unit: String,
    },
    /// The last word on a job; the worker takes the next one.
    Finished(Outcome),
}

/// How a job ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done(Product),
    Failed {
        message: String,
        /// The blob that was missing or damaged, if that is why.
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

/// What a job gave: artifacts as data, their blobs already in the store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Product {
    pub ports: BTreeMap<String, Artifact>,
    pub notes: BTreeMap<String, Value>,
    pub device_class: String,
    /// Work that it did for other nodes too.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub derived: Vec<Made>,
    pub wall_seconds: f64,
}
