//! `results.json`: every metric of every node, for scripts. It contains results only, not how,
//! where or when they were computed; docs/results.md specifies it.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use serde::Serialize;

use super::document::document;
use super::repeats;
use super::selections::selections;
use super::view::View;
use crate::store::artifact::{Better, Metric};

/// The version of the format, incremented when a change would mislead existing readers.
const FORMAT: u32 = 1;

/// Names and values in insertion order.
#[derive(Default)]
struct Fields<V>(Vec<(String, V)>);

impl<V: Serialize> Serialize for Fields<V> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<V> FromIterator<(String, V)> for Fields<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

#[derive(Serialize)]
struct Header<'a> {
    format: u32,
    workflow: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    profiles: &'a [String],
    set: &'a [String],
    axes: Fields<AxisInfo<'a>>,
    stages: Fields<StageFacts<'a>>,
}

#[derive(Serialize)]
struct AxisInfo<'a> {
    role: Option<&'static str>,
    /// On the axis of test sets: the id of the sources' own set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pretrained_on: Option<&'a str>,
    values: Vec<ValueInfo<'a>>,
}

#[derive(Serialize)]
struct ValueInfo<'a> {
    id: &'a str,
    label: &'a str,
}

#[derive(Serialize)]
struct StageFacts<'a> {
    kinds: Vec<&'a str>,
    axes: &'a [String],
    nodes: usize,
    metrics: BTreeMap<String, MetricInfo<'a>>,
}

#[derive(Clone, PartialEq, Serialize)]
struct MetricInfo<'a> {
    unit: &'a str,
    better: Option<Better>,
    /// Also null if it differs between the nodes of the stage: it is then given with each value.
    chance: Option<f64>,
}

#[derive(Serialize)]
struct NodeResult<'a> {
    id: &'a str,
    stage: &'a str,
    axes: Fields<&'a str>,
    metrics: BTreeMap<String, Observed>,
}

#[derive(Serialize)]
struct Observed {
    value: f64,
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<[f64; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chance: Option<f64>,
}

#[derive(Serialize)]
struct Aggregate<'a> {
    stage: &'a str,
    axes: Fields<&'a str>,
    over: Vec<&'a str>,
    metrics: BTreeMap<String, Averaged>,
}

#[derive(Serialize)]
struct Averaged {
    mean: f64,
    n: u64,
    deviation: Option<f64>,
    interval: Option<[f64; 2]>,
}

/// The document: the indented head, then one line for every node and every aggregate.
pub fn render(view: &View) -> Result<String, serde_json::Error> {
    let stages = stage_facts(view);
    let nodes = node_results(view, &stages);
    let aggregates = aggregates(view);
    let head = Header {
        format: FORMAT,
        workflow: &view.graph.name,
        description: view.graph.description.as_deref(),
        profiles: &view.graph.profiles,
        set: &view.graph.overrides,
        axes: axes(view),
        stages,
    };
    let mut lists = vec![
        ("nodes", lines(&nodes)?),
        ("aggregates", lines(&aggregates)?),
    ];
    let selections = selections(view);
    if !selections.is_empty() {
        let selected: Vec<_> = selections.iter().map(|it| it.line(view)).collect();
        lists.push(("selections", lines(&selected)?));
    }
    document(&head, &lists)
}

fn lines<T: Serialize>(items: &[T]) -> Result<Vec<String>, serde_json::Error> {
    items.iter().map(serde_json::to_string).collect()
}

fn axes<'a>(view: &View<'a>) -> Fields<AxisInfo<'a>> {
    let (roles, own) = (view.roles(), view.own_ids());
    let stages = view.graph.stages.iter();
    let used: BTreeSet<&str> = stages
        .flat_map(|stage| stage.axes.iter().map(String::as_str))
        .collect();
    view.graph
        .axes
        .iter()
        .filter(|axis| used.contains(axis.name.as_str()))
        .map(|axis| {
            let values = axis.values.iter().map(|value| ValueInfo {
                id: &value.id,
                label: value.shown(),
            });
            let info = AxisInfo {
                role: roles.get(axis.name.as_str()).map(|role| role.name()),
                pretrained_on: own
                    .iter()
                    .find(|(of, _)| *of == axis.name)
                    .map(|(_, id)| *id),
                values: values.collect(),
            };
            (axis.name.clone(), info)
        })
        .collect()
}

