//! workflows/imagenet-rib.yaml as far as it goes without its data and its checkpoints.

use std::path::Path;

use serde_json::Value;

use crate::space::TestSpace;

fn file() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/imagenet-rib.yaml");
    file.display().to_string()
}

/// What `plan` says, with a store of its own: the repository's may be that of a user.
fn plan(space: &TestSpace, more: &[&str]) -> Value {
    let (file, store) = (file(), space.path("cache").display().to_string());
    let plan = [&["plan", &file, "--json", "--store", &store], more].concat();
    space.run(&plan).expect(0).json()
}

/// The ids of all nodes, by `plan`, which reads no data.
fn nodes(space: &TestSpace, more: &[&str]) -> Vec<String> {
    let plan = plan(space, more);
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
        (vec!["--profile", "calibrate"], 47),
        (vec!["--profile", "vit-b16"], 18_439),
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

/// Images of the sets that models are tuned on, but for ImageNet-C; shared by nobody with the
/// program.
const SETS: [u64; 7] = [10_000, 7_500, 30_000, 50_889, 18_574, 50_000, 50_000];
const C: u64 = 75 * 50_000;
const VAL: u64 = 50_000;
const SOURCES: u64 = 7;

/// What `plan` says of the price, and of one stage of it.
struct CostEstimate(Value);

impl CostEstimate {
    fn of(more: &[&str]) -> Self {
        Self(plan(&TestSpace::new(), more)["price"].take())
    }

    fn stage(&self, name: &str, field: &str) -> f64 {
        let mut stages = self.0["stages"].as_array().unwrap().iter();
        let stage = stages.find(|stage| stage["stage"] == name);
        stage.unwrap()[field].as_f64().unwrap()
    }

    fn total(&self, field: &str) -> f64 {
        self.0[field].as_f64().unwrap()
    }
}

/// Counted by hand from the sizes of the datasets, 64 images to a step, ten epochs.
#[test]
fn the_price_of_the_grid_is_what_a_count_by_hand_gives() {
    let price = CostEstimate::of(&[]);
    let (sources, seeds, epochs) = (SOURCES, 3, 10);
    // lp shows a model nothing but features; the four means train nothing.
    let (trained, stepped, all) = (7, 8, 12);

    // A node for every cell; what is tuned is tested on all nine sets but its own.
    let tuned = sources * 8 * all * seeds;
    let nodes = [
        ("parts", 15 * 5),
        ("images", 9),
        ("pretrained", sources),
        ("tuned", tuned),
        ("baseline", sources * 9),
        ("accuracy", tuned * 8),
        ("distance", sources * 8),
        ("robustness", sources * all),
        ("summary", 1),
    ];
    for (stage, count) in nodes {
        assert_eq!(price.stage(stage, "nodes"), count as f64, "{stage}");
    }
    let total: u64 = nodes.iter().map(|(_, count)| count).sum();
    assert_eq!(total, 18_439);

    let images: u64 = SETS.iter().sum::<u64>() + C;
    let shown = sources * seeds * trained * epochs * images;
    assert_eq!(price.stage("tuned", "images"), shown as f64);
    let steps: u64 = SETS.iter().chain([&C]).map(|set| set.div_ceil(64)).sum();
    let steps = sources * seeds * stepped * epochs * steps;
    assert_eq!(price.stage("tuned", "steps"), steps as f64);
    let tested = sources * seeds * all * (8 * (images + VAL) - images);
    assert_eq!(price.stage("accuracy", "images"), tested as f64);
    let before = sources * (images + VAL);
    assert_eq!(price.stage("baseline", "images"), before as f64);
    assert_eq!(price.total("steps"), steps as f64);
    assert_eq!(price.total("images"), (shown + tested + before) as f64);
    // Tuning on C is 94 % of it.
    assert_eq!((100.0 * C as f64 / images as f64).floor(), 94.0);

    // Three ways to cut an image (crops of 0.875 bilinear, 0.9 and 1.0 bicubic): the 7 sources.
    let shared = &price.0["shared"];
    assert_eq!(shared["decoded"], (3 * (images + VAL)) as f64);
    let pixels = 3 * 224 * 224 * 3 * (images + VAL);
    // One way alone takes 560 GB of ImageNet-C.
    assert_eq!(224 * 224 * 3 * C / 1_000_000_000, 564);
    // Features of every set by every source, and the teachers' logits, beside the pixels.
    let features = sources * (images + VAL) * 768 * 4;
    let logits = sources * images * 1000 * 4;
    let kept = (pixels + features + logits) as f64;
    assert_eq!(shared["bytes"], kept);
    let beside = price.total("peak") - price.total("written");
    assert!((beside - kept).abs() < 1.0, "{beside} {kept}");
    assert_eq!(price.total("peak_without_shared"), price.total("written"));

    // A ViT-B/16: 17.56 billion multiplications an image, three passes of two operations a step;
    // of LoRA, prompts and LP's partial training fewer.
    let vit = 2.0 * 17.56e9;
    let full = 3.0 * 4.0 + 2.0 * 3.0;
    let near = |found: f64, expected: f64| {
        assert!((found / expected - 1.0).abs() < 0.01, "{found} {expected}");
    };
    let trained = (sources * seeds * epochs * images) as f64 * full * vit;
    near(price.stage("tuned", "operations"), trained);
    near(price.stage("accuracy", "operations"), tested as f64 * vit);
    near(price.stage("baseline", "operations"), before as f64 * vit);
    near(
        price.total("operations"),
        trained + (tested + before) as f64 * vit,
    );
    assert_eq!(price.0["open"], 0);
}

#[test]
fn the_smaller_profiles_cost_what_a_count_by_hand_gives() {
    // Five images of fifty of every class of each folder of C are a tenth, and nobody tunes on it.
    let lean = CostEstimate::of(&["--profile", "lean"]);
    let own: u64 = SETS.iter().sum();
    let before = SOURCES * (VAL + own + C / 10);
    assert_eq!(lean.stage("baseline", "images"), before as f64);
    assert_eq!(
        lean.stage("tuned", "images"),
        (SOURCES * 3 * 7 * 10 * own) as f64
    );
    // The sets that timm tells the accuracy on: val, V2, A, R and Sketch.
    let calibrate = CostEstimate::of(&["--profile", "calibrate"]);
    let known = VAL + SETS[..4].iter().sum::<u64>();
    assert_eq!(calibrate.total("images"), (SOURCES * known) as f64);
    assert_eq!(calibrate.total("steps"), 0.0);
}
