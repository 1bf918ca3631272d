//! What runs and what does not.

use ribflow::engine::RunOptions;
use ribflow::engine::event::Event;

use super::bench::Bench;

/// Two chains from one root, and a sum of both.
const CHAINS: &str = "
    root: { with: { value: 3 } }
    left: { needs: { of: [root] }, with: { value: 1 } }
    parity: { needs: { of: [root] }, with: { modulo: 2 } }
    right: { needs: { of: [parity] }, with: { value: 5 } }
    total: { needs: { of: [left, right] }, with: { } }
";

#[test]
fn a_second_run_executes_nothing() {
    let bench = Bench::new(CHAINS);
    let first = bench.run();
    assert_eq!(first.counts(), [5, 0, 0, 0]);
    assert_eq!(
        bench.executed(),
        ["left", "parity", "right", "root", "total"]
    );
    let second = bench.run();
    assert_eq!(second.counts(), [0, 5, 0, 0]);
    assert!(bench.executed().is_empty());
    assert_eq!(first.result.records, second.result.records);
}

#[test]
fn a_changed_parameter_runs_its_dependants_until_bytes_are_equal() {
    let bench = Bench::new(CHAINS);
    bench.run();
    bench.executed();
    // Odd as before: `parity` runs again and the wave stops there.
    bench.rewrite(&CHAINS.replace("value: 3", "value: 7"));
    assert_eq!(bench.run().counts(), [4, 1, 0, 0]);
    assert_eq!(bench.executed(), ["left", "parity", "root", "total"]);
    // Even: everything depends on it.
    bench.rewrite(&CHAINS.replace("value: 3", "value: 8"));
    assert_eq!(bench.run().counts(), [5, 0, 0, 0]);
    bench.executed();
    // Only the end.
    bench.rewrite(
        &CHAINS
            .replace("value: 3", "value: 8")
            .replace("{ }", "{ value: 2 }"),
    );
    assert_eq!(bench.run().counts(), [1, 4, 0, 0]);
    assert_eq!(bench.executed(), ["total"]);
    // All of the first run is still there.
    bench.rewrite(CHAINS);
    assert_eq!(bench.run().counts(), [0, 5, 0, 0]);
}

#[test]
fn a_survey_says_what_would_run_and_why() {
    let bench = Bench::new(CHAINS);
    let survey = bench.survey();
    let look = |survey: &std::collections::BTreeMap<String, (String, String)>, node: &str| {
        let (state, why) = &survey[node];
        format!("{state}: {why}")
    };
    assert_eq!(look(&survey, "root"), "would_run: it has not run before");
    assert_eq!(look(&survey, "total"), "unknown: waits for left, right");
    bench.run();
    assert_eq!(
        look(&bench.survey(), "total"),
        "reused: its record is in the store"
    );
    bench.rewrite(&CHAINS.replace("value: 3", "value: 8"));
    let survey = bench.survey();
    assert_eq!(look(&survey, "root"), "would_run: with.value: 3 → 8");
    assert_eq!(look(&survey, "parity"), "unknown: waits for root");
    bench.rewrite(
        &CHAINS
            .replace("value: 3", "value: 8")
            .replace("modulo: 2", "modulo: 4"),
    );
    assert_eq!(
        look(&bench.survey(), "parity"),
        "unknown: with.modulo: 2 → 4; waits for root"
    );
    bench.rewrite(&CHAINS.replace("value: 3", "value: 8"));
    let ran = bench.run();
    let why = ran.events.iter().find_map(|event| match event {
        Event::NodeStarted { id, why, .. } if id == "parity" => Some(why.as_str()),
        _ => None,
    });
    assert_eq!(why, Some("inputs.of changed: produced by root"));
    // A value that equals its default is not there.
    bench.rewrite(&CHAINS.replace("value: 3", "value: 8, sleep: 1"));
    let survey = bench.survey();
    assert_eq!(look(&survey, "root"), "would_run: with.sleep: default → 1");
}

#[test]
fn equal_nodes_are_one_piece_of_work() {
    let bench = Bench::new(
        "
        one: { with: { value: 1 } }
        other: { with: { value: 1 } }
        twice: { each: [n], with: { value: 2, sleep: 30 } }
        sum: { needs: { of: [one, other, 'twice[*]'] }, with: { } }
        ",
    );
    let ran = bench.run();
    assert_eq!(ran.counts(), [3, 8, 0, 0]);
    assert_eq!(bench.executed().len(), 3);
    assert_eq!(ran.result.records.len(), 11);
}

