//! The expanded workflow: a checked DAG of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use petgraph::graph::{DiGraph, NodeIndex};
use serde::Serialize;
use serde_json::Value;

use super::kind::{Kind, Parameters};

/// A workflow after profiles, overrides, expansion and checks.
pub struct Graph {
    pub name: String,
    pub description: Option<String>,
    /// The workflow file, absolute.
    pub file: PathBuf,
    /// The profiles taken, left to right, and each `--set`.
    pub profiles: Vec<String>,
    /// Every profile of the file.
    pub known_profiles: Vec<String>,
    pub overrides: Vec<String>,
    pub strict: bool,
    pub axes: Vec<Axis>,
    /// Stages in the order of the file.
    pub stages: Vec<StageInfo>,
    /// Edges run from producer to consumer; the weights are the indices of `Graph` nodes.
    pub dag: DiGraph<Node, ()>,
    /// Producers before consumers; among equals, in the order of the file.
    pub order: Vec<NodeIndex>,
    /// Points that `skip:` left out, by stage.
    pub skipped: BTreeMap<String, usize>,
    /// The nodes that were asked for, by goal or pattern.
    pub goals: Vec<NodeIndex>,
}

/// An axis, with its values in the order of the file.
#[derive(Clone, Debug, Serialize)]
pub struct Axis {
    pub name: String,
    pub values: Vec<AxisValue>,
    /// Ids that the file's own list lacks and a profile would give that was not taken.
    #[serde(skip)]
    pub elsewhere: BTreeSet<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AxisValue {
    pub id: String,
    pub label: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StageInfo {
    pub name: String,
    pub axes: Vec<String>,
    pub description: Option<String>,
    /// The condition that leaves points out, as it is written.
    pub skip: Option<String>,
}

/// One point of one stage: the unit that is keyed, cached and executed.
pub struct Node {
    /// `tuned[source=rich,domain=r]`
    pub id: String,
    pub stage: String,
    /// The stage's axes in the order of its `each:`, with this node's ids.
    pub axes: Vec<(String, String)>,
    pub kind: Arc<dyn Kind>,
    /// `with:` after references, as plain data: what a worker gets. Shared by equal nodes.
    pub with: Arc<Value>,
    pub parameters: Arc<dyn Parameters>,
    /// In the order of the names.
    pub inputs: Vec<Input>,
    pub resources: Resources,
    /// Variables of `${env.…}` that are not set: the node can't be keyed or run.
    pub missing_env: Vec<String>,
}

/// A bound input of a node.
#[derive(Clone, Debug)]
pub struct Input {
    pub name: String,
    /// Takes several members, even where it has one.
    pub many: bool,
    pub members: Vec<Member>,
}

/// One port of one upstream node.
#[derive(Clone, Debug)]
pub struct Member {
    pub node: NodeIndex,
    pub port: String,
    /// The gathered axes with this member's ids; they enter the key.
    pub axes: BTreeMap<String, String>,
}

/// What a node asks of a machine. `None`: the engine decides.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Resources {
    pub cpus: Option<u32>,
    /// Bytes.
    pub mem: Option<u64>,
    pub gpus: Option<u32>,
    /// Bytes.
    pub gpu_mem: Option<u64>,
    /// Seconds of expected run time, for schedulers.
    pub time: Option<u64>,
    /// Further tries after a failure.
    pub retries: u32,
    /// Seconds after which the node is stopped and failed.
    pub timeout: Option<u64>,
}
