//! Jobs, worker events and outcomes: plain data between the engine and whoever executes a node.
//! One JSON document a line, over a worker's standard input and output.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::store::artifact::Artifact;

/// One node to execute.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub key: Digest,
    pub kind: String,
    /// `with:` after references.
    pub with: Value,
    pub inputs: BTreeMap<String, Vec<JobInput>>,
    /// The folder that relative locations in `with` start from.
    pub base: PathBuf,
    pub threads: usize,
    /// `cpu` or `cuda:0`.
    pub device: String,
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
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub roots: Vec<PathBuf>,
}

/// What a worker says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerMessage {
    Ready,
    Progress { done: u64, total: u64, unit: String },
    Log { line: String },
    Finished(Outcome),
}

/// How a job ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done {
        ports: BTreeMap<String, Artifact>,
        notes: BTreeMap<String, Value>,
        device_class: String,
        wall_seconds: f64,
    },
    Failed {
        message: String,
        /// The blob that was missing or damaged, if that is why.
        lost: Option<Digest>,
    },
    Cancelled,
}
