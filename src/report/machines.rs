//! Where the nodes of a run with workers ran. This is of that run, not of the records, so it is never
//! part of `results.json`.

use std::collections::BTreeMap;

use petgraph::graph::NodeIndex;
use serde::Serialize;

/// The machines of a run with workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machines {
    pub workers: Vec<Worker>,
    /// By node; without nodes that the run has not executed.
    pub places: BTreeMap<NodeIndex, Place>,
}

/// A worker of the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Worker {
    /// `None`: the process of the run itself.
    pub name: Option<String>,
    pub host: Option<String>,
    pub cores: usize,
    pub nodes: usize,
    /// Seconds in which it ran at least one node.
    pub busy_seconds: f64,
}

/// Where a node ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Place {
    /// `None`: in the process of the run itself.
    pub worker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Seconds between its start and the time when its inputs were there and the run had begun.
    pub waited_seconds: f64,
}

impl Worker {
    /// Its name for people.
    pub fn shown(&self) -> &str {
        shown(self.name.as_deref())
    }
}

impl Place {
    /// The name of the worker for people.
    pub fn shown(&self) -> &str {
        shown(self.worker.as_deref())
    }
}

/// The name of a worker for people; `None`: the process of the run itself.
pub fn shown(name: Option<&str>) -> &str {
    name.unwrap_or("the run itself")
}
