//! Ids that are numbers: one value however they are written, named as the file writes them, and
//! in keys as ever.

use super::meaning::{graph, ids, members, sets, try_load, with};

const RATES: &str = r#"
axes:
  lr: [1e-3, 0.10, 1]
  near: [{ id: a, lr: 0.001 }, { id: b, lr: 1.0 }]
stages:
  m: { each: [lr], use: checkpoint, with: { path: "p-${lr}" } }
  n:
    each: [lr]
    use: checkpoint
    with: { path: low }
    cases:
      - { when: lr == 0.1, with: { path: middle } }
      - { when: "lr in [1.0]", with: { path: high } }
  pinned: { use: average, needs: { models: ["m[lr=0.001|1e0]"] } }
  by: { each: [near], use: average, needs: { models: ["m[lr=near.lr|0.1]"] } }
  all: { use: average, needs: { models: "m[*]" } }
"#;

#[test]
fn a_number_is_picked_by_its_value_and_named_as_it_is_written() {
    let graph = graph(RATES);
    assert_eq!(ids(&graph)[..3], ["m[lr=1e-3]", "m[lr=0.10]", "m[lr=1]"]);
    // What enters keys and text is the number, as before.
    assert_eq!(
        members(&graph, "pinned", "models"),
        ["m[lr=1e-3].model{lr=0.001}", "m[lr=1].model{lr=1}"]
    );
    assert_eq!(
        members(&graph, "all", "models"),
        [
            "m[lr=1e-3].model{lr=0.001}",
            "m[lr=0.10].model{lr=0.1}",
            "m[lr=1].model{lr=1}"
        ]
    );
    assert_eq!(with(&graph, "m[lr=1e-3]")["path"], "p-0.001");
    assert_eq!(
        members(&graph, "by[near=b]", "models"),
        ["m[lr=1].model{lr=1}", "m[lr=0.10].model{lr=0.1}"]
    );
}

#[test]
fn conditions_compare_numbers_by_value() {
    let graph = graph(RATES);
    let path = |id: &str| with(&graph, id)["path"].as_str().map(str::to_string);
    assert_eq!(path("n[lr=1e-3]").as_deref(), Some("low"));
    assert_eq!(path("n[lr=0.10]").as_deref(), Some("middle"));
    assert_eq!(path("n[lr=1]").as_deref(), Some("high"));
    // No warning that a comparison never holds.
    let (_, warnings) = try_load(RATES, &sets(&[])).unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
}

/// Both are 2^53 as floats.
#[test]
fn large_numbers_are_distinguished() {
    let graph = graph(
        "axes: { seed: [9007199254740992, 9007199254740993] }
stages:
  m: { each: [seed], use: checkpoint, with: { path: a }, skip: seed == 9007199254740993 }
",
    );
    assert_eq!(ids(&graph), ["m[seed=9007199254740992]"]);
}

#[test]
fn a_value_is_set_and_picked_in_any_form() {
    let body = "
axes: { lr: [{ id: 1e-3, of: a }, { id: 2, of: b }] }
stages:
  m: { each: [lr], use: checkpoint, with: { path: '${lr.of}' } }
";
    let (graph, _) = try_load(body, &sets(&["axes.lr=[0.001]"])).unwrap();
    assert_eq!(ids(&graph), ["m[lr=1e-3]"]);
    let body = body
        .replace("{ id: 1e-3, of: a }, { id: 2, of: b }", "1")
        .replace("'${lr.of}'", "'p-${lr}'");
    let (graph, _) = try_load(&body, &sets(&["axes.lr=[1e-4, 3]"])).unwrap();
    assert_eq!(ids(&graph), ["m[lr=1e-4]", "m[lr=3]"]);
}
