//! The data of a report: the checked graph and one record per node. Answers the questions that
//! every table and figure asks of them, and knows no output format.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::machines::Machines;
use super::standing::Standing;
use super::verdict::Expected;
use crate::store::artifact::{Artifact, Metric, Table};
use crate::store::{Store, StoredRecord};
use crate::workflow::graph::{Axis, AxisValue, Graph, Node};
use crate::workflow::kind::Meaning;

/// A graph with the records that its nodes have so far; a node may have none.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub graph: &'a Graph,
    pub records: &'a BTreeMap<NodeIndex, StoredRecord>,
    /// Published numbers to compare with.
    pub expected: Option<&'a Expected>,
    /// Sentences about the origin of the numbers that readers must know.
    pub warnings: &'a [String],
    /// The standings of records, if there is anything to report.
    pub standings: Option<&'a BTreeMap<NodeIndex, Standing>>,
    /// The store with the content of outputs that are not in records.
    pub store: Option<&'a Store>,
    /// Where the nodes ran, if the run had workers.
    pub machines: Option<&'a Machines>,
}

/// The role of an axis, as declared under `with:` of the `rib` nodes, or by the mark of an axis of
/// repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Fine-tuning sets.
    TunedOn,
    /// Test sets.
    TestedOn,
    /// Repeats of the same experiment, such as seeds.
    Repeats,
}

impl Role {
    /// Its name under `with:` and in `results.json`.
    pub fn name(self) -> &'static str {
        match self {
            Role::TunedOn => "tuned_on",
            Role::TestedOn => "tested_on",
            Role::Repeats => "repeats",
        }
    }
}

impl<'a> View<'a> {
    pub fn new(graph: &'a Graph, records: &'a BTreeMap<NodeIndex, StoredRecord>) -> Self {
        Self {
            graph,
            records,
            expected: None,
            warnings: &[],
            standings: None,
            store: None,
            machines: None,
        }
    }

    /// Sets the warnings.
    pub fn warning(self, warnings: &'a [String]) -> Self {
        Self { warnings, ..self }
    }

    /// Sets the standings of the records.
    pub fn standing(self, standings: &'a BTreeMap<NodeIndex, Standing>) -> Self {
        Self {
            standings: Some(standings),
            ..self
        }
    }

    /// Sets the store.
    pub fn reading(self, store: &'a Store) -> Self {
        Self {
            store: Some(store),
            ..self
        }
    }

    /// Sets where the nodes ran.
    pub fn ran_on(self, machines: Option<&'a Machines>) -> Self {
        Self { machines, ..self }
    }

    /// Sets the published numbers to compare with.
    pub fn expecting(self, expected: Option<&'a Expected>) -> Self {
        Self { expected, ..self }
    }

