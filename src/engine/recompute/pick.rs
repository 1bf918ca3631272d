//! Selects the nodes to execute again: a share of the recorded nodes of each kind, at least one.
//!
//! The draw depends only on the records, so it is repeatable, and a larger share includes a smaller
//! one.

use std::collections::{BTreeMap, HashMap, HashSet};

use petgraph::graph::NodeIndex;

use crate::digest::Digest;
use crate::engine::event::PlanState;
use crate::engine::{Accepting, Survey, SurveyedNode};
use crate::store::{Store, StoredRecord};
use crate::workflow::graph::{Graph, Member};

/// Nodes that one sample represents: those of one kind with records of one version.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub kind: String,
    /// The older version that made the records; `None`: the current version.
    pub from: Option<u32>,
    /// All of them, one for each key, in the order of the draw.
    pub nodes: Vec<NodeIndex>,
    /// Those to execute again.
    pub sample: Vec<NodeIndex>,
    /// Those that were drawn and can't be executed here, with the reason.
    pub unable: Vec<(NodeIndex, String)>,
}

/// Draws `share` of the nodes that `survey` found a record of in `store`; if `accepting` names
/// versions, only of nodes with such records. Nodes in `refused` are not executed.
pub fn pick(
    graph: &Graph,
    store: &Store,
    survey: &Survey,
    share: f64,
    refused: &HashMap<NodeIndex, String>,
    accepting: &Accepting,
) -> Vec<Group> {
    let means = ExecutionInputs::of(graph, store, survey);
    let mut groups: BTreeMap<(&str, Option<u32>), Group> = BTreeMap::new();
    let mut seen = HashSet::new();
    for surveyed in &survey.nodes {
        let Some(record) = reused(surveyed) else {
            continue;
        };
        let kind = graph.dag[surveyed.node].kind.name();
        let from = record
            .record
            .provenance
            .accepted
            .first()
            .map(|one| one.version);
        if !is_asked(accepting, kind, from) || !seen.insert(record.record.key) {
            continue;
        }
        let group = groups.entry((kind, from)).or_default();
        group.kind = kind.to_string();
        group.from = from;
        group.nodes.push(surveyed.node);
    }
    let mut groups: Vec<Group> = groups.into_values().collect();
    for group in &mut groups {
        let quota = quota(share, group.nodes.len());
        group.nodes.sort_by_cached_key(|node| means.lot(*node));
        for node in &group.nodes {
            if group.sample.len() == quota {
                break;
            }
            let why = refused.get(node).cloned();
            match why.or_else(|| means.lacking(*node)) {
                None => group.sample.push(*node),
                Some(why) => group.unable.push((*node, why)),
            }
        }
    }
    groups
}

fn reused(surveyed: &SurveyedNode) -> Option<&StoredRecord> {
    let record = surveyed.record.as_deref();
    record.filter(|_| surveyed.state == PlanState::Reused)
}

fn is_asked(accepting: &Accepting, kind: &str, from: Option<u32>) -> bool {
    let mut versions = accepting.versions_of(kind);
    accepting.is_empty() || from.is_some_and(|from| versions.any(|version| version == from))
}

/// `share` of `count`, rounded up.
fn quota(share: f64, count: usize) -> usize {
    // Binary rounding of a percentage must not add a node.
    let most = (share * count as f64 - 1e-9).ceil();
    (most as usize).clamp(1, count.max(1))
}

/// What nodes need in order to be executed here.
struct ExecutionInputs<'a> {
    graph: &'a Graph,
    store: &'a Store,
    surveyed: HashMap<NodeIndex, &'a SurveyedNode>,
}

impl<'a> ExecutionInputs<'a> {
    fn of(graph: &'a Graph, store: &'a Store, survey: &'a Survey) -> Self {
        let nodes = survey.nodes.iter();
        Self {
            graph,
            store,
            surveyed: nodes.map(|surveyed| (surveyed.node, surveyed)).collect(),
        }
    }

    /// The position of a node's record in the draw: lowest first.
    fn lot(&self, node: NodeIndex) -> Option<Digest> {
        let record = self.surveyed.get(&node)?.record.as_ref()?;
        let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 recomputed sample v1");
        hasher.update(record.digest.as_bytes());
        Some(Digest::finish(&hasher))
    }

    /// Why a node can't be executed here, as far as that can be known in advance.
    fn lacking(&self, node: NodeIndex) -> Option<String> {
        if !self.can_run(node) {
            return Some("its data is not here".to_string());
        }
        let inputs = self.graph.dag[node].inputs.iter();
        let mut members = inputs.flat_map(|input| &input.members);
        let lacking = members.find(|member| !self.is_readable(member))?;
        let id = &self.graph.dag[lacking.node].id;
        Some(format!("the files of `{id}` are not here"))
    }

    fn can_run(&self, node: NodeIndex) -> bool {
        self.surveyed
            .get(&node)
            .is_some_and(|surveyed| surveyed.can_run)
    }

    /// Whether the content of a member is readable: its blobs, and the images in the source
    /// folders.
    fn is_readable(&self, member: &Member) -> bool {
        let surveyed = self.surveyed.get(&member.node);
        let record = surveyed.and_then(|surveyed| surveyed.record.as_ref());
        let Some(port) = record.and_then(|stored| stored.record.ports.get(&member.port)) else {
            return false;
        };
        // A missing artifact is fetched if a remote has it.
        let Ok(artifact) = self.store.artifact(port) else {
            return false;
        };
        self.store.obtain(&artifact.wanted().collect::<Vec<_>>());
        let images = artifact.encoded_images();
        self.store.missing(&artifact).is_empty()
            && (images.is_empty()
                || self.has_data_above(member.node)
                || images.iter().all(|image| self.store.has(image)))
    }

    /// Whether all outside data that a node was derived from exists.
    fn has_data_above(&self, node: NodeIndex) -> bool {
        let inputs = self.graph.dag[node].inputs.iter();
        let mut above = inputs.flat_map(|input| input.members.iter().map(|member| member.node));
        self.can_run(node) && above.all(|node| self.has_data_above(node))
    }
}
