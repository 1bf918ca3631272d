//! A workflow of probes, a store, and runs of the one in the other, in this process or in one
//! that can be killed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use ribflow::digest::Digest;
use ribflow::engine::event::{Event, Summary};
use ribflow::engine::journal::WorkflowIdentity;
use ribflow::engine::{EngineError, RunOptions, RunResult, Survey};
use ribflow::stages::registry::Registry;
use ribflow::store::Store;
use ribflow::workflow::graph::Graph;
use ribflow::workflow::{LoadOptions, load};
use tokio::sync::{mpsc, watch};

use super::probe::registry;
use crate::space::TestSpace;

const WORKER: &str = "RIBFLOW_TEST_WORKER";
const RUN: &str = "RIBFLOW_TEST_RUN";

/// A folder with a store, a trace of what ran, and workflow files.
pub struct Bench {
    pub space: TestSpace,
}

/// How a run went.
pub struct Ran {
    pub result: RunResult,
    pub events: Vec<Event>,
}

impl Bench {
    /// `stages` is the text under `stages:`, in which every probe leaves its trace.
    pub fn new(stages: &str) -> Self {
        let bench = Self {
            space: TestSpace::new(),
        };
        fs::create_dir_all(bench.trace()).unwrap();
        bench.rewrite(stages);
        bench
    }

    /// Replaces the stages of the workflow.
    pub fn rewrite(&self, stages: &str) {
        let head = "ribflow: 1\nname: bench\naxes: { n: [0, 1, 2, 3, 4, 5, 6, 7] }\nstages:\n";
        let mut text = head.to_string();
        for line in stages.lines().filter(|line| !line.trim().is_empty()) {
            let (name, _) = line.trim().split_once(':').expect("a stage a line");
            let trace = format!(
                "trace: {:?}, name: {name}, ",
                self.trace().display().to_string()
            );
            assert!(line.contains("with: {"), "{line}");
            let line = line.replace("with: {", &format!("use: probe, with: {{ {trace}"));
            text += &format!("  {}\n", line.trim());
        }
        self.space.write("bench.yaml", text);
    }

    pub fn file(&self) -> PathBuf {
        self.space.path("bench.yaml")
    }

    pub fn trace(&self) -> PathBuf {
        self.space.path("trace")
    }

    pub fn store(&self) -> Arc<Store> {
        Arc::new(Store::open(&self.space.path("store")).unwrap())
    }

    pub fn graph(&self) -> Graph {
        self.graph_of(&registry())
    }

    /// The graph as a build with these kinds sees it.
    pub fn graph_of(&self, registry: &Registry) -> Graph {
        graph(&self.file(), registry)
    }

    /// Tells journals of the workflow from others.
    pub fn whose(&self) -> WorkflowIdentity {
        WorkflowIdentity::of(&self.graph(), &self.store())
    }

    pub fn options(&self) -> RunOptions {
        options(&self.space.path("store"))
    }

    /// The stages that have executed since the last call, in alphabetical order.
    pub fn executed(&self) -> Vec<String> {
        let path = self.trace().join("ran");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let mut names: Vec<String> = text.lines().map(str::to_string).collect();
        names.sort();
        names
    }

    pub fn run(&self) -> Ran {
        self.run_with(&self.options())
    }

    pub fn run_with(&self, options: &RunOptions) -> Ran {
        let (_keep, interrupt) = watch::channel(false);
        self.run_until(options, interrupt).unwrap()
    }

    pub fn run_until(
        &self,
        options: &RunOptions,
        interrupt: watch::Receiver<bool>,
    ) -> Result<Ran, EngineError> {
        run(&registry(), &self.graph(), self.store(), options, interrupt)
    }

    /// A run by a build with these kinds.
    pub fn run_by(&self, registry: &Registry, options: &RunOptions) -> Ran {
        let (_keep, interrupt) = watch::channel(false);
        let graph = self.graph_of(registry);
        run(registry, &graph, self.store(), options, interrupt).unwrap()
    }

    pub fn survey(&self) -> BTreeMap<String, (String, String)> {
        let graph = self.graph();
        let survey = ribflow::engine::survey(&graph, &self.store(), "cpu").unwrap();
        words(&graph, &survey)
    }

