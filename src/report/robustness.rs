//! The benchmark of the `rib` nodes of a graph: fine-tuning sets, test sets and results. Reads RI,
//! mRI and drops from their records and computes none of them.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::graph::NodeIndex;
use serde_json::Value;

use super::view::View;
use crate::ml::metrics::estimate::{Estimate, estimate};
use crate::store::artifact::Metric;
use crate::workflow::graph::Node;
use crate::workflow::kind::Meaning;

/// All `rib` nodes of one stage.
pub struct Benchmark<'a> {
    pub stage: &'a str,
    /// The axis by which figures are split into panels: the first of the stage, if it has more than
    /// one.
    pub panel_axis: Option<&'a str>,
    pub experiments: Vec<Experiment<'a>>,
}

/// One `rib` node.
pub struct Experiment<'a> {
    pub index: NodeIndex,
    pub node: &'a Node,
    /// The ids of the domains for fine-tuning, in the order of the file.
    pub tuned: Vec<&'a str>,
    /// The ids of the test sets, in the order of the file: the sources' own set and the domains.
    pub tested: Vec<&'a str>,
    /// The id of the sources' own set.
    pub own: Option<&'a str>,
    pub tuned_axis: &'a str,
    pub tested_axis: &'a str,
    /// The metric used as accuracy.
    pub metric: &'a str,
    /// By id of the test set.
    pub before: BTreeMap<&'a str, Accuracy>,
    /// By ids of the fine-tuning set and the test set.
    pub after: BTreeMap<(&'a str, &'a str), Accuracy>,
}

/// One accuracy, the mean over repeats, and the nodes it was read from.
pub struct Accuracy {
    pub value: Estimate,
    pub nodes: Vec<NodeIndex>,
}

/// The benchmarks of a graph, by stage, as far as records exist.
pub fn benchmarks<'a>(view: &View<'a>) -> Vec<Benchmark<'a>> {
    let mut benchmarks: Vec<Benchmark<'a>> = Vec::new();
    let all = view
        .nodes()
        .filter(|(_, node)| node.kind.meaning() == Meaning::Robustness);
    for (index, _) in all {
        let Some(experiment) = Experiment::read(view, index) else {
            continue;
        };
        // It has no results, not even for the models before fine-tuning.
        if experiment.before.is_empty() && !view.records.contains_key(&index) {
            continue;
        }
        let stage = experiment.node.stage.as_str();
        if benchmarks
            .last()
            .is_none_or(|benchmark| benchmark.stage != stage)
        {
            let axes = &experiment.node.axes;
            let panel_axis = axes
                .first()
                .filter(|_| axes.len() > 1)
                .map(|(axis, _)| axis.as_str());
            benchmarks.push(Benchmark {
                stage,
                panel_axis,
                experiments: Vec::new(),
            });
        }
        if let Some(benchmark) = benchmarks.last_mut() {
            benchmark.experiments.push(experiment);
        }
    }
    benchmarks
}

impl<'a> Benchmark<'a> {
    /// The experiments by panel, in the order of the file.
    pub fn panels(&self) -> Vec<(Option<&'a str>, Vec<&Experiment<'a>>)> {
        let mut panels: Vec<(Option<&'a str>, Vec<&Experiment<'a>>)> = Vec::new();
        for experiment in &self.experiments {
            let id = experiment.panel(self.panel_axis);
            match panels.iter_mut().find(|(panel, _)| *panel == id) {
                Some((_, members)) => members.push(experiment),
                None => panels.push((id, vec![experiment])),
            }
        }
        panels
    }

    /// The series (everything except the panel axis) in order of first appearance.
    pub fn series(&self, view: &View<'a>) -> Vec<String> {
        let mut series: Vec<String> = Vec::new();
        for experiment in &self.experiments {
            let name = experiment.series(view, self.panel_axis);
            if !series.contains(&name) {
                series.push(name);
            }
        }
        series
    }

    /// The nodes of all experiments.
    pub fn nodes(&self) -> Vec<NodeIndex> {
        self.experiments
            .iter()
            .map(|experiment| experiment.index)
            .collect()
    }

    /// The nodes of the accuracies before fine-tuning.
    pub fn baselines(&self) -> Vec<NodeIndex> {
        let before = self
            .experiments
            .iter()
            .flat_map(|experiment| experiment.before.values());
        before.flat_map(|accuracy| accuracy.nodes.clone()).collect()
    }

    /// The maximum number of repeats that the means are taken over.
    pub fn repeats(&self, view: &View<'a>) -> u64 {
        let mri = self
            .experiments
            .iter()
            .filter_map(|experiment| experiment.metric(view, "mri"));
        mri.filter_map(|mri| mri.n).max().unwrap_or(1)
    }

