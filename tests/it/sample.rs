//! Graphs and records made by hand: runs whose numbers are invented, for tests of what shows them.
//! `rib` and `report` nodes are computed by the real kinds.

mod fakes;

use fakes::{Fake, FakeParameters, NoBlobs, Silent};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use petgraph::graph::{DiGraph, NodeIndex};
use ribflow::contract::port::{OutputSpec, PortType};
use ribflow::contract::recipe::Recipe;
use ribflow::contract::source::Source;
use ribflow::digest::Digest;
use ribflow::rng::Stream;
use ribflow::stages;
use ribflow::stages::task::{Context, Progress, TaskInput};
use ribflow::store::StoredRecord;
use ribflow::store::artifact::{Artifact, Better, Blob, BlobError, Blobs, Metric, Metrics};
use ribflow::store::record::{Port, Provenance, Record};
use ribflow::workflow::graph::{Axis, AxisValue, Graph, Input, Member, Node, Resources, StageInfo};
use ribflow::workflow::kind::{
    BoundInput, Comparison, InputSpec, Kind, Meaning, ParameterProblem, Parameters,
};
use serde_json::{Value, json};

/// A graph with the records of its nodes.
pub struct Sample {
    pub graph: Graph,
    pub records: BTreeMap<NodeIndex, StoredRecord>,
}

type Ids<'a> = Vec<(&'a str, &'a str)>;

impl Sample {
    pub fn new(name: &str) -> Self {
        let graph = Graph {
            name: name.to_string(),
            description: None,
            file: PathBuf::from("/nowhere/sample.yaml"),
            known_profiles: Vec::new(),
            profiles: Vec::new(),
            overrides: Vec::new(),
            strict: false,
            axes: Vec::new(),
            stages: Vec::new(),
            dag: DiGraph::new(),
            order: Vec::new(),
            skipped: BTreeMap::new(),
            goals: Vec::new(),
            variables: BTreeMap::new(),
            locked: Default::default(),
            places: Default::default(),
        };
        Self {
            graph,
            records: BTreeMap::new(),
        }
    }

    pub fn axis(&mut self, name: &str, values: &[(&str, Option<&str>)]) {
        let values = values.iter().map(|(id, label)| AxisValue {
            id: id.to_string(),
            label: label.map(str::to_string),
            written: id.to_string(),
            typed: (*id).into(),
        });
        self.graph.axes.push(Axis {
            repeats: false,
            name: name.to_string(),
            values: values.collect(),
            elsewhere: Default::default(),
            positions: Default::default(),
        });
    }

    pub fn stage(&mut self, name: &str, axes: &[&str]) {
        self.graph.stages.push(StageInfo {
            name: name.to_string(),
            axes: axes.iter().map(|axis| axis.to_string()).collect(),
            description: None,
            skip: None,
        });
    }

    /// Adds a node without a record.
    pub fn node(
        &mut self,
        stage: &str,
        kind: &'static str,
        axes: &Ids,
        with: Value,
        inputs: Vec<Input>,
    ) -> NodeIndex {
        let ids: Vec<String> = axes
            .iter()
            .map(|(axis, id)| format!("{axis}={id}"))
            .collect();
        let id = match ids.len() {
            0 => stage.to_string(),
            _ => format!("{stage}[{}]", ids.join(",")),
        };
        let producers: Vec<NodeIndex> = inputs
            .iter()
            .flat_map(|input| &input.members)
            .map(|member| member.node)
            .collect();
        let index = self.graph.dag.add_node(Node {
            id,
            stage: stage.to_string(),
            axes: axes
                .iter()
                .map(|(axis, id)| (axis.to_string(), id.to_string()))
                .collect(),
            kind: Arc::new(Fake(kind)),
            with: Arc::new(with),
            parameters: Arc::new(FakeParameters(kind)),
            inputs,
            resources: Resources::default(),
            missing_env: Vec::new(),
        });
        for producer in producers {
            self.graph.dag.update_edge(producer, index, ());
        }
        self.graph.order.push(index);
        index
    }

