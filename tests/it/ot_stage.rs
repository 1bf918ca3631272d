//! The `ot` kind: where points come from, what it gives, which options fit which distance.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use ribflow::ml::Unobserved;
use ribflow::ml::ot::distance::DISTANCES;
use ribflow::ml::ot::{Labelled, Otdd, Points, Power, wasserstein};
use ribflow::rng::Stream;
use ribflow::stages;
use ribflow::stages::task::{Context, Outputs, Progress, TaskError, TaskInput};
use ribflow::store::Store;
use ribflow::store::artifact::{Artifact, Blobs, Dataset, Images, Metric, Part};
use ribflow::store::tensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::space::TestSpace;

struct Silent;

impl Progress for Silent {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

    fn log(&self, _line: &str) {}
}

const CLASSES: [&str; 3] = ["bird", "cat", "dog"];

/// Points in four dimensions, a third of each class.
fn points(seed: u64, count: usize, shift: f32) -> (Vec<f32>, Vec<u32>) {
    let mut stream = Stream::new(seed, "test points");
    let labels: Vec<u32> = (0..count as u32).map(|index| index % 3).collect();
    let values = labels.iter().flat_map(|label| {
        let centre = 2.0 * *label as f32 + shift;
        let draws: Vec<f32> = (0..4).map(|_| centre + stream.normal() as f32).collect();
        draws
    });
    (values.collect(), labels)
}

fn arrays(store: &Store, (values, labels): &(Vec<f32>, Vec<u32>)) -> Artifact {
    let count = labels.len();
    let values = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let labels = labels
        .iter()
        .flat_map(|label| label.to_le_bytes())
        .collect();
    let named = [
        ("features".to_string(), "F32", vec![count, 4], values),
        ("labels".to_string(), "U32", vec![count], labels),
    ];
    let config = json!({ "classes": CLASSES });
    Artifact::Tensors(tensors::save(store, config, &named).unwrap())
}

fn pixels(store: &Store, seed: u64, count: usize) -> Artifact {
    let mut stream = Stream::new(seed, "test pixels");
    let bytes: Vec<u8> = (0..count * 12).map(|_| stream.bits() as u8).collect();
    Artifact::Dataset(Dataset {
        clause: None,
        classes: CLASSES.map(str::to_string).to_vec(),
        parts: vec![Part {
            axes: BTreeMap::new(),
            images: Images::Packed {
                pixels: store.write(&bytes).unwrap(),
                height: 2,
                width: 2,
                labels: (0..count as u32).map(|index| index % 3).collect(),
            },
        }],
    })
}

fn run(store: &Store, with: &Value, a: &Artifact, b: &Artifact) -> Result<Outputs, TaskError> {
    let scratch = store.scratch().unwrap();
    let input = |artifact: &Artifact| {
        vec![TaskInput {
            axes: BTreeMap::new(),
            artifact: artifact.clone(),
            roots: Vec::new(),
        }]
    };
    let task = stages::registry().task("ot", with).unwrap().unwrap();
    task.run(&mut Context {
        inputs: BTreeMap::from([("a".to_string(), input(a)), ("b".to_string(), input(b))]),
        blobs: store,
        scratch: scratch.path(),
        downloads: scratch.path(),
        environments: scratch.path(),
        locks: store.locks(),
        failed: std::path::Path::new("/nonexistent"),
        threads: 2,
        device: candle_core::Device::Cpu,
        derived: Default::default(),
        progress: &Silent,
        cancelled: &AtomicBool::new(false),
        grace: std::time::Duration::ZERO,
    })
}

fn metric(outputs: &Outputs, name: &str) -> Option<Metric> {
    match &outputs.ports["metrics"] {
        Artifact::Metrics(metrics) => metrics.values.get(name).cloned(),
        other => panic!("not metrics: {other:?}"),
    }
}