    /// The axis of fine-tuning sets.
    pub fn tuned_axis(&self) -> &'a str {
        self.experiments
            .first()
            .map_or("", |experiment| experiment.tuned_axis)
    }

    /// The axis of test sets.
    pub fn tested_axis(&self) -> &'a str {
        self.experiments
            .first()
            .map_or("", |experiment| experiment.tested_axis)
    }

    /// The ids of all test sets, in the order of the file.
    pub fn tested(&self) -> Vec<&'a str> {
        let mut tested: Vec<&'a str> = Vec::new();
        for id in self
            .experiments
            .iter()
            .flat_map(|experiment| &experiment.tested)
        {
            if !tested.contains(id) {
                tested.push(id);
            }
        }
        tested
    }

    /// The ids of all domains for fine-tuning, in the order of the file.
    pub fn domains(&self) -> Vec<&'a str> {
        let mut domains: Vec<&'a str> = Vec::new();
        for domain in self
            .experiments
            .iter()
            .flat_map(|experiment| &experiment.tuned)
        {
            if !domains.contains(domain) {
                domains.push(domain);
            }
        }
        domains
    }
}

impl<'a> Experiment<'a> {
    fn read(view: &View<'a>, index: NodeIndex) -> Option<Self> {
        let node = view.node(index);
        let role = |name: &str| node.with.get(name).and_then(Value::as_str);
        let (tuned_axis, tested_axis) = (role("tuned_on")?, role("tested_on")?);
        let metric = role("metric").unwrap_or("top1");
        let mut before: BTreeMap<&'a str, Vec<NodeIndex>> = BTreeMap::new();
        let mut after: BTreeMap<(&'a str, &'a str), Vec<NodeIndex>> = BTreeMap::new();
        for input in &node.inputs {
            for member in &input.members {
                let axis = |name: &str| member.axes.get(name).map(String::as_str);
                match (input.name.as_str(), axis(tuned_axis), axis(tested_axis)) {
                    ("before", _, Some(tested)) => {
                        before.entry(tested).or_default().push(member.node);
                    }
                    ("after", Some(tuned), Some(tested)) => {
                        after.entry((tuned, tested)).or_default().push(member.node);
                    }
                    _ => {}
                }
            }
        }
        let tuned: BTreeSet<&str> = after.keys().map(|(tuned, _)| *tuned).collect();
        let tested: BTreeSet<&str> = before.keys().copied().collect();
        Some(Self {
            index,
            node,
            tuned: ordered(view, tuned_axis, tuned),
            tested: ordered(view, tested_axis, tested),
            own: role("pretrained_on"),
            metric,
            tuned_axis,
            tested_axis,
            before: accuracies(view, before, metric),
            after: accuracies(view, after, metric),
        })
    }

    /// The id on the panel axis.
    pub fn panel(&self, axis: Option<&str>) -> Option<&'a str> {
        let axis = axis?;
        let found = self.node.axes.iter().find(|(name, _)| name == axis)?;
        Some(found.1.as_str())
    }

    /// The labels on all other axes.
    pub fn series(&self, view: &View<'a>, panel_axis: Option<&str>) -> String {
        let labels: Vec<&str> = self
            .node
            .axes
            .iter()
            .filter(|(axis, _)| Some(axis.as_str()) != panel_axis)
            .map(|(axis, id)| view.label(axis, id))
            .collect();
        if labels.is_empty() {
            self.node.stage.clone()
        } else {
            labels.join(" · ")
        }
    }

    /// The labels on all axes: `rich · wise`.
    pub fn name(&self, view: &View<'a>) -> String {
        self.series(view, None)
    }

    /// A metric of the node itself.
    pub fn metric(&self, view: &View<'a>, name: &str) -> Option<&'a Metric> {
        view.metric(self.index, name)
    }

    /// RI of one domain, as the node recorded it.
    pub fn ri(&self, view: &View<'a>, domain: &str) -> Option<&'a Metric> {
        self.metric(view, &format!("ri[{domain}]"))
    }
}

fn accuracies<'a, K: Ord>(
    view: &View<'a>,
    cells: BTreeMap<K, Vec<NodeIndex>>,
    metric: &str,
) -> BTreeMap<K, Accuracy> {
    cells
        .into_iter()
        .filter_map(|(cell, nodes)| {
            let observed = nodes.iter().filter_map(|node| view.metric(*node, metric));
            let values: Vec<f64> = observed.map(|metric| metric.value).collect();
            Some((
                cell,
                Accuracy {
                    value: estimate(&values)?,
                    nodes,
                },
            ))
        })
        .collect()
}

fn ordered<'a>(view: &View<'a>, axis: &str, ids: BTreeSet<&'a str>) -> Vec<&'a str> {
    let mut ids: Vec<&'a str> = ids.into_iter().collect();
    ids.sort_by_key(|id| view.position(axis, id));
    ids
}