    /// Gives a node a record with these ports.
    pub fn record(&mut self, index: NodeIndex, ports: BTreeMap<String, Artifact>) {
        let node = &self.graph.dag[index];
        let ports = ports.into_iter().map(|(name, artifact)| {
            let port = Port {
                gives: PortType::Metrics,
                digest: Digest::of(&artifact.to_bytes()),
                bytes: artifact.to_bytes().len() as u64,
                inline: Some(artifact),
            };
            (name, port)
        });
        let record = Record {
            format: 1,
            key: Digest::of(node.id.as_bytes()),
            recipe: Recipe {
                kind: node.kind.name().to_string(),
                version: 1,
                with: (*node.with).clone(),
                inputs: BTreeMap::new(),
                device: None,
            },
            ports: ports.collect(),
            provenance: Provenance {
                ribflow: "0.1.0".to_string(),
                device_class: "cpu/x86-64-v4".to_string(),
                threads: 2,
                started: 1_772_000_000 + index.index() as u64,
                wall_seconds: 0.25,
                notes: BTreeMap::new(),
                accepted: Vec::new(),
            },
        };
        let stored = StoredRecord::of(record);
        self.records.insert(index, stored);
    }

    /// Adds a node whose record holds these metrics.
    pub fn measured(
        &mut self,
        stage: &str,
        kind: &'static str,
        axes: &Ids,
        inputs: Vec<Input>,
        metrics: &[(&str, Metric)],
    ) -> NodeIndex {
        let index = self.node(stage, kind, axes, json!({}), inputs);
        let values = metrics
            .iter()
            .map(|(name, metric)| (name.to_string(), metric.clone()));
        let metrics = Artifact::Metrics(Metrics {
            values: values.collect(),
        });
        self.record(index, BTreeMap::from([("metrics".to_string(), metrics)]));
        index
    }

    /// Adds a node and runs it with the real kind.
    pub fn computed(
        &mut self,
        stage: &str,
        kind: &'static str,
        axes: &Ids,
        with: Value,
        inputs: Vec<Input>,
    ) -> NodeIndex {
        let members = |input: &Input| -> Vec<TaskInput> {
            let artifact = |member: &Member| {
                let port = &self.records[&member.node].record.ports[&member.port];
                TaskInput {
                    axes: member.axes.clone(),
                    artifact: port.inline.clone().unwrap(),
                    roots: Vec::new(),
                }
            };
            input.members.iter().map(artifact).collect()
        };
        let named = inputs
            .iter()
            .map(|input| (input.name.clone(), members(input)));
        let mut context = Context {
            inputs: named.collect(),
            blobs: &NoBlobs,
            scratch: Path::new("."),
            downloads: Path::new("."),
            environments: Path::new("."),
            locks: &ribflow::fsx::Locks::of_one_host(Path::new("")),
            failed: Path::new("/nonexistent"),
            threads: 1,
            device: candle_core::Device::Cpu,
            derived: Default::default(),
            progress: &Silent,
            cancelled: &AtomicBool::new(false),
            grace: std::time::Duration::ZERO,
        };
        let registry = stages::registry();
        let task = registry.task(kind, &with).unwrap().unwrap();
        let outputs = task.run(&mut context).unwrap();
        let index = self.node(stage, kind, axes, with, inputs);
        self.record(index, outputs.ports);
        index
    }
}

/// An input that takes these nodes by their default port, each with its gathered axes.
pub fn gathered(name: &str, members: Vec<(NodeIndex, Ids)>) -> Input {
    let member = |(node, axes): (NodeIndex, Ids)| Member {
        node,
        port: "metrics".to_string(),
        axes: axes
            .into_iter()
            .map(|(axis, id)| (axis.to_string(), id.to_string()))
            .collect(),
    };
    Input {
        name: name.to_string(),
        many: true,
        members: members.into_iter().map(member).collect(),
    }
}

pub fn one(name: &str, node: NodeIndex) -> Input {
    Input {
        many: false,
        ..gathered(name, vec![(node, Vec::new())])
    }
}

pub fn percent(value: f64) -> Metric {
    Metric {
        n: Some(200),
        better: Some(Better::Higher),
        chance: Some(10.0),
        ..Metric::new(value, "percent")
    }
}

/// What of mini-RIB a sample has.
pub struct Grid {
    pub sources: Vec<(&'static str, Option<&'static str>)>,
    pub domains: Vec<&'static str>,
    pub methods: Vec<&'static str>,
    pub seeds: Vec<&'static str>,
}

