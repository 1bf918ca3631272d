//! workflows/imagenet-rib.yaml as far as it goes without its data and its checkpoints.

use std::path::Path;

use serde_json::Value;

use crate::space::TestSpace;

fn file() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/imagenet-rib.yaml");
    file.display().to_string()
}

/// The ids of all nodes, by `plan`, which reads no data.
fn nodes(space: &TestSpace, more: &[&str]) -> Vec<String> {
    let file = file();
    let plan = [&["plan", &file, "--json"], more].concat();
    let plan = space.run(&plan).expect(0).json();
    let id = |node: &Value| node["id"].as_str().unwrap().to_string();
    plan["nodes"].as_array().unwrap().iter().map(id).collect()
}

#[test]
fn the_grid_has_its_cells_without_any_data() {
    let space = TestSpace::new();
    let counts = [
        (vec![], 18_439),
        (vec!["--profile", "smoke"], 1_800),
        (vec!["--profile", "lean"], 16_164),
        (vec!["--profile", "calibrate"], 154),
        (vec!["--profile", "all"], 56_684),
    ];
    for (more, count) in counts {
        assert_eq!(nodes(&space, &more).len(), count, "{more:?}");
    }
    let lean = nodes(&space, &["--profile", "lean"]);
    assert!(lean.iter().any(|id| id.contains("test=c]")));
    assert!(!lean.iter().any(|id| id.contains("domain=c,")));
}

#[test]
fn tuning_on_objectnet_can_be_left_out() {
    let space = TestSpace::new();
    let all = nodes(&space, &["--profile", "smoke"]);
    let some = nodes(
        &space,
        &[
            "--profile",
            "smoke",
            "--set",
            "params.tune_on_objectnet=false",
        ],
    );
    let tuned = |ids: &[String]| {
        let of = ids
            .iter()
            .filter(|id| id.contains("domain=objectnet,method"));
        of.count()
    };
    assert!(tuned(&all) > 0);
    assert_eq!(tuned(&some), 0);
    let tested = |ids: &[String]| {
        ids.iter()
            .filter(|id| id.contains("test=objectnet]"))
            .count()
    };
    assert!(tested(&some) > 0, "testing on it is what it is for");
    assert!(some.iter().all(|id| all.contains(id)));
}
