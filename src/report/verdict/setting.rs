//! Finds where a run deviates from the published setting, and which nodes that affects.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::bind::Binder;
use super::published::{Condition, Setting};
use crate::diag::{Problems, listed, suggest};
use crate::workflow::graph::{Graph, Input, Node};
use crate::workflow::kind::Meaning;
use crate::workflow::reading::Text;

/// One deviation of a run from the published setting.
#[derive(Clone, Debug)]
pub struct Deviation {
    /// The deviation, as text.
    pub text: String,
    /// Affected numbers are judged anyway.
    pub judge: bool,
    /// Nodes whose own parameters differ.
    own: Vec<bool>,
    /// The axis of which other ids are gathered, and the published ids.
    gathers: Option<(String, BTreeSet<String>)>,
    /// All nodes that it affects.
    touched: Vec<bool>,
}

impl Deviation {
    /// Whether it affects an output of a node.
    pub fn touches(&self, node: NodeIndex) -> bool {
        self.touched.get(node.index()).copied().unwrap_or_default()
    }

    /// Whether it affects one metric of a node.
    pub fn touches_metric(&self, graph: &Graph, node: NodeIndex, metric: &str) -> bool {
        let own = self.own.get(node.index()).copied().unwrap_or_default();
        own || behind(&graph.dag[node], metric).any(|input| self.comes_by(input))
    }

    fn comes_by(&self, input: &Input) -> bool {
        self.gathers_otherwise(input)
            || input.members.iter().any(|member| self.touches(member.node))
    }

    fn gathers_otherwise(&self, input: &Input) -> bool {
        let Some((axis, expected)) = &self.gathers else {
            return false;
        };
        let ids: BTreeSet<&String> = input
            .members
            .iter()
            .filter_map(|member| member.axes.get(axis))
            .collect();
        !ids.is_empty() && !ids.into_iter().eq(expected)
    }

    fn spread(mut self, graph: &Graph) -> Option<Self> {
        for index in &graph.order {
            let node = &graph.dag[*index];
            let by_input = node.inputs.iter().any(|input| self.comes_by(input));
            self.touched[index.index()] = self.own[index.index()] || by_input;
        }
        self.touched.contains(&true).then_some(self)
    }
}

/// The inputs that a metric of a node depends on. A `rib` node's mean before fine-tuning does not
/// depend on the fine-tuned models.
pub fn behind<'n>(node: &'n Node, metric: &str) -> impl Iterator<Item = &'n Input> {
    let before = node.kind.meaning() == Meaning::Robustness && metric == "before";
    let inputs = node.inputs.iter();
    inputs.filter(move |input| !before || input.name == "before")
}

/// The deviations of this run from `settings`.
pub fn deviations(
    graph: &Graph,
    binder: &Binder,
    settings: &[Setting],
    problems: &mut Problems,
) -> Vec<Deviation> {
    let mut found = Vec::new();
    for setting in settings {
        let of_setting = match &setting.what {
            Condition::With { stage, with } => of_parameters(graph, binder, stage, with, problems),
            Condition::Gathers { axis, ids } => {
                of_axis(graph, axis, ids, problems).into_iter().collect()
            }
        };
        for deviation in of_setting {
            let deviation = Deviation {
                judge: setting.judge,
                text: setting.note.clone().unwrap_or(deviation.text),
                ..deviation
            };
            found.extend(deviation.spread(graph));
        }
    }
    found
}

fn of_axis(
    graph: &Graph,
    axis: &Text,
    ids: &[String],
    problems: &mut Problems,
) -> Option<Deviation> {
    let known = graph.axes.iter().find(|known| known.name == axis.text);
    let Some(known) = known else {
        let message = format!("the workflow has no axis `{}`", axis.text);
        let found = problems.error(axis.place, "unknown-axis", message);
        let names: Vec<&str> = graph.axes.iter().map(|axis| axis.name.as_str()).collect();
        found.hint(suggest(&axis.text, "axes", names));
        return None;
    };
    let expected: BTreeSet<String> = ids
        .iter()
        .map(|id| known.find(id).map_or(id, |value| &value.id).clone())
        .collect();
    let own: BTreeSet<String> = known.values.iter().map(|value| value.id.clone()).collect();
    let missing: Vec<&str> = expected.difference(&own).map(String::as_str).collect();
    let more: Vec<&str> = own.difference(&expected).map(String::as_str).collect();
    let words = match (missing.len(), more.len()) {
        // Nodes may also be skipped by `skip:`.
        (0, 0) => "without some cells".to_string(),
        (_, 0) if missing.len() > own.len() => {
            format!("only {}", listed(own.iter().map(String::as_str)))
        }
        (_, 0) => format!("without {}", listed(missing.iter().copied())),
        (0, _) => format!("with {}", listed(more.iter().copied())),
        _ => format!(
            "without {}, with {}",
            listed(missing.iter().copied()),
            listed(more.iter().copied())
        ),
    };
    Some(Deviation {
        text: format!("{}: {words}", axis.text),
        judge: false,
        own: vec![false; graph.dag.node_count()],
        gathers: Some((axis.text.clone(), expected)),
        touched: vec![false; graph.dag.node_count()],
    })
}