#[test]
fn otdd_of_arrays_is_that_of_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (a, b) = (points(1, 60, 0.0), points(2, 45, 0.5));
    let outputs = run(&store, &json!({}), &arrays(&store, &a), &arrays(&store, &b)).unwrap();
    let labelled = |(values, labels): &(Vec<f32>, Vec<u32>)| {
        Labelled::new(Points::from_f32(values, 4).unwrap(), labels.clone()).unwrap()
    };
    let expected = Otdd::default()
        .between(&labelled(&a), &labelled(&b), &Unobserved)
        .unwrap();
    let distance = metric(&outputs, "distance").unwrap();
    assert_eq!(
        (distance.value, distance.n),
        (expected.distance(), Some(105))
    );
    assert_eq!(
        metric(&outputs, "value").unwrap().value,
        expected.divergence.value
    );
    assert!(metric(&outputs, "marginal_error").unwrap().value <= 1e-6);
    let Artifact::Tensors(classes) = &outputs.ports["classes"] else {
        panic!("classes are arrays");
    };
    assert_eq!(classes.config["rows"], json!(CLASSES));
    let coupling = tensors::bytes(&store, &classes.tensors["coupling"]).unwrap();
    let coupling: Vec<f64> = coupling
        .chunks_exact(8)
        .map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    assert_eq!(coupling, expected.coupling);
    assert!((coupling.iter().sum::<f64>() - 1.0).abs() < 1e-6);
}

#[test]
fn every_distance_grows_with_a_shift_and_takes_pixels() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (a, near, far) = (points(1, 60, 0.0), points(2, 60, 0.3), points(3, 60, 2.0));
    let [a, near, far] = [a, near, far].map(|points| arrays(&store, &points));
    let images = (pixels(&store, 1, 30), pixels(&store, 2, 24));
    for distance in DISTANCES.all.iter().map(|it| it.name) {
        let with = json!({ "distance": distance, "samples": 50 });
        let of = |a: &Artifact, b: &Artifact| {
            let outputs = run(&store, &with, a, b).unwrap();
            assert_eq!(outputs.ports.contains_key("classes"), distance == "otdd");
            metric(&outputs, "distance").unwrap().value
        };
        // Covariances know nothing of a shift.
        assert!(
            distance == "bures" || of(&a, &near) < of(&a, &far),
            "{distance}"
        );
        assert!(of(&images.0, &images.1).is_finite(), "{distance}");
    }
}

/// Against the library, on points chosen by hand.
#[test]
fn masks_weights_and_power_are_those_of_the_library() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let (a, b) = (points(1, 31, 0.0), points(2, 40, 0.5));
    let distance = |with: Value| {
        let mut with = with;
        with["distance"] = json!("wasserstein");
        let outputs = run(&store, &with, &arrays(&store, &a), &arrays(&store, &b)).unwrap();
        let value = metric(&outputs, "distance").unwrap().value;
        let gap = metric(&outputs, "dual_gap").unwrap().value.abs();
        assert!(gap < 1e-12 * value.max(value.powi(2)), "{gap:e} of {value}");
        value
    };
    let set = |(values, labels): &(Vec<f32>, Vec<u32>), kept: &[u32]| {
        let rows: Vec<usize> = (0..labels.len())
            .filter(|row| kept.contains(&labels[*row]))
            .collect();
        let points = Points::from_f32(values, 4).unwrap();
        let set = Labelled::new(points, labels.clone()).unwrap();
        set.select(&rows).unwrap()
    };
    let exact = |a: &Labelled, b: &Labelled, power: Power| {
        let weights = [a.weights(), b.weights()];
        let weights = Some([&weights[0][..], &weights[1][..]]);
        let found = wasserstein(a.points(), b.points(), weights, power, &Unobserved);
        found.unwrap().value
    };
    let (whole_a, whole_b) = (set(&a, &[0, 1, 2]), set(&b, &[0, 1, 2]));
    assert_eq!(
        distance(json!({})),
        exact(&whole_a, &whole_b, Power::Two).sqrt()
    );
    assert_eq!(
        distance(json!({ "power": 1, "mask": "common" })),
        exact(&whole_a, &whole_b, Power::One)
    );
    let balanced = [&whole_a, &whole_b].map(|set| set.clone().balanced());
    assert_eq!(
        distance(json!({ "weights": "classes" })),
        exact(&balanced[0], &balanced[1], Power::Two).sqrt()
    );
    let masked = distance(json!({ "mask": ["cat", "dog"] }));
    let expected = exact(&set(&a, &[1, 2]), &set(&b, &[1, 2]), Power::Two);
    assert_eq!(masked, expected.sqrt());
    // Twelve of each class in either set's share of samples.
    let picks = whole_b.sample(20, 0, "ot sample b", true);
    let drawn = whole_b.select(&picks).unwrap();
    assert_eq!(
        drawn.class_counts().into_values().collect::<Vec<_>>(),
        [7, 7, 6]
    );
    let _ = distance(json!({ "samples": 20, "stratified": true }));
}