impl Grid {
    pub fn small() -> Self {
        Self {
            sources: vec![("narrow", Some("Narrow <& one>"))],
            domains: vec!["v2", "r", "c"],
            methods: vec!["ft", "lp"],
            seeds: vec!["0", "1"],
        }
    }
}

/// A run of mini-RIB's shape with invented accuracies.
pub fn mini_rib(grid: &Grid) -> Sample {
    let mut sample = Sample::new("mini-rib");
    sample.graph.description =
        Some("The benchmark's shape on built-in images. No download, no GPU.".to_string());
    let plain = |ids: &[&'static str]| -> Vec<(&'static str, Option<&'static str>)> {
        ids.iter().map(|id| (*id, None)).collect()
    };
    let tests: Vec<&str> = std::iter::once("own")
        .chain(grid.domains.iter().copied())
        .collect();
    sample.axis("source", &grid.sources);
    sample.axis("domain", &plain(&grid.domains));
    sample.axis("test", &plain(&tests));
    sample.axis("method", &plain(&grid.methods));
    sample.axis("seed", &plain(&grid.seeds));
    for (stage, axes) in [
        ("pool", &["source"][..]),
        ("images", &["source", "test"]),
        ("pretrained", &["source", "seed"]),
        ("tuned", &["source", "domain", "method", "seed"]),
        ("baseline", &["source", "seed", "test"]),
        ("accuracy", &["source", "domain", "method", "seed", "test"]),
        ("distance", &["source", "domain", "seed"]),
        ("robustness", &["source", "method"]),
        ("summary", &[]),
    ] {
        sample.stage(stage, axes);
    }
    sample
        .graph
        .skipped
        .insert("accuracy".to_string(), grid.domains.len());
    let mut chance = Stream::new(7, "sample");
    let (mut baselines, mut accuracies) = (Vec::new(), Vec::new());
    let (mut distances, mut robustness) = (Vec::new(), Vec::new());
    for (place, (source, _)) in grid.sources.iter().enumerate() {
        let pool = sample.node(
            "pool",
            "dataset",
            &vec![("source", source)],
            json!({ "builtin": "mini-rib" }),
            vec![],
        );
        let images: Vec<NodeIndex> = tests
            .iter()
            .map(|test| {
                let axes = vec![("source", *source), ("test", *test)];
                sample.node(
                    "images",
                    "dataset",
                    &axes,
                    json!({ "builtin": "mini-rib" }),
                    vec![],
                )
            })
            .collect();
        for index in images.iter().copied().chain([pool]) {
            sample.record(index, BTreeMap::new());
        }
        for seed in &grid.seeds {
            let axes = vec![("source", *source), ("seed", *seed)];
            let pretrained = sample.node(
                "pretrained",
                "pretrain",
                &axes,
                json!({}),
                vec![one("data", pool)],
            );
            sample.record(pretrained, BTreeMap::new());
            for (number, test) in tests.iter().enumerate() {
                let base = if number == 0 {
                    91.0
                } else {
                    78.0 - 5.5 * number as f64 + 9.0 * place as f64
                };
                let value = percent(((base + chance.range(-2.0, 2.0)) * 2.0).round() / 2.0);
                let axes = vec![("source", *source), ("seed", *seed), ("test", *test)];
                let inputs = vec![one("data", images[number]), one("model", pretrained)];
                let index = sample.measured(
                    "baseline",
                    "evaluate",
                    &axes,
                    inputs,
                    &[("top1", value.clone()), ("loss", Metric::new(1.1, "nats"))],
                );
                baselines.push((index, axes, value.value));
            }
            for (number, domain) in grid.domains.iter().enumerate() {
                let far = 6.0 + 4.0 * number as f64 + chance.range(-3.0, 3.0);
                let axes = vec![("source", *source), ("domain", *domain), ("seed", *seed)];
                let inputs = vec![
                    one("a", pool),
                    one("b", images[number + 1]),
                    one("model", pretrained),
                ];
                let value = Metric {
                    better: Some(Better::Lower),
                    ..Metric::new(far, "")
                };
                let index =
                    sample.measured("distance", "ot", &axes, inputs, &[("distance", value)]);
                distances.push((index, axes));
                for (step, method) in grid.methods.iter().enumerate() {
                    let axes = vec![
                        ("source", *source),
                        ("domain", *domain),
                        ("method", *method),
                        ("seed", *seed),
                    ];
                    let inputs = vec![one("data", images[number + 1]), one("init", pretrained)];
                    let tuned = sample.node(
                        "tuned",
                        "finetune",
                        &axes,
                        json!({ "method": method }),
                        inputs,
                    );
                    sample.record(tuned, BTreeMap::new());
                    for (tested, test) in
                        tests.iter().enumerate().filter(|(_, test)| *test != domain)
                    {
                        let strength = [1.0, 0.25, 0.5][step % 3];
                        let near = (tested as f64 - number as f64 - 1.0).abs();
                        let change = match tested {
                            0 => -far * 0.6,
                            _ => 7.0 - 3.2 * near - 5.0 * place as f64,
                        };
                        let before = baselines
                            .iter()
                            .rev()
                            .find(|(_, axes, _)| axes[2].1 == *test && axes[0].1 == *source)
                            .unwrap()
                            .2;
                        let value = before + strength * change + chance.range(-2.0, 2.0);
                        let value = percent((value.clamp(0.0, 100.0) * 2.0).round() / 2.0);
                        let mut axes = axes.clone();
                        axes.push(("test", test));
                        let inputs = vec![one("data", images[tested]), one("model", tuned)];
                        let index = sample.measured(
                            "accuracy",
                            "evaluate",
                            &axes,
                            inputs,
                            &[("top1", value), ("loss", Metric::new(1.0, "nats"))],
                        );
                        accuracies.push((index, axes));
                    }
                }
            }
        }
    }
    for (source, _) in &grid.sources {
        for method in &grid.methods {
            let of = |axes: &Ids| {
                axes.iter().all(|(axis, id)| {
                    (*axis != "source" || id == source) && (*axis != "method" || id == method)
                })
            };
            let gather = |axes: &Ids<'static>| -> Ids<'static> {
                axes.iter()
                    .filter(|(axis, _)| !["source", "method"].contains(axis))
                    .copied()
                    .collect()
            };
            let before = baselines
                .iter()
                .filter(|(_, axes, _)| of(axes))
                .map(|(index, axes, _)| (*index, gather(axes)));
            let after = accuracies
                .iter()
                .filter(|(_, axes)| of(axes))
                .map(|(index, axes)| (*index, gather(axes)));
            let inputs = vec![
                gathered("after", after.collect()),
                gathered("before", before.collect()),
            ];
            let axes = vec![("source", *source), ("method", *method)];
            let with = json!({ "tuned_on": "domain", "tested_on": "test", "pretrained_on": "own", "repeats": "seed" });
            robustness.push((
                sample.computed("robustness", "rib", &axes, with, inputs),
                axes,
            ));
        }
    }
    let baselines = baselines
        .into_iter()
        .map(|(index, axes, _)| (index, axes))
        .collect();
    let inputs = vec![
        gathered("accuracy", accuracies),
        gathered("baseline", baselines),
        gathered("distance", distances),
        gathered("robustness", robustness),
    ];
    let summary = sample.computed("summary", "report", &vec![], json!({}), inputs);
    sample.graph.goals.push(summary);
    sample
}

/// A few evaluations and nothing else: no axis, no benchmark.
pub fn my_images() -> Sample {
    let mut sample = Sample::new("my-images");
    let mut evaluations = Vec::new();
    for (stage, value) in [
        ("before_photos", 81.5),
        ("before_drawings", 44.0),
        ("after_photos", 96.5),
        ("after_drawings", 38.5),
    ] {
        sample.stage(stage, &[]);
        let metrics = [
            ("top1", percent(value)),
            ("loss", Metric::new(1.0 - value / 200.0, "nats")),
        ];
        let index = sample.measured(stage, "evaluate", &vec![], vec![], &metrics);
        evaluations.push((index, vec![]));
    }
    sample.stage("summary", &[]);
    sample.computed(
        "summary",
        "report",
        &vec![],
        json!({}),
        vec![gathered("accuracy", evaluations)],
    );
    sample
}