#[test]
fn tiny_nodes_give_the_same_records_as_heavy_ones() {
    let bench = Bench::new(CHAINS);
    let tiny = CHAINS.replace("with: { ", "with: { tiny: true, ");
    bench.run();
    let heavy = bench.ports();
    bench.rewrite(&tiny);
    assert_eq!(bench.run().counts(), [5, 0, 0, 0]);
    assert_eq!(bench.ports(), heavy);
}

#[test]
fn forced_nodes_run_again_and_equal_bytes_stop_there() {
    let bench = Bench::new(CHAINS);
    bench.run();
    bench.executed();
    let root = bench.graph().select("root").unwrap();
    let forced = RunOptions {
        force: root,
        ..bench.options()
    };
    let ran = bench.run_with(&forced);
    assert_eq!(ran.counts(), [1, 4, 0, 0]);
    assert!(ran.warnings().is_empty());
    assert_eq!(bench.executed(), ["root"]);
}

#[test]
fn a_forced_node_that_drifts_leaves_the_chosen_record_in_use() {
    let bench = Bench::new(
        "
        drift: { with: { mode: drift } }
        after: { needs: { read: [drift.files] }, with: { } }
        ",
    );
    let first = bench.run();
    let forced = RunOptions {
        force: bench.graph().select("drift").unwrap(),
        ..bench.options()
    };
    let second = bench.run_with(&forced);
    assert_eq!(second.counts(), [1, 1, 0, 0]);
    assert_eq!(second.warnings().len(), 1);
    assert_eq!(first.result.records, second.result.records);
    let key = first.result.records.values().next().unwrap().record.key;
    assert_eq!(bench.store().records(&key).unwrap().len(), 2);
}

#[test]
fn a_limit_stops_starting_but_not_reusing() {
    let bench = Bench::new("many: { each: [n], with: { value: '${n}' } }");
    let limited = RunOptions {
        limit: Some(3),
        ..bench.options()
    };
    assert_eq!(bench.run_with(&limited).counts(), [3, 0, 0, 5]);
    assert_eq!(bench.run_with(&limited).counts(), [3, 3, 0, 2]);
    assert_eq!(bench.run_with(&limited).counts(), [2, 6, 0, 0]);
    assert_eq!(bench.executed().len(), 8);
}

#[test]
fn outside_data_counts_by_content_and_its_absence_fails_its_nodes() {
    let bench = Bench::new(
        "
        counted: { with: { data: things } }
        after: { needs: { of: [counted] }, with: { } }
        alone: { with: { } }
        ",
    );
    let survey = bench.survey();
    assert_eq!(survey["counted"].0, "missing_data");
    assert_eq!(survey["after"].0, "unknown");
    let keep_going = RunOptions {
        keep_going: true,
        ..bench.options()
    };
    let ran = bench.run_with(&keep_going);
    assert_eq!(ran.counts(), [1, 0, 1, 1]);
    assert!(ran.failure("counted").contains("does not exist"));
    bench.space.write("things/a", "1");
    assert_eq!(bench.run().counts(), [2, 1, 0, 0]);
    bench.space.write("things/b", "2");
    assert_eq!(bench.run().counts(), [2, 1, 0, 0]);
    let moved = bench.space.path("elsewhere");
    std::fs::rename(bench.space.path("things"), moved).unwrap();
    let text = bench.space.read("bench.yaml");
    bench.space.write(
        "bench.yaml",
        text.replace("data: things", "data: elsewhere"),
    );
    assert_eq!(bench.run().counts(), [0, 3, 0, 0]);
}

#[test]
fn the_folders_of_sources_go_along_with_what_was_made_of_them() {
    let bench = Bench::new(
        "
        found: { with: { data: things } }
        passed: { needs: { read: [found.files] }, with: { } }
        other: { with: { value: 1 } }
        used: { needs: { read: [passed.files, other.files] }, with: { } }
        ",
    );
    bench.space.write("things/a", "1");
    bench.run();
    let things = bench.space.path("things").display().to_string();
    let expected = format!("passed {things}\nused {things}\n");
    assert_eq!(bench.space.read("trace/roots"), expected);
}

#[test]
fn a_strict_workflow_keys_its_nodes_by_the_device_class() {
    let bench = Bench::new(CHAINS);
    bench.run();
    let text = bench.space.read("bench.yaml");
    bench.space.write(
        "bench.yaml",
        text.replace("name: bench", "name: bench\ndeterminism: strict"),
    );
    let survey = bench.survey();
    let class = ribflow::engine::device_class();
    let why = format!("device: default → \"{class}\"");
    assert_eq!(survey["root"], ("would_run".to_string(), why));
    assert_eq!(bench.run().counts(), [5, 0, 0, 0]);
    assert_eq!(bench.run().counts(), [0, 5, 0, 0]);
}
