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

/// Counted by hand from the sizes of the datasets (shared by nobody with the program: the images
/// of the eight sets, 64 to a step, ten epochs).
#[test]
fn the_price_of_the_grid_is_what_a_count_by_hand_gives() {
    let space = TestSpace::new();
    let file = file();
    let plan = space.run(&["plan", &file, "--json"]).expect(0).json();
    let price = &plan["price"];
    let stage = |name: &str| {
        let stages = price["stages"].as_array().unwrap().iter();
        stages.clone().find(|stage| stage["stage"] == name).unwrap()
    };
    let c = 75 * 50_000;
    let sets = [10_000, 7_500, 30_000, 50_889, 18_574, 50_000, 50_000, c];
    let (sources, seeds, epochs) = (7, 3, 10);
    // lp shows a model nothing but features; the four means train nothing.
    let (trained, stepped, all) = (7, 8, 12);
    let images: u64 = sets.iter().sum();
    assert_eq!(
        stage("tuned")["images"],
        (sources * seeds * trained * epochs * images) as f64
    );
    let steps: u64 = sets.iter().map(|images| images.div_ceil(64)).sum();
    assert_eq!(
        stage("tuned")["steps"],
        (sources * seeds * stepped * epochs * steps) as f64
    );
    let tested = 8 * (images + 50_000) - images;
    assert_eq!(
        stage("accuracy")["images"],
        (sources * seeds * all * tested) as f64
    );
    assert_eq!(
        stage("baseline")["images"],
        (sources * (images + 50_000)) as f64
    );
    // Tuning on C is 94 % of it.
    assert_eq!((100.0 * c as f64 / images as f64).floor(), 94.0);

    // Three ways to cut an image (crops of 0.875 bilinear, 0.9 and 1.0 bicubic): the 7 sources.
    let shared = &price["shared"];
    assert_eq!(shared["decoded"], (3 * (images + 50_000)) as f64);
    let pixels = 3 * 224 * 224 * 3 * (images + 50_000);
    // Features of every set by every source, and the teachers' logits, beside the pixels.
    let features = sources * (images + 50_000) * 768 * 4;
    let logits = sources * images * 1000 * 4;
    assert_eq!(shared["bytes"], (pixels + features + logits) as f64);
    // A ViT-B/16: 17.56 billion multiplications an image, three passes of two operations a step.
    let vit = 2.0 * 17.56e9;
    let full = 3.0 * 4.0 + 2.0 * 3.0;
    let expected = (sources * seeds * epochs * images) as f64 * full * vit;
    let found = stage("tuned")["operations"].as_f64().unwrap();
    assert!((found / expected - 1.0).abs() < 0.01, "{found} {expected}");
    assert_eq!(price["open"], 0);
}
