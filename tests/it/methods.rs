//! The methods of fine-tuning as a workflow uses them.

use std::collections::BTreeSet;

use crate::space::TestSpace;

const WORKFLOW: &str = include_str!("../workflows/methods.yaml");

#[test]
fn every_method_gives_a_model_of_its_own() {
    let space = TestSpace::new();
    space.write("methods.yaml", WORKFLOW);
    space.run(&["run", "methods.yaml"]).ok();
    let results: serde_json::Value =
        serde_json::from_str(&space.read("out/methods/results.json")).unwrap();
    let nodes = results["nodes"].as_array().unwrap();
    let losses: BTreeSet<String> = nodes
        .iter()
        .filter(|node| node["stage"] == "accuracy")
        .map(|node| node["metrics"]["loss"]["value"].to_string())
        .collect();
    assert_eq!(losses.len(), 11, "{losses:?}");
    let again = space.run(&["run", "methods.yaml", "--json"]).expect(0);
    let summary = again.json_lines().pop().unwrap();
    assert_eq!(summary["ran"], 0);
    let model = "tuned[method=prompt]";
    space
        .run(&["get", "methods.yaml", model, "-o", "prompted"])
        .ok();
    let written = std::fs::read_dir(space.path("prompted")).unwrap();
    assert!(written.count() > 0);
}

#[test]
fn options_must_fit_the_method() {
    let space = TestSpace::new();
    let wrong = WORKFLOW
        .replace("{ id: lora, rank: 4 }", "{ id: lora, rank: 4, pad: 3 }")
        .replace("fisher: diagonal", "fisher: diagonally");
    space.write("methods.yaml", wrong);
    let refused = space.run(&["validate", "methods.yaml"]).expect(2);
    insta::assert_snapshot!(refused.stderr);
}
