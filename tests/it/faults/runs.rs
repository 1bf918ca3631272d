//! Whole runs in this process: of nodes that are so small that the coordinator runs them itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ribflow::digest::Digest;
use ribflow::engine::RunOptions;
use ribflow::fsx::faults::{Fault, Survives, arm, idle};
use ribflow::rng::Stream;
use ribflow::store::Store;
use ribflow::workflow::graph::Graph;
use ribflow::workflow::{LoadOptions, load};
use tokio::sync::{mpsc, watch};

use super::operations::Done;
use super::space::{self, State};
use super::walk::{check_after, clean_after};
use crate::engine::probe::registry;

/// Four nodes in a diamond; two of them give the same bytes.
const STAGES: &str = "
ribflow: 1
name: small
stages:
  first: { use: probe, with: { tiny: true, value: 1, trace: TRACE, name: first } }
  left: { use: probe, with: { tiny: true, value: 2, trace: TRACE, name: left }, needs: { of: first.number } }
  right: { use: probe, with: { tiny: true, value: 2, trace: TRACE, name: right, modulo: 7 }, needs: { of: first.number, read: first.files } }
  last: { use: probe, with: { tiny: true, value: 5, trace: TRACE, name: last }, needs: { of: [left.number, right.number] } }
";

/// The workflow, and a store in which the first node has run.
pub fn prepare(root: &Path) {
    // What a node notes for the tests is not the store's: no fault concerns it.
    let trace = std::env::temp_dir().join(format!("ribflow-faults-trace-{}", std::process::id()));
    fs::create_dir_all(&trace).unwrap();
    let trace = serde_json::json!(trace).to_string();
    fs::write(root.join("small.yaml"), STAGES.replace("TRACE", &trace)).unwrap();
    run(root, Some(1)).unwrap();
}

fn graph(root: &Path) -> Graph {
    let file = root.join("small.yaml");
    let (graph, _) = load(&file, &LoadOptions::default(), registry().kinds())
        .unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    graph
}

pub fn act(root: &Path) -> Done {
    run(root, None)
}

fn run(root: &Path, limit: Option<usize>) -> Done {
    let store = Arc::new(Store::open(&root.join("store"))?);
    let options = RunOptions {
        exchange: None,
        refused: Default::default(),
        accepting: Default::default(),
        role: ribflow::engine::join::Role::Local,
        invites: None,
        places: None,
        threads: 1,
        device: "cpu".to_string(),
        keep_going: false,
        check_sealed: false,
        collect_inputs: false,
        limit,
        derived_max: 0,
        force: Vec::new(),
        worker: vec!["false".into()],
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let (sender, _events) = mpsc::unbounded_channel();
    let (_keep, interrupt) = watch::channel(false);
    let graph = graph(root);
    let registry = registry();
    let running = ribflow::engine::run(&graph, store, &registry, &options, interrupt, sender);
    let summary = runtime.block_on(running)?.summary;
    match summary.failed {
        0 => Ok(()),
        failed => Err(format!("{failed} nodes failed").into()),
    }
}

/// The digests of what each node gives. A run's times are in its records, and differ.
pub fn outcome(root: &Path) -> BTreeMap<String, Digest> {
    let graph = graph(root);
    let store = Store::open(&root.join("store")).unwrap();
    let survey = ribflow::engine::survey(&graph, &store, "cpu").unwrap();
    let mut ports = BTreeMap::new();
    for surveyed in &survey.nodes {
        let Some(stored) = &surveyed.record else {
            continue;
        };
        for (name, port) in &stored.record.ports {
            let id = &graph.dag[surveyed.node].id;
            ports.insert(format!("{id}.{name}"), port.digest);
        }
    }
    ports
}

/// Runs that meet one to four faults, one after another, each at a random call; then one that meets
/// none. A cleaning may come in between.
pub fn walk(walks: u64) {
    let start = Instant::now();
    let folder = space::folder();
    let root = folder.path().canonicalize().unwrap();
    let stride = space::stride(&root);
    let walks = walks / stride as u64;
    let _idle = idle(&root).unwrap();
    prepare(&root);
    let before = State::of(&root);
    let armed = arm(&root, Fault::None).unwrap();
    act(&root).unwrap();
    let calls = armed.finish().unwrap().calls.len() as u64;
    let expected = outcome(&root);
    assert_eq!(expected.len(), 8);
    let (mut cases, mut fired) = (0, 0);
    for seed in 0..walks {
        before.restore(&root);
        let mut chance = Stream::new(seed, "faults");
        for _ in 0..=chance.below(4) {
            let fault = random(&mut chance, calls);
            let armed = arm(&root, fault).unwrap();
            let acted = act(&root);
            let met = armed.finish().unwrap().fired;
            cases += 1;
            fired += met;
            check_after(&root, matches!(fault, Fault::Power { .. }), false);
            if met == 0 {
                assert!(acted.is_ok(), "seed {seed}: {fault:?}: {acted:?}");
            }
            if chance.below(3) == 0 {
                clean_after(&root);
            }
        }
        act(&root).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(outcome(&root), expected, "seed {seed}");
        clean_after(&root);
        assert_eq!(outcome(&root), expected, "seed {seed}, cleaned");
    }
    println!(
        "faults: random runs: {walks} walks, {cases} cases, {fired} faults fired, {:.1} s",
        start.elapsed().as_secs_f64()
    );
    assert!(cases >= super::RANDOM_CASES / stride, "{cases}");
    assert!(fired * 2 > cases, "{fired} of {cases}");
}

fn random(chance: &mut Stream, calls: u64) -> Fault {
    let at = chance.below(calls) as usize;
    match chance.below(7) {
        0 => Fault::Disk { at },
        1 => Fault::Broken { at },
        2 => Fault::Full { at },
        3 => Fault::Short { at },
        4 => Fault::Killed { at },
        5 => Fault::Interrupted { at },
        _ => {
            let seed = chance.below(1 << 32);
            let survives = Survives::Some { seed };
            Fault::Power { at, survives }
        }
    }
}
