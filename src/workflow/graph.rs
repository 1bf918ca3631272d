//! The expanded workflow: a checked DAG of nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use petgraph::graph::{DiGraph, NodeIndex};
use serde::Serialize;
use serde_json::Value;

use super::kind::{Kind, Parameters, Source};
use crate::digest::{Digest, hash_value};

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
    /// The variables of the environment that the workflow reads, and what they held.
    pub variables: BTreeMap<String, Option<String>>,
    /// What a lock file says that outside data is.
    pub locked: Locked,
}

/// The digests that outside data had when the workflow was locked: by the id of the node, the name
/// of its source, and what decides which data that is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locked(pub BTreeMap<(String, String, Digest), Digest>);

impl Locked {
    /// What `source` of `node` was. Other parameters (a limit, a profile's classes) are other data.
    pub fn find(&self, node: &Node, source: &Source) -> Option<&Digest> {
        if self.0.is_empty() {
            return None;
        }
        let selection = source_selection(node, source);
        self.0
            .get(&(node.id.clone(), source.name.clone(), selection))
    }
}

/// The digest of everything but the place that decides what a source holds.
pub fn source_selection(node: &Node, source: &Source) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 locked source v1");
    hash_value(&mut hasher, &Value::from(node.kind.name()));
    hash_value(&mut hasher, &Value::from(source.name.as_str()));
    hash_value(&mut hasher, &node.parameters.canonical());
    Digest::finish(&hasher)
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
    /// Seconds that the node has to stop by itself when the run is interrupted.
    pub grace: Option<u64>,
}

impl Resources {
    /// What a node has that says nothing.
    const GRACE: u64 = 10;

    pub fn grace(&self) -> u64 {
        self.grace.unwrap_or(Self::GRACE)
    }
}
