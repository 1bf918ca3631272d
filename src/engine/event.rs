//! Events of a run, as data. They are the engine's only output: progress bars, plain lines,
//! `--json`, the journal and the report's provenance consume them.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// An event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    RunStarted {
        workflow: String,
        run: String,
        nodes: usize,
        threads: usize,
        device: String,
        /// The machine of a process of a shared run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        host: Option<String>,
    },
    /// A record was found: in the store, or created meanwhile by another run or an equal node.
    NodeReused {
        id: String,
        key: Digest,
    },
    NodeStarted {
        id: String,
        key: Digest,
        threads: usize,
        /// How it differs from the newest record of this node, as text.
        why: String,
        /// The worker that has joined the run and runs the node; `None`: the run's own process.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
    },
    /// Another process holds the node's claim.
    NodeWaiting {
        id: String,
        key: Digest,
    },
    NodeProgress {
        id: String,
        done: u64,
        total: u64,
        unit: String,
    },
    /// A node cached work that other nodes need too: decoded pixels, features, logits.
    DerivedMade {
        id: String,
        kind: String,
        key: Digest,
        what: String,
        bytes: u64,
        wall_s: f64,
    },
    NodeFinished {
        id: String,
        key: Digest,
        wall_s: f64,
    },
    NodeFailed {
        id: String,
        message: String,
        /// The node's log, inside the store.
        log: Option<String>,
    },
    /// Not started: an ancestor failed, the run was interrupted, or `--limit` was reached.
    NodeSkipped {
        id: String,
        why: String,
    },
    Warning {
        message: String,
    },
    /// News about the machines of the run: workers that join or leave, places that are asked for.
    Machines {
        message: String,
    },
    Summary(Summary),
}

/// How a run ended; nodes = ran + reused + failed + skipped.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub workflow: String,
    pub nodes: usize,
    pub ran: usize,
    pub reused: usize,
    pub failed: usize,
    pub skipped: usize,
    pub derived_ran: usize,
    pub wall_s: f64,
    /// The path of the report; empty before it is written.
    pub report: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

/// The stage in a node's id: `tuned` of `tuned[source=rich]`.
pub fn stage_of(id: &str) -> &str {
    id.split('[').next().unwrap_or(id)
}

/// The state of a node in `plan`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlanState {
    /// The store has a record.
    Reused,
    /// A remote has a record.
    Remote,
    /// The key is known and there is no record.
    WouldRun,
    /// An ancestor must run before the key is known.
    Unknown,
    /// Its source data, or an environment variable it needs, is missing.
    MissingData,
}

/// The state of a node in `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    Done,
    Running,
    Waiting,
    Failed,
    Skipped,
}