/// One deviation for every parameter.
fn of_parameters(
    graph: &Graph,
    binder: &Binder,
    stage: &Text,
    with: &[(Text, Value)],
    problems: &mut Problems,
) -> Vec<Deviation> {
    let Some(nodes) = binder.nodes(stage, problems) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for (name, expected) in with {
        match Parameter::of(graph, &nodes, name, expected) {
            Some(parameter) => found.extend(parameter.deviation(graph, stage)),
            None if nodes.is_empty() => {}
            None => {
                let message = format!(
                    "no node of `{}` takes a parameter `{}` of this value",
                    stage.text, name.text
                );
                let problem = problems.error(name.place, "unknown-field", message);
                let kind = graph.dag[nodes[0]].kind.name();
                problem.hint(format!("`ribflow kinds {kind}` lists what it takes"));
            }
        }
    }
    found
}

/// How the nodes of a stage compare with one expected parameter.
struct Parameter<'a> {
    name: &'a str,
    expected: &'a Value,
    /// The other values that deviating nodes have.
    instead: BTreeSet<String>,
    own: Vec<bool>,
}

impl<'a> Parameter<'a> {
    /// `None` if no node has such a parameter: kinds without it (the cases of a stage may be of
    /// several kinds) can't deviate.
    fn of(graph: &Graph, nodes: &[NodeIndex], name: &'a Text, expected: &'a Value) -> Option<Self> {
        // Equal nodes share their parameters.
        let mut known: HashMap<*const Value, Option<bool>> = HashMap::new();
        let mut parameter = Self {
            name: &name.text,
            expected,
            instead: BTreeSet::new(),
            own: vec![false; graph.dag.node_count()],
        };
        let mut taken = false;
        for index in nodes {
            let node = &graph.dag[*index];
            let differs = known
                .entry(Arc::as_ptr(&node.with))
                .or_insert_with(|| differs(node, &name.text, expected));
            taken |= differs.is_some();
            if *differs == Some(true) {
                parameter.own[index.index()] = true;
                let own = node.with.get(&name.text).unwrap_or(&Value::Null);
                parameter.instead.insert(in_words(own));
            }
        }
        taken.then_some(parameter)
    }

    fn deviation(self, graph: &Graph, stage: &Text) -> Option<Deviation> {
        if self.instead.is_empty() {
            return None;
        }
        let instead: Vec<&str> = self.instead.iter().map(String::as_str).collect();
        Some(Deviation {
            text: format!(
                "{}: {} {}, published with {}",
                stage.text,
                self.name,
                instead.join(" or "),
                in_words(self.expected)
            ),
            judge: false,
            own: self.own,
            gathers: None,
            touched: vec![false; graph.dag.node_count()],
        })
    }
}

/// Whether the expected value would change the node; `None` if it can't have it. Both are compared
/// in canonical form, so that an omitted default equals an explicit one.
fn differs(node: &Node, name: &str, expected: &Value) -> Option<bool> {
    let mut with = node.with.as_object()?.clone();
    match expected {
        Value::Null => with.remove(name),
        _ => with.insert(name.to_string(), expected.clone()),
    };
    if expected.is_null() && !takes(node, name) {
        return None;
    }
    let expected = node.kind.parse(&Value::Object(with)).ok()?;
    Some(expected.canonical() != node.parameters.canonical())
}

/// Whether the kind has a parameter of that name.
fn takes(node: &Node, name: &str) -> bool {
    let schema = node.kind.schema();
    let properties = schema.get("properties");
    properties.is_some_and(|properties| properties.get(name).is_some())
}

fn in_words(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_string(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
