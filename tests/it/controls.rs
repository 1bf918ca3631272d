//! Runs whose outcome is known beforehand, on the source `narrow` at its full length.

use std::path::Path;

use ribflow::ml::metrics::correlation::{Coefficient, correlate, pearson};
use serde_json::Value;

use crate::space::TestSpace;

const DOMAINS: [&str; 8] = [
    "v2",
    "a",
    "r",
    "sketch",
    "objectnet",
    "cartoon",
    "drawing",
    "c",
];

/// results.json of a run of the controls, and the digests of every port by node.
struct Controls {
    results: Value,
    space: TestSpace,
}

impl Controls {
    /// Runs `tests/workflows/NAME.yaml`.
    fn run(name: &str) -> Self {
        let file = format!("{name}.yaml");
        let workflows = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/workflows");
        let space = TestSpace::new();
        space.write(&file, std::fs::read(workflows.join(&file)).unwrap());
        let _ = space.run(&["run", &file, "-q"]).expect(0);
        let results = space.read(&format!("out/{name}/results.json"));
        let results = serde_json::from_str(&results).unwrap();
        Self { results, space }
    }

    fn found(&self, node: &str, name: &str) -> &Value {
        let nodes = self.results["nodes"].as_array().unwrap();
        let found = nodes.iter().find(|found| found["id"] == node);
        &found.unwrap_or_else(|| panic!("no {node}"))["metrics"][name]
    }

    fn metric(&self, node: &str, name: &str) -> f64 {
        let metric = self.found(node, name);
        metric["value"]
            .as_f64()
            .unwrap_or_else(|| panic!("{node} has no metric {name}: {metric}"))
    }

    fn robustness(&self, method: &str, metric: &str) -> f64 {
        self.metric(
            &format!("robustness[source=narrow,method={method}]"),
            metric,
        )
    }

    /// The model of a node, as the bytes that `get` writes.
    fn model(&self, node: &str) -> Vec<u8> {
        let folder = format!("got/{}", node.replace(['[', ']', '=', ','], "_"));
        let _ = self
            .space
            .run(&["get", "controls.yaml", node, "-o", &folder])
            .expect(0);
        let mut files = Vec::new();
        collect(&self.space.path(&folder), &mut files);
        let weights = files.iter().find(|path| {
            path.extension()
                .is_some_and(|ending| ending == "safetensors")
        });
        std::fs::read(weights.expect("a model is a .safetensors file")).unwrap()
    }

    fn distances(&self) -> Vec<f64> {
        let distance = |domain| {
            self.metric(
                &format!("distance[source=narrow,domain={domain}]"),
                "distance",
            )
        };
        DOMAINS.into_iter().map(distance).collect()
    }
}

fn collect(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[test]
fn controls_come_out_as_they_must() {
    let controls = Controls::run("controls");

    // A learning rate of 0 moves nothing: every difference is exactly 0.
    assert_eq!(controls.robustness("frozen", "mri"), 0.0);
    assert_eq!(controls.robustness("frozen", "drop"), 0.0);

    // Weight averaging with all the weight on one model is that model, bit for bit.
    let tuned = |method: &str| format!("tuned[source=narrow,domain=r,method={method}]");
    let pretrained = controls.model("pretrained[source=narrow]");
    assert!(controls.model(&tuned("all-before")) == pretrained);
    let after = controls.model(&tuned("ft"));
    assert!(controls.model(&tuned("all-after")) == after);
    assert!(after != pretrained);

    // v2 is a fresh draw of what narrow is, so it is nearest to it.
    let distances = controls.distances();
    assert!(
        distances[1..].iter().all(|other| *other > distances[0]),
        "v2 is not the nearest: {distances:?}"
    );

    // Shuffled labels teach nonsense.
    let shuffled = controls.robustness("shuffled", "mri");
    assert!(shuffled < -10.0, "shuffled labels: mRI {shuffled}");

    // The relation of distance and drop lies in which domain is which: permuted, it is gone, and
    // the p-value is the share of permutations that reach what was seen.
    let drops: Vec<f64> = DOMAINS
        .iter()
        .map(|domain| controls.robustness("ft", &format!("drop[{domain}]")))
        .collect();
    let seen = correlate(Coefficient::Pearson, &distances, &drops, 0).unwrap();
    let permuted = permuted_correlations(&distances, &drops);
    let mean = permuted.iter().sum::<f64>() / permuted.len() as f64;
    assert!(
        mean.abs() < 0.05,
        "permuted domains still correlate: {mean}"
    );
    let reach = |value: &&f64| value.abs() >= seen.value.abs();
    let share = permuted.iter().filter(reach).count() as f64 / permuted.len() as f64;
    assert!(
        (share - seen.p_value).abs() < 0.03,
        "{share} of the permutations reach {}, p is {}",
        seen.value,
        seen.p_value
    );
}

/// v2 is a fresh draw of what narrow is, so tuning on it changes little. One model of 300 images
/// moves by points with the last bits of a product, so it is judged over seeds, each with a
/// pre-training of its own: the 95 % interval of the mean must meet (-2, 2), and must be narrow
/// enough to miss it if tuning cost what it costs on a shifted domain.
#[test]
fn tuning_on_a_fresh_draw_changes_little() {
    let controls = Controls::run("fresh-draw");
    let node = "robustness[source=narrow,method=ft]";
    let mean = controls.metric(node, "mri");
    let ends = &controls.found(node, "mri")["interval"];
    let [low, high] = [&ends[0], &ends[1]].map(|end| end.as_f64().unwrap());
    println!("RI of v2: {mean} ({low} to {high})");
    assert!(low < 2.0 && high > -2.0, "RI of v2: {low} to {high}");
    assert!(high - low < 5.0, "nothing is shown by {low} to {high}");
}

/// The correlation under 4,000 random assignments of distances to domains.
fn permuted_correlations(distances: &[f64], drops: &[f64]) -> Vec<f64> {
    let mut stream = ribflow::rng::Stream::new(0, "controls");
    (0..4000)
        .map(|_| {
            let order = stream.permutation(distances.len());
            let shuffled: Vec<f64> = order.iter().map(|index| distances[*index]).collect();
            pearson(&shuffled, drops).unwrap()
        })
        .collect()
}