    /// Starts a run in a process of its own.
    pub fn run_apart(&self) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "engine::bench::run_entry", "--nocapture", "-q"])
            .env(RUN, self.space.root())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// The digests of every port of every node that has a record, by node.
    pub fn ports(&self) -> BTreeMap<String, Vec<Digest>> {
        let graph = self.graph();
        let survey = ribflow::engine::survey(&graph, &self.store(), "cpu").unwrap();
        let nodes = survey.nodes.iter().filter_map(|surveyed| {
            let record = &surveyed.record.as_ref()?.record;
            let ports = record.ports.values().map(|port| port.digest).collect();
            Some((graph.dag[surveyed.node].id.clone(), ports))
        });
        nodes.collect()
    }
}

impl Ran {
    pub fn counts(&self) -> [usize; 4] {
        counts(&self.result.summary)
    }

    /// The message of the node's failure.
    pub fn failure(&self, node: &str) -> &str {
        let message = self.events.iter().find_map(|event| match event {
            Event::NodeFailed { id, message, .. } if id == node => Some(message),
            _ => None,
        });
        message.unwrap_or_else(|| panic!("`{node}` did not fail"))
    }

    pub fn warnings(&self) -> Vec<&str> {
        let warnings = self.events.iter().filter_map(|event| match event {
            Event::Warning { message } => Some(message.as_str()),
            _ => None,
        });
        warnings.collect()
    }
}

/// Ran, reused, failed, skipped; checked to be all.
pub fn counts(summary: &Summary) -> [usize; 4] {
    let counts = [summary.ran, summary.reused, summary.failed, summary.skipped];
    assert_eq!(counts.iter().sum::<usize>(), summary.nodes);
    counts
}

fn graph(file: &Path, registry: &Registry) -> Graph {
    let (graph, _) = load(file, &LoadOptions::default(), registry.kinds())
        .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    graph
}

fn options(store: &Path) -> RunOptions {
    let exe = std::env::current_exe().unwrap();
    let mut assignment = OsString::from(format!("{WORKER}="));
    assignment.push(store);
    let entry = [
        "--exact",
        "engine::bench::worker_entry",
        "--nocapture",
        "-q",
    ];
    let mut worker = vec![OsString::from("env"), assignment, exe.into_os_string()];
    worker.extend(entry.map(OsString::from));
    RunOptions {
        exchange: None,
        refused: Default::default(),
        accepting: Default::default(),
        role: ribflow::engine::join::Role::Local,
        invites: None,
        places: None,
        threads: 2,
        device: "cpu".to_string(),
        keep_going: false,
        check_sealed: false,
        collect_inputs: false,
        limit: None,
        derived_max: 0,
        force: Vec::new(),
        worker,
    }
}

fn run(
    registry: &Registry,
    graph: &Graph,
    store: Arc<Store>,
    options: &RunOptions,
    interrupt: watch::Receiver<bool>,
) -> Result<Ran, EngineError> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let run = ribflow::engine::run(graph, store, registry, options, interrupt, sender);
    let result = runtime.block_on(run)?;
    let mut events = Vec::new();
    while let Ok(event) = receiver.try_recv() {
        events.push(event);
    }
    Ok(Ran { result, events })
}

pub fn words(graph: &Graph, survey: &Survey) -> BTreeMap<String, (String, String)> {
    let nodes = survey.nodes.iter().map(|surveyed| {
        let state = serde_json::to_value(surveyed.state).unwrap();
        let state = state.as_str().unwrap().to_string();
        let id = graph.dag[surveyed.node].id.clone();
        (id, (state, surveyed.why.clone()))
    });
    nodes.collect()
}

/// Not a test: the worker of the other tests, which start this binary again.
#[test]
fn worker_entry() {
    let Some(store) = std::env::var_os(WORKER) else {
        return;
    };
    let served = {
        let store = Store::open(Path::new(&store)).unwrap();
        ribflow::engine::serve_worker(&store, &registry())
    };
    std::process::exit(i32::from(!served));
}

/// Not a test: a run that other tests start in a process of its own. Prints its counts.
#[test]
fn run_entry() {
    let Some(root) = std::env::var_os(RUN).map(PathBuf::from) else {
        return;
    };
    let code = {
        let (_keep, interrupt) = watch::channel(false);
        let folder = root.join("store");
        let store = Arc::new(Store::open(&folder).unwrap());
        let graph = graph(&root.join("bench.yaml"), &registry());
        let ran = run(&registry(), &graph, store, &options(&folder), interrupt).unwrap();
        println!("counts {}", serde_json::json!(ran.counts()));
        i32::from(ran.result.summary.failed > 0)
    };
    std::process::exit(code);
}
