//! The `ot` kind: where points come from, what it gives, which options fit which distance.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use ribflow::ml::Unobserved;
use ribflow::ml::ot::{Labelled, Otdd, Points};
use ribflow::rng::Stream;
use ribflow::stages;
use ribflow::stages::task::{Context, Outputs, Progress, TaskError, TaskInput};
use ribflow::store::Store;
use ribflow::store::artifact::{Artifact, Blobs, Dataset, Images, Metric, Part};
use ribflow::store::tensors;
use serde_json::{Value, json};

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
        threads: 2,
        device: candle_core::Device::Cpu,
        derived: Default::default(),
        progress: &Silent,
        cancelled: &AtomicBool::new(false),
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
    for distance in [
        "otdd",
        "sinkhorn_divergence",
        "sinkhorn",
        "frechet",
        "mmd",
        "energy",
        "sliced",
        "s_otdd",
    ] {
        let with = json!({ "distance": distance, "samples": 50 });
        let of = |a: &Artifact, b: &Artifact| {
            let outputs = run(&store, &with, a, b).unwrap();
            assert_eq!(outputs.ports.contains_key("classes"), distance == "otdd");
            metric(&outputs, "distance").unwrap().value
        };
        assert!(of(&a, &near) < of(&a, &far), "{distance}");
        assert!(of(&images.0, &images.1).is_finite(), "{distance}");
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
        different.contains("4 and with 12 coordinates"),
        "{different}"
    );
    let tight = error(json!({ "tolerance": 1e-300 }), &a, &a);
    assert!(tight.contains("did not converge"), "{tight}");
}