    /// The deviations of some nodes from the published setting, as text.
    pub fn deviations(&self, nodes: &[NodeIndex]) -> Vec<&'a str> {
        let expected = self.expected.map(|expected| expected.deviations_of(nodes));
        expected.unwrap_or_default()
    }

    pub fn node(&self, index: NodeIndex) -> &'a Node {
        &self.graph.dag[index]
    }

    /// Every node, in the order of the file.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeIndex, &'a Node)> + use<'a> {
        let graph = self.graph;
        let mut by_stage: BTreeMap<&str, Vec<NodeIndex>> = BTreeMap::new();
        for index in graph.dag.node_indices() {
            by_stage
                .entry(&graph.dag[index].stage)
                .or_default()
                .push(index);
        }
        let ordered: Vec<NodeIndex> = graph
            .stages
            .iter()
            .filter_map(|stage| by_stage.remove(stage.name.as_str()))
            .flatten()
            .collect();
        ordered
            .into_iter()
            .map(move |index| (index, &graph.dag[index]))
    }

    /// The nodes of every stage that has any, stages in the order of the file.
    pub fn stages(&self) -> Vec<(&'a str, Vec<NodeIndex>)> {
        let mut stages: Vec<(&'a str, Vec<NodeIndex>)> = Vec::new();
        for (index, node) in self.nodes() {
            match stages.last_mut() {
                Some((stage, members)) if *stage == node.stage => members.push(index),
                _ => stages.push((&node.stage, vec![index])),
            }
        }
        stages
    }

    /// The kinds of some nodes: a stage with cases may have several.
    pub fn kinds(&self, nodes: &[NodeIndex]) -> Vec<&'static str> {
        let mut kinds = Vec::new();
        for index in nodes {
            let kind = self.node(*index).kind.name();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        kinds
    }

    /// The nodes of kinds with this meaning that have a record.
    pub fn done(&self, meaning: Meaning) -> Vec<NodeIndex> {
        self.nodes()
            .filter(|(index, node)| {
                node.kind.meaning() == meaning && self.records.contains_key(index)
            })
            .map(|(index, _)| index)
            .collect()
    }

    /// The metrics of a node by name. Metrics of the stage's first port of metrics have their bare
    /// name, those of further ports `port.name`.
    pub fn metrics(&self, index: NodeIndex) -> Vec<(String, &'a Metric)> {
        let Some(stored) = self.records.get(&index) else {
            return Vec::new();
        };
        let mut named = Vec::new();
        let mut first = true;
        for output in self.node(index).parameters.outputs() {
            let port = stored.record.ports.get(&output.name);
            if let Some(Artifact::Metrics(metrics)) = port.and_then(|port| port.inline.as_ref()) {
                named.extend(metrics.values.iter().map(|(name, metric)| {
                    let name = if first {
                        name.clone()
                    } else {
                        format!("{}.{name}", output.name)
                    };
                    (name, metric)
                }));
                first = false;
            }
        }
        named
    }

    /// One metric of a node: by its bare name, or as `port.name`.
    pub fn metric(&self, index: NodeIndex, name: &str) -> Option<&'a Metric> {
        let stored = self.records.get(&index)?;
        self.node(index)
            .parameters
            .outputs()
            .iter()
            .find_map(
                |output| match stored.record.ports.get(&output.name)?.inline.as_ref()? {
                    Artifact::Metrics(metrics) => {
                        let behind = name.strip_prefix(&output.name);
                        let own = behind.and_then(|rest| rest.strip_prefix('.'));
                        let of_port = own.and_then(|own| metrics.values.get(own));
                        metrics.values.get(name).or(of_port)
                    }
                    _ => None,
                },
            )
    }

    /// The table that a node outputs at `port`.
    pub fn table(&self, index: NodeIndex, port: &str) -> Option<&'a Table> {
        match self
            .records
            .get(&index)?
            .record
            .ports
            .get(port)?
            .inline
            .as_ref()?
        {
            Artifact::Table(table) => Some(table),
            _ => None,
        }
    }

    /// The name of an axis value in tables: its `label:`, or else its id.
    pub fn label<'s>(&self, axis: &str, id: &'s str) -> &'s str
    where
        'a: 's,
    {
        let axis = self.axis(axis);
        let value = axis.and_then(|axis| axis.values.get(axis.position(id)?));
        value.map_or(id, AxisValue::shown)
    }

    /// The position of `id` on its axis, for sorting in the order of the file.
    pub fn position(&self, axis: &str, id: &str) -> usize {
        let axis = self.axis(axis);
        axis.and_then(|axis| axis.position(id))
            .unwrap_or(usize::MAX)
    }

    /// There are few axes, but one may have thousands of values.
    fn axis(&self, name: &str) -> Option<&'a Axis> {
        self.graph.axes.iter().find(|axis| axis.name == name)
    }

    /// The role of an axis.
    pub fn role(&self, axis: &str) -> Option<Role> {
        self.roles().get(axis).copied()
    }

    /// The roles of all axes that have one.
    pub fn roles(&self) -> BTreeMap<&'a str, Role> {
        roles(self.graph)
    }

    /// The ids that `rib` nodes declare as the sources' own set, with their axis.
    pub fn own_ids(&self) -> BTreeSet<(&'a str, &'a str)> {
        self.nodes()
            .filter(|(_, node)| node.kind.meaning() == Meaning::Robustness)
            .filter_map(|(_, node)| {
                let axis = node.with.get("tested_on")?.as_str()?;
                Some((axis, node.with.get("pretrained_on")?.as_str()?))
            })
            .collect()
    }
}

/// The roles of all axes of a graph that have one.
pub fn roles(graph: &Graph) -> BTreeMap<&str, Role> {
    let mut roles = BTreeMap::new();
    for node in graph
        .dag
        .node_weights()
        .filter(|node| node.kind.meaning() == Meaning::Robustness)
    {
        for role in [Role::TunedOn, Role::TestedOn, Role::Repeats] {
            if let Some(axis) = node.with.get(role.name()).and_then(Value::as_str) {
                roles.entry(axis).or_insert(role);
            }
        }
    }
    for axis in graph.axes.iter().filter(|axis| axis.repeats) {
        roles.entry(axis.name.as_str()).or_insert(Role::Repeats);
    }
    roles
}

/// `axes` without those in `names`.
pub fn without<'n>(axes: &'n [(String, String)], names: &[&str]) -> Vec<(&'n str, &'n str)> {
    axes.iter()
        .filter(|(axis, _)| !names.contains(&axis.as_str()))
        .map(|(axis, id)| (axis.as_str(), id.as_str()))
        .collect()
}