#[test]
fn an_interval_holds_the_distance_of_other_points() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let a = arrays(&store, &points(1, 90, 0.0));
    let distance = |seed: u64, with: Value| {
        let b = arrays(&store, &points(seed, 90, 1.0));
        let outputs = run(&store, &with, &a, &b).unwrap();
        metric(&outputs, "distance").unwrap()
    };
    let truth = distance(2, json!({ "distance": "frechet" })).value;
    for by in ["subsample", "bootstrap"] {
        let with = json!({ "distance": "frechet", "interval": { "by": by, "repeats": 40 } });
        let found = distance(2, with.clone());
        let [low, high] = found.interval.unwrap();
        assert_eq!(found.value, truth);
        assert!(
            0.0 < low && low < truth && truth < high,
            "{by}: {low} {high}"
        );
        assert!(high - low < truth, "{by}: {low} {high}");
        assert_eq!(distance(2, with).interval, Some([low, high]));
        // Other points of the same two sets come out inside.
        let other = distance(3, json!({ "distance": "frechet" })).value;
        assert!(low < other && other < high, "{by}: {low} {other} {high}");
    }
}

#[test]
fn arrays_come_from_files() {
    let space = TestSpace::new();
    let (values, labels) = points(1, 12, 0.0);
    let bytes: Vec<u8> = values.iter().flat_map(|it| it.to_le_bytes()).collect();
    let labels: Vec<u8> = labels
        .iter()
        .flat_map(|it| i64::from(*it).to_le_bytes())
        .collect();
    fn view(dtype: Dtype, shape: Vec<usize>, data: &[u8]) -> TensorView<'_> {
        TensorView::new(dtype, shape, data).unwrap()
    }
    let save = |name: &str, features: &str, labels: &[u8]| {
        let count = labels.len() / 8;
        let tensors = [
            (features, view(Dtype::F32, vec![12, 4], &bytes)),
            ("labels", view(Dtype::I64, vec![count], labels)),
        ];
        let file = safetensors::serialize(tensors, None).unwrap();
        let _ = space.write(name, file);
    };
    save("a.safetensors", "features", &labels);
    save("b.safetensors", "pooled", &labels);
    save("short.safetensors", "features", &labels[..80]);
    let workflow = |b: &str| {
        format!(
            "ribflow: 1
name: files
stages:
  a: {{ use: arrays, with: {{ path: a.safetensors, classes: [x, y, z] }} }}
  b: {{ use: arrays, with: {{ path: {b} }} }}
  distance: {{ use: ot, needs: {{ a: a, b: b }}, with: {{ distance: wasserstein }} }}
"
        )
    };
    space.write("w.yaml", workflow("b.safetensors, features: pooled"));
    let _ = space.run(&["run", "w.yaml", "-q"]).expect(0);
    let get = ["get", "w.yaml", "distance", "-o", "got"];
    let _ = space.run(&get).expect(0);
    // The same points under two names are at 0 from each other, but for rounding.
    let metrics: Value = serde_json::from_str(&space.read("got/metrics.json")).unwrap();
    assert!(metrics.to_string().contains("dual_gap"), "{metrics}");
    for (b, says) in [
        (
            "b.safetensors",
            "there is no array `features`; the file has `labels`, `pooled`",
        ),
        ("short.safetensors", "but there are 12 points"),
        ("w.yaml", "is not a safetensors file"),
    ] {
        space.write("wrong.yaml", workflow(b));
        let run = space.run(&["run", "wrong.yaml"]).expect(1);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn options_must_fit_the_distance() {
    let registry = stages::registry();
    let kind = registry.kinds().get("ot").unwrap();
    let mut lines = Vec::new();
    for with in [
        json!({ "distance": "sliced", "entreg": 0.5, "projections": 10 }),
        json!({ "distance": "frechet", "classes": "diagonal", "bandwidth": 1.0 }),
        json!({ "mode": "reference", "tolerance": 1e-3, "class_entreg": 0.5 }),
        json!({ "entreg": 0.0, "min_class": 1, "feature_weight": 0, "label_weight": 0 }),
        json!({ "distance": "mmd", "weights": "classes", "power": 1, "rivals": ["sinkhorn"], "mode": "exact" }),
        json!({ "mode": "exact", "entreg": 0.5, "interval": { "by": "bootstrap", "share": 0.2, "repeats": 2 } }),
        json!({ "distance": "otd" }),
        json!({ "entrge": 0.5 }),
        json!({ "distance": "mmd", "bandwidth": 4.0, "samples": 100, "entreg": 0.1 }),
    ] {
        let problems = match kind.parse(&with) {
            Ok(parameters) => parameters.check(&[]),
            Err(problems) => problems,
        };
        lines.push(with.to_string());
        lines.extend(problems.into_iter().map(|problem| {
            let hint = problem.hint.unwrap_or_default();
            format!(
                "    {}: {} [{hint}]",
                problem.path.join("."),
                problem.message
            )
        }));
    }
    insta::assert_snapshot!(lines.join("\n"));
}

/// A field that says what holds anyway moves no key.
#[test]
fn defaults_stay_out_of_the_key() {
    let registry = stages::registry();
    let kind = registry.kinds().get("ot").unwrap();
    let canonical = |with: Value| kind.parse(&with).unwrap().canonical();
    let plain = canonical(json!({ "samples": 1000 }));
    assert_eq!(plain, json!({ "samples": 1000 }));
    let said = json!({ "samples": 1000, "distance": "otdd", "entreg": 0.1, "bandwidth": null });
    assert_eq!(canonical(said), plain);
}

#[test]
fn what_does_not_fit_fails_the_node() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let a = arrays(&store, &points(1, 30, 0.0));
    let images = pixels(&store, 1, 30);
    let error =
        |with: Value, a: &Artifact, b: &Artifact| run(&store, &with, a, b).unwrap_err().to_string();
    let different = error(json!({}), &a, &images);
    assert!(
        different.contains("different numbers of coordinates: 4 and 12"),
        "{different}"
    );
    // 64 × 64 pixels have 12288 coordinates.
    let large = Artifact::Dataset(Dataset {
        clause: None,
        classes: vec!["cat".to_string()],
        parts: vec![Part {
            axes: BTreeMap::new(),
            images: Images::Packed {
                pixels: store.write(&[7; 2 * 64 * 64 * 3]).unwrap(),
                height: 64,
                width: 64,
                labels: vec![0, 0],
            },
        }],
    });
    for distance in ["sliced", "s_otdd"] {
        let with = json!({ "distance": distance, "projections": 100_000 });
        let said = error(with, &large, &large);
        assert!(
            said.contains("take more than 8 GiB; at most 87381"),
            "{said}"
        );
    }
    let tight = error(json!({ "tolerance": 1e-300 }), &a, &a);
    assert!(tight.contains("did not converge"), "{tight}");
}
