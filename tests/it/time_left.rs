//! The time left, from the recorded events of whole runs. Each line of tests/runs is an event with
//! the seconds since the start of the run. `mini-rib` was recorded on two busy cores.
//! Loading is "images decoded" and passes have no total, which the recorded program did not yet report.

use std::collections::BTreeMap;
use std::path::Path;

use ribflow::digest::Digest;
use ribflow::engine::event::Event;
use ribflow::engine::price::forecast::{Forecast, Forecaster};
use ribflow::stages::registry;
use ribflow::store::Store;
use ribflow::ui::tally::Tally;
use ribflow::workflow::LoadOptions;

use crate::space::TestSpace;

fn event(line: &str) -> (f64, Option<Event>) {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default().to_string();
    let (at, what, id) = (word(), word(), word());
    let key = Digest::of(b"");
    let event = match what.as_str() {
        "started" => Event::NodeStarted {
            id,
            key,
            threads: word().parse().unwrap(),
            why: String::new(),
            worker: None,
        },
        "progress" => Event::NodeProgress {
            id,
            done: word().parse().unwrap(),
            total: word().parse().unwrap(),
            unit: words.collect::<Vec<_>>().join(" "),
        },
        "finished" => Event::NodeFinished {
            id,
            key,
            wall_s: word().parse().unwrap(),
        },
        "reused" => Event::NodeReused { id, key },
        _ => return (at.parse().unwrap(), None),
    };
    (at.parse().unwrap(), Some(event))
}

/// The estimate as a multiple of the truth, with its time as a share of the run, at every event.
fn ratios(run: &str, profiles: &[&str]) -> Vec<(f64, f64)> {
    let space = TestSpace::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let registry = registry();
    let options = LoadOptions {
        profiles: profiles.iter().map(|name| name.to_string()).collect(),
        ..LoadOptions::default()
    };
    let file = root.join("workflows/mini-rib.yaml");
    let (graph, _) = ribflow::workflow::load(&file, &options, registry.kinds()).unwrap();
    let store = Store::open(&space.path("cache")).unwrap();
    let mut stages: BTreeMap<String, usize> = BTreeMap::new();
    for node in graph.dag.node_weights() {
        *stages.entry(node.stage.clone()).or_default() += 1;
    }
    let mut forecaster = Forecaster::new(&graph, &registry, &store, "cpu/x86-64-v4".to_string());
    let mut tally = Tally::new(stages, Forecast::default());
    let text = std::fs::read_to_string(root.join(format!("tests/runs/{run}.txt"))).unwrap();
    let events: Vec<_> = text.lines().map(event).collect();
    let end = events.last().unwrap().0;
    let mut ratios = Vec::new();
    for (now, event) in &events {
        let Some(event) = event else {
            continue;
        };
        tally.observe(event, *now);
        if let Some(forecast) = forecaster.observe(event) {
            tally.set_forecast(forecast);
        }
        let left = tally.time_left(*now).unwrap_or_default();
        ratios.push((now / end, left / (end - now)));
    }
    ratios
}

#[test]
fn the_time_left_is_within_a_factor_of_two_after_a_tenth_of_the_run() {
    for (run, profiles) in [("mini-rib-tiny", &["tiny"][..]), ("mini-rib", &[])] {
        let ratios = ratios(run, profiles);
        let checked = ratios.iter().filter(|(at, _)| (0.1..0.9).contains(at));
        assert!(checked.clone().count() > 100);
        for (at, ratio) in checked {
            assert!((0.5..2.0).contains(ratio), "{run} at {at:.2}: {ratio:.2}");
        }
    }
}
