//! The `rib` kind: parity with the published definition, checks at load time, golden bytes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use ribflow::contract::recipe::{Recipe, RecipeInput};
use ribflow::digest::Digest;
use ribflow::stages::registry::Registry;
use ribflow::stages::rib::Rib;
use ribflow::stages::task::{Context, Outputs, Progress, TaskError, TaskInput};
use ribflow::store::artifact::{Artifact, Better, Blob, BlobError, Blobs, Metric, Metrics, Table};
use ribflow::workflow::kind::{BoundInput, ParameterProblem};
use serde_json::{Value, json};

use crate::fixtures;

type Axes = BTreeMap<String, String>;

struct NoBlobs;

impl Blobs for NoBlobs {
    fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        Err(BlobError::Missing(*digest))
    }

    fn path(&self, digest: &Digest) -> Result<PathBuf, BlobError> {
        Err(BlobError::Missing(*digest))
    }

    fn write(&self, bytes: &[u8]) -> Result<Blob, BlobError> {
        Err(BlobError::Missing(Digest::of(bytes)))
    }

    fn write_file(&self, path: &Path) -> Result<Blob, BlobError> {
        Err(BlobError::Io {
            path: path.to_path_buf(),
            source: std::io::ErrorKind::Unsupported.into(),
        })
    }
}

struct Silent;

impl Progress for Silent {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

    fn log(&self, _line: &str) {}
}

fn axes(pairs: &[(&str, &str)]) -> Axes {
    let pairs = pairs.iter();
    pairs
        .map(|(axis, id)| (axis.to_string(), id.to_string()))
        .collect()
}

fn accuracy(value: f64) -> Artifact {
    let metric = Metric {
        n: Some(200),
        better: Some(Better::Higher),
        chance: Some(10.0),
        ..Metric::new(value, "percent")
    };
    Artifact::Metrics(Metrics {
        values: BTreeMap::from([("top1".to_string(), metric)]),
    })
}

/// Members of `before` and `after`.
#[derive(Clone, Default)]
struct Sides {
    before: Vec<(Axes, Artifact)>,
    after: Vec<(Axes, Artifact)>,
}

impl Sides {
    fn bound(&self) -> Vec<BoundInput> {
        let bind = |name: &str, members: &[(Axes, Artifact)]| BoundInput {
            name: name.to_string(),
            members: members.iter().map(|(axes, _)| axes.clone()).collect(),
        };
        vec![bind("before", &self.before), bind("after", &self.after)]
    }

    fn run(&self, with: &Value) -> Result<Outputs, TaskError> {
        let give = |members: &[(Axes, Artifact)]| -> Vec<TaskInput> {
            let members = members.iter();
            members
                .map(|(axes, artifact)| TaskInput {
                    axes: axes.clone(),
                    artifact: artifact.clone(),
                    roots: Vec::new(),
                })
                .collect()
        };
        let registry = Registry::default().with::<Rib>();
        let task = registry.task("rib", with).unwrap().unwrap();
        task.run(&mut Context {
            inputs: BTreeMap::from([
                ("before".to_string(), give(&self.before)),
                ("after".to_string(), give(&self.after)),
            ]),
            blobs: &NoBlobs,
            scratch: Path::new("."),
            downloads: Path::new("."),
            environments: Path::new("."),
            locks: &ribflow::fsx::Locks::of_one_host(Path::new("")),
            failed: Path::new("/nonexistent"),
            threads: 1,
            device: candle_core::Device::Cpu,
            derived: Default::default(),
            progress: &Silent,
            cancelled: &AtomicBool::new(false),
            grace: std::time::Duration::ZERO,
        })
    }
}

fn problems(with: &Value, sides: &Sides) -> Vec<ParameterProblem> {
    let registry = Registry::default().with::<Rib>();
    let kind = registry.kinds().get("rib").unwrap();
    match kind.parse(with) {
        Ok(parameters) => parameters.check(&sides.bound()),
        Err(problems) => problems,
    }
}

/// Two domains, a held-out set and two seeds, every number a short binary fraction.
fn example() -> Sides {
    let mut sides = Sides::default();
    for (seed, shift) in [("0", 0.0), ("1", 0.5)] {
        for (test, value) in [("own", 90.0), ("r", 40.0), ("c", 60.0)] {
            let axes = axes(&[("test", test), ("seed", seed)]);
            sides.before.push((axes, accuracy(value + shift)));
            for domain in ["r", "c"] {
                if test != domain {
                    let gain = if test == "own" { -8.0 } else { 2.25 };
                    let cell = [("domain", domain), ("test", test), ("seed", seed)];
                    let after = accuracy(value + gain + 3.0 * shift);
                    sides.after.push((self::axes(&cell), after));
                }
            }
        }
    }
    sides
}

fn roles() -> Value {
    json!({ "tuned_on": "domain", "tested_on": "test", "pretrained_on": "own", "repeats": "seed" })
}

fn metric<'a>(outputs: &'a Outputs, name: &str) -> &'a Metric {
    match &outputs.ports["metrics"] {
        Artifact::Metrics(metrics) => &metrics.values[name],
        other => panic!("not metrics: {other:?}"),
    }
}

fn rows(outputs: &Outputs) -> &Table {
    match &outputs.ports["table"] {
        Artifact::Table(table) => table,
        other => panic!("not a table: {other:?}"),
    }
}

