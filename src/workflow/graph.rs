//! The expanded workflow: a checked DAG of nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use petgraph::graph::{DiGraph, NodeIndex};
use serde::Serialize;
use serde_json::Value;

use super::ids::{self, Id};
use super::kind::{Kind, Parameters};
use super::places::Places;
use crate::contract::source::Source;
use crate::digest::{Digest, hash_value};

/// A workflow after profiles, overrides, expansion and checks.
pub struct Graph {
    pub name: String,
    pub description: Option<String>,
    /// The workflow file, absolute.
    pub file: PathBuf,
    /// The applied profiles, left to right, and each `--set`.
    pub profiles: Vec<String>,
    /// All profiles of the file.
    pub known_profiles: Vec<String>,
    pub overrides: Vec<String>,
    pub strict: bool,
    pub axes: Vec<Axis>,
    /// Stages in the order of the file.
    pub stages: Vec<StageInfo>,
    /// Edges run from producer to consumer; node weights are the nodes themselves.
    pub dag: DiGraph<Node, ()>,
    /// Producers before consumers, otherwise in the order of the file.
    pub order: Vec<NodeIndex>,
    /// The number of points that `skip:` omitted, by stage.
    pub skipped: BTreeMap<String, usize>,
    /// The requested nodes, by goal or pattern.
    pub goals: Vec<NodeIndex>,
    /// The environment variables that the workflow reads, and their values.
    pub variables: BTreeMap<String, Option<String>>,
    /// The digests of outside data in the lock file.
    pub locked: Locked,
    /// Where the file writes the parameters of nodes.
    pub places: Places,
}

/// The digests that outside data had when the workflow was locked, by node id, source name, and the
/// digest of the selection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locked(pub BTreeMap<(String, String, Digest), Digest>);

impl Locked {
    /// The locked digest of `source` of `node`. Other parameters (a limit, a profile's classes)
    /// select other data.
    pub fn find(&self, node: &Node, source: &Source) -> Option<&Digest> {
        if self.0.is_empty() {
            return None;
        }
        let selection = source_selection(node, source);
        self.0
            .get(&(node.id_by_value(), source.name.clone(), selection))
    }
}

/// The digest of everything except the location that decides what a source contains.
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
    /// Its values repeat one experiment: results are averaged over them.
    #[serde(skip)]
    pub repeats: bool,
    /// Ids that only a profile that was not applied would add.
    #[serde(skip)]
    pub elsewhere: BTreeSet<String>,
    /// The positions of the values by id, once asked for.
    #[serde(skip)]
    pub positions: OnceLock<HashMap<String, usize>>,
}

#[derive(Clone, Debug, Serialize)]
pub struct AxisValue {
    pub id: String,
    pub label: Option<String>,
    /// The id as the file writes it.
    #[serde(skip)]
    pub written: String,
    /// The id with its type.
    #[serde(skip)]
    pub typed: Value,
}

impl Axis {
    /// The position of the value with this id.
    pub fn position(&self, id: &str) -> Option<usize> {
        let positions = self.positions.get_or_init(|| {
            let ids = self.values.iter().map(|value| value.id.clone());
            ids.zip(0..).collect()
        });
        positions.get(id).copied()
    }

    /// The value that a word of a selector means.
    pub fn find(&self, word: &str) -> Option<&AxisValue> {
        let ids = self.values.iter().map(AxisValue::id);
        Some(&self.values[ids::find(word, ids)?])
    }
}

impl AxisValue {
    pub fn id(&self) -> Id<'_> {
        Id {
            text: &self.id,
            written: &self.written,
            typed: &self.typed,
        }
    }

    /// What tables show.
    pub fn shown(&self) -> &str {
        self.label.as_deref().unwrap_or(&self.written)
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct StageInfo {
    pub name: String,
    pub axes: Vec<String>,
    pub description: Option<String>,
    /// The condition that skips points, as written.
    pub skip: Option<String>,
}

/// A point of a stage: the unit that is keyed, cached and executed.
pub struct Node {
    /// `tuned[source=rich,domain=r]`
    pub id: String,
    pub stage: String,
    /// The stage's axes in the order of its `each:`, with this node's ids.
    pub axes: Vec<(String, String)>,
    pub kind: Arc<dyn Kind>,
    /// `with:` after references, as plain data: what a worker receives. Shared by equal nodes.
    pub with: Arc<Value>,
    pub parameters: Arc<dyn Parameters>,
    /// Sorted by name.
    pub inputs: Vec<Input>,
    pub resources: Resources,
    /// Unset variables of `${env.…}`: the node can't be keyed or run.
    pub missing_env: Vec<String>,
}

impl Node {
    /// The id with its numbers as keys have them: the same however the file writes a number, and
    /// what locks have always named nodes by.
    pub fn id_by_value(&self) -> String {
        if self.axes.is_empty() {
            return self.id.clone();
        }
        let axes = self.axes.iter();
        let axes: Vec<String> = axes.map(|(axis, id)| format!("{axis}={id}")).collect();
        format!("{}[{}]", self.stage, axes.join(","))
    }
}

/// A bound input of a node.
#[derive(Clone, Debug)]
pub struct Input {
    pub name: String,
    /// Takes several members, even if it has only one.
    pub many: bool,
    pub members: Vec<Member>,
}

/// A port of an upstream node.
#[derive(Clone, Debug)]
pub struct Member {
    pub node: NodeIndex,
    pub port: String,
    /// The gathered axes with this member's ids; part of the key.
    pub axes: BTreeMap<String, String>,
}

/// What a node requires of a machine. `None`: the engine decides.
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
    /// Further attempts after a failure.
    pub retries: u32,
    /// Seconds after which the node is stopped and failed.
    pub timeout: Option<u64>,
    /// Seconds that the node has to stop on its own when the run is interrupted.
    pub grace: Option<u64>,
    /// Wants a job of a scheduler of its own.
    pub dedicated: bool,
}

impl Resources {
    /// The default grace, in seconds.
    const GRACE: u64 = 10;

    pub fn grace(&self) -> u64 {
        self.grace.unwrap_or(Self::GRACE)
    }
}