/// Facts that hold for all nodes of a stage, stages in the order of the file.
fn stage_facts<'a>(view: &View<'a>) -> Fields<StageFacts<'a>> {
    let stages = view.graph.stages.iter();
    let axes: BTreeMap<&str, &[String]> = stages
        .map(|stage| (stage.name.as_str(), stage.axes.as_slice()))
        .collect();
    let facts = view.stages().into_iter().map(|(name, nodes)| {
        let stage = StageFacts {
            kinds: view.kinds(&nodes),
            axes: axes.get(name).copied().unwrap_or_default(),
            nodes: nodes.len(),
            metrics: metric_facts(view, &nodes),
        };
        (name.to_string(), stage)
    });
    facts.collect()
}

fn metric_facts<'a>(view: &View<'a>, nodes: &[NodeIndex]) -> BTreeMap<String, MetricInfo<'a>> {
    let mut facts: BTreeMap<String, MetricInfo<'a>> = BTreeMap::new();
    for (name, metric) in nodes.iter().flat_map(|index| view.metrics(*index)) {
        let info = MetricInfo {
            unit: &metric.unit,
            better: metric.better,
            chance: metric.chance,
        };
        let known = facts.entry(name).or_insert_with(|| info.clone());
        if known.chance != info.chance {
            known.chance = None;
        }
    }
    facts
}

fn node_results<'a>(view: &View<'a>, stages: &Fields<StageFacts<'a>>) -> Vec<NodeResult<'a>> {
    let shared: BTreeMap<&str, &StageFacts> = stages
        .0
        .iter()
        .map(|(name, facts)| (name.as_str(), facts))
        .collect();
    let observed = |stage: &str, name: &str, metric: &Metric| Observed {
        value: metric.value,
        n: metric.n,
        interval: metric.interval,
        chance: metric.chance.filter(|_| {
            let of_stage = shared.get(stage).and_then(|facts| facts.metrics.get(name));
            of_stage.is_none_or(|info| info.chance != metric.chance)
        }),
    };
    view.nodes()
        .filter_map(|(index, node)| {
            let metrics: BTreeMap<String, Observed> = view
                .metrics(index)
                .into_iter()
                .map(|(name, metric)| {
                    let value = observed(&node.stage, &name, metric);
                    (name, value)
                })
                .collect();
            (!metrics.is_empty()).then(|| NodeResult {
                id: &node.id,
                stage: &node.stage,
                axes: node
                    .axes
                    .iter()
                    .map(|(axis, id)| (axis.clone(), id.as_str()))
                    .collect(),
                metrics,
            })
        })
        .collect()
}

/// Aggregates of the nodes of a stage that differ only in their repeats. Only for stages with a
/// `repeats` axis, regardless of the number of repeats.
fn aggregates<'a>(view: &View<'a>) -> Vec<Aggregate<'a>> {
    let mut aggregates: Vec<Aggregate<'a>> = Vec::new();
    for group in repeats::groups(view) {
        let metrics = group.estimates(view).into_iter().map(|(name, over)| {
            let averaged = Averaged {
                mean: over.mean,
                n: over.n,
                deviation: over.deviation(),
                interval: over.interval,
            };
            (name, averaged)
        });
        let metrics: BTreeMap<String, Averaged> = metrics.collect();
        if !metrics.is_empty() {
            aggregates.push(Aggregate {
                stage: group.stage,
                axes: group
                    .axes
                    .into_iter()
                    .map(|(axis, id)| (axis.to_string(), id))
                    .collect(),
                over: group.over,
                metrics,
            });
        }
    }
    aggregates
}