/// Within 1e-9 of every number of `methods/metrics.json` that is about RI.
#[test]
fn parity_of_ri_and_mri() {
    let path = fixtures::folder().join("parity/methods/metrics.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("not there, so not compared: {}", path.display());
        return;
    };
    let expected: Value = serde_json::from_str(&text).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    let names: Vec<&str> = expected["datasets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let mut sides = Sides::default();
    for (i, tuned) in names.iter().enumerate() {
        let before = accuracy(number(&expected["pre"][i]));
        sides.before.push((axes(&[("test", tuned)]), before));
        for (j, test) in names.iter().enumerate() {
            // The own-dataset cells stand in the grid of the fixture; they must not count.
            let value = number(&expected["ft_rows_are_finetune_dataset"][i][j]);
            let place = axes(&[("domain", tuned), ("test", test)]);
            sides.after.push((place, accuracy(value)));
        }
    }
    let with = json!({ "tuned_on": "domain", "tested_on": "test" });
    assert!(problems(&with, &sides).is_empty());
    let outputs = sides.run(&with).unwrap();
    for (name, key) in [
        ("mri", "mRI"),
        ("before", "mean_pre"),
        ("after", "mean_after"),
    ] {
        let (found, wanted) = (metric(&outputs, name).value, number(&expected[key]));
        assert!(
            (found - wanted).abs() < 1e-9,
            "{name}: {found} for {wanted}"
        );
    }
    for (i, tuned) in names.iter().enumerate() {
        let mut table = rows(&outputs).rows.iter();
        let row = table
            .find(|row| row[0] == "ri" && row[1] == *tuned)
            .unwrap();
        let (found, wanted) = (number(&row[5]), number(&expected["RI"][i]));
        assert!(
            (found - wanted).abs() < 1e-9,
            "{tuned}: {found} for {wanted}"
        );
    }
}

#[test]
fn metrics_carry_unit_direction_repeats_and_interval() {
    let outputs = example().run(&roles()).unwrap();
    let mri = metric(&outputs, "mri");
    assert_eq!(
        (mri.value, mri.unit.as_str(), mri.n),
        (2.75, "points", Some(2))
    );
    assert_eq!(mri.better, Some(Better::Higher));
    // t(0.975, 1) = 12.706…, standard error 0.5
    assert!((mri.interval.unwrap()[1] - 2.75 - 6.353_102_368).abs() < 1e-6);
    let drop = metric(&outputs, "drop");
    assert_eq!((drop.value, drop.better), (7.5, Some(Better::Lower)));
    assert_eq!(metric(&outputs, "before").unit, "percent");
    insta::assert_snapshot!(
        serde_json::to_string(rows(&outputs))
            .unwrap()
            .replace("],", "],\n")
    );
}

#[test]
fn wrong_roles_and_missing_cells_are_reported_at_load_time() {
    let mut lines = Vec::new();
    let mut tell = |with: Value, sides: &Sides| {
        for problem in problems(&with, sides) {
            let place = problem.input.unwrap_or(problem.path.join("."));
            let hint = problem.hint.unwrap_or_default();
            lines.push(format!("{place}: {} [{hint}]", problem.message));
        }
    };
    let changed = |field: &str, value: &str| {
        let mut with = roles();
        with[field] = json!(value);
        with
    };
    let sides = example();
    tell(roles(), &sides);
    tell(changed("tuned_on", "domian"), &sides);
    tell(changed("tested_on", "domain"), &sides);
    tell(changed("repeats", "trial"), &sides);
    tell(changed("pretrained_on", "owm"), &sides);
    tell(changed("pretrained", "own"), &sides);
    tell(json!({ "tested_on": "test" }), &sides);
    let mut short = example();
    short.after.remove(0);
    tell(roles(), &short);
    let mut short = example();
    short.before.remove(1);
    tell(roles(), &short);
    let mut doubled = example();
    doubled.after.push(doubled.after[0].clone());
    tell(roles(), &doubled);
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn a_member_without_the_metric_fails_the_node() {
    let mut with = roles();
    with["metric"] = json!("top5");
    let error = example().run(&with).unwrap_err().to_string();
    assert_eq!(
        error,
        "`before[seed=0,test=own]` has no metric `top5`; it has top1"
    );
}

/// The key of a fixed recipe and the bytes of its outcome. Where this fails, the version of the
/// kind must be raised.
#[test]
fn golden_key_and_outcome() {
    let sides = example();
    let registry = Registry::default().with::<Rib>();
    let kind = registry.kinds().get("rib").unwrap();
    let inputs = |members: &[(Axes, Artifact)]| -> Vec<RecipeInput> {
        let members = members.iter();
        members
            .map(|(axes, artifact)| RecipeInput {
                axes: axes.clone(),
                digest: Digest::of(&artifact.to_bytes()),
            })
            .collect()
    };
    let recipe = Recipe {
        kind: kind.name().to_string(),
        version: kind.version(),
        with: kind.parse(&roles()).unwrap().canonical(),
        inputs: BTreeMap::from([
            ("before".to_string(), inputs(&sides.before)),
            ("after".to_string(), inputs(&sides.after)),
        ]),
        device: None,
    };
    let outputs = sides.run(&roles()).unwrap();
    let port = |name: &str| Digest::of(&outputs.ports[name].to_bytes());
    insta::assert_snapshot!(format!(
        "key {}\nmetrics {}\ntable {}",
        recipe.key(),
        port("metrics"),
        port("table")
    ));
}
