//! `run --accept KIND@OLD` and `verify --recompute`, as they are typed: a store that an earlier
//! ribflow left, in which `ot` was one version older.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use ribflow::digest::Digest;
use ribflow::remote::signing::SecretKey;
use ribflow::remote::statement;
use ribflow::rng::Stream;
use ribflow::stages;
use ribflow::store::artifact::Artifact;
use ribflow::store::samples::Sample;
use ribflow::store::{Port, Record, Signature, Store};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;

use crate::space::{Outcome, TestSpace};

const WORKFLOW: &str = "ribflow: 1
name: distances
axes: { n: [6, 7, 8, 9] }
stages:
  a: { use: arrays, with: { path: a.safetensors } }
  b: { use: arrays, with: { path: b.safetensors } }
  distance: { each: [n], use: ot, needs: { a: a, b: b }, with: { distance: wasserstein, samples: '${n}' } }
";
const NODES: usize = 4;

/// The version of `ot` in this build.
fn today() -> u32 {
    stages::registry().kinds().get("ot").unwrap().version()
}

/// `ot@1`, as an option takes it.
fn older() -> String {
    format!("ot@{}", today() - 1)
}

/// Too large to stand in a record.
fn points(seed: u64) -> Vec<u8> {
    let mut stream = Stream::new(seed, "test points");
    let values: Vec<u8> = (0..96)
        .flat_map(|_| (stream.normal() as f32).to_le_bytes())
        .collect();
    let labels: Vec<u8> = (0..24i64).flat_map(|it| (it % 3).to_le_bytes()).collect();
    let view = |dtype, shape: &[usize], data| TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let tensors = [
        ("features", view(Dtype::F32, &[24, 4], &values)),
        ("labels", view(Dtype::I64, &[24], &labels)),
    ];
    safetensors::serialize(tensors, None).unwrap()
}

/// A place whose store an earlier ribflow left.
struct Upgraded {
    space: TestSpace,
    /// The results before the upgrade.
    results: String,
}

impl Upgraded {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With records that were changed before they were kept.
    fn with(change: impl Fn(&mut Record)) -> Self {
        let space = TestSpace::new();
        space.write("a.safetensors", points(1));
        space.write("b.safetensors", points(2));
        space.write("w.yaml", WORKFLOW);
        space.run(&["run", "w.yaml", "-q"]).ok();
        let results = space.read("out/distances/results.json");
        let upgraded = Self { space, results };
        upgraded.age(change);
        fs::remove_dir_all(upgraded.space.path("out")).unwrap();
        upgraded
    }

    fn store(&self) -> Store {
        Store::open(&self.space.path("cache")).unwrap()
    }

    fn records(&self) -> Vec<Record> {
        let outcomes = self.store().inventory().unwrap().outcomes.into_iter();
        let records = outcomes.map(|outcome| outcome.record);
        records
            .filter(|record| record.recipe.kind == "ot")
            .collect()
    }

    /// Puts each record of `ot` under the key that it had by the version before.
    fn age(&self, change: impl Fn(&mut Record)) {
        let store = self.store();
        for mut record in self.records() {
            let folder = self.folder(&record);
            record.recipe.version = today() - 1;
            record.key = record.recipe.key();
            change(&mut record);
            store.publish(&[record]).unwrap();
            fs::remove_dir_all(folder).unwrap();
        }
        // What was derived from the files knows of other records.
        let _ = fs::remove_dir_all(self.space.path("cache/index.records"));
        let _ = fs::remove_dir_all(self.space.path("cache/index.runs"));
    }

    fn folder(&self, record: &Record) -> PathBuf {
        let hex = record.key.to_hex();
        self.space
            .path(&format!("cache/records/{}/{hex}", &hex[..2]))
    }

    fn run(&self, arguments: &[&str]) -> Outcome {
        self.space.run(arguments)
    }

    /// How many nodes ran and were reused.
    fn counts(&self, options: &[&str]) -> (u64, u64) {
        let words = [&["run", "w.yaml", "--json"], options].concat();
        let summary = self.run(&words).expect(0).json_lines().pop().unwrap();
        let number = |name: &str| summary[name].as_u64().unwrap();
        (number("ran"), number("reused"))
    }

    fn provenance(&self) -> Vec<Value> {
        let text = self.space.read("out/distances/provenance.json");
        let document: Value = serde_json::from_str(&text).unwrap();
        let nodes = document["nodes"].as_array().unwrap().iter();
        let nodes = nodes.filter(|node| node["kind"] == "ot");
        nodes.cloned().collect()
    }

    /// Every file of the store's records and blobs.
    fn truth(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut folders = vec![
            self.space.path("cache/records"),
            self.space.path("cache/objects"),
        ];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => {
                        let bytes = fs::read(&path).unwrap();
                        files.insert(path, bytes);
                    }
                }
            }
        }
        files
    }
}

/// Moves the distance of a record by `shift`, far above or below the tolerance of the kind.
fn shifted(record: &mut Record, shift: f64) {
    let port = record.ports.get_mut("metrics").unwrap();
    let Some(Artifact::Metrics(metrics)) = &mut port.inline else {
        panic!("metrics stand in the record");
    };
    metrics.values.get_mut("distance").unwrap().value += shift;
    let artifact = port.inline.clone().unwrap();
    let bytes = artifact.to_bytes();
    *port = Port {
        digest: Digest::of(&bytes),
        bytes: bytes.len() as u64,
        ..port.clone()
    };
}

#[test]
fn a_sample_is_recomputed_and_then_the_records_are_accepted_for_good() {
    let place = Upgraded::new();
    let (old, today) = (older(), today());
    // First it says what there is, and refuses.
    let plan = place.run(&["plan", "w.yaml"]).expect(0).stdout;
    let hint = format!("{NODES} nodes would not run with `--accept {old}`");
    assert!(plan.contains(&hint), "{plan}");
    let why = place.run(&["why", "w.yaml", "distance[n=6]"]).expect(0);
    assert!(
        why.stdout.contains(&format!("`--accept {old}`")),
        "{}",
        why.stdout
    );
    let plan = place.run(&["plan", "w.yaml", "--accept", &old]).expect(0);
    let says = format!(
        "{NODES} records of version {} of `ot` would be accepted",
        today - 1
    );
    assert!(plan.stdout.contains(&says), "{plan}");
    assert!(plan.stdout.contains("Nothing would run."), "{plan}");
    let command = format!("`ribflow verify w.yaml --recompute --accept {old}`");
    assert!(plan.stdout.contains(&command), "{plan}");
    let refused = place.run(&["run", "w.yaml", "--accept", &old]).expect(2);
    assert!(refused.stderr.contains(&command), "{refused}");

    let before = place.truth();
    let verify = ["verify", "w.yaml", "--recompute", "50%", "--accept", &old];
    let verified = place.run(&verify).expect(0);
    let says =
        format!("{NODES} records of {old} can be accepted: `ribflow run w.yaml --accept {old}`");
    assert!(verified.stdout.contains(&says), "{verified}");
    assert!(
        verified.stdout.contains("recomputed 2 of 4 nodes"),
        "{verified}"
    );
    assert!(place.truth() == before, "the store has changed");

    let ran = place.run(&["run", "w.yaml", "--accept", &old]).expect(0);
    assert!(ran.stdout.contains("Accepted: `distance[n=6]`, "), "{ran}");
    assert!(
        ran.stdout.contains("4 records of older versions accepted"),
        "{ran}"
    );
    let after = place.truth();
    assert!(
        before
            .iter()
            .all(|(path, bytes)| after.get(path) == Some(bytes))
    );
    // For good: without the option as with it.
    assert_eq!(place.counts(&[]), (0, NODES as u64 + 2));
    assert_eq!(place.counts(&["--accept", &old]), (0, NODES as u64 + 2));
    assert_eq!(
        place.space.read("out/distances/results.json"),
        place.results
    );
    let page = place.space.read("out/distances/report.html");
    assert!(page.contains("<b>Accepted. </b>"));
    for node in place.provenance() {
        assert_eq!(node["version"], today);
        assert_eq!(node["accepted"][0]["version"], today - 1);
        assert_eq!(node["accepted"][0]["kind"], "ot");
    }
    // The text says so each time, also where nothing is looked at any more.
    for _ in 0..3 {
        let again = place.run(&["run", "w.yaml"]).expect(0);
        assert!(
            again.stdout.contains("Accepted: `distance[n=6]`, "),
            "{again}"
        );
    }
    let why = place.run(&["why", "w.yaml", "distance[n=6]"]).expect(0);
    assert!(why.stdout.contains("which was accepted"), "{why}");
    // Accepted records are recomputed like any other.
    let words = ["verify", "w.yaml", "--recompute", "--json"];
    let document = place.run(&words).expect(0).json();
    let drawn = document["recomputed"].as_array().unwrap();
    let kinds: Vec<(&str, &str)> = drawn
        .iter()
        .map(|node| {
            (
                node["kind"].as_str().unwrap(),
                node["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(kinds, [("arrays", "equal"), ("ot", "equal")]);
    assert_eq!(document["of"], NODES as u64 + 2);
    // With the record that was computed, not the one that repeats it.
    assert_eq!(drawn[1]["accepted_from"], today - 1);
}

#[test]
fn a_sample_that_differs_leads_to_nothing() {
    // Far beyond the tolerance, in one record: all are drawn.
    let place = Upgraded::with(|record| {
        if record.recipe.with["samples"] == 7 {
            shifted(record, 1.0);
        }
    });
    let old = older();
    let verify = ["verify", "w.yaml", "--recompute", "100%", "--accept", &old];
    let verified = place.run(&verify).expect(3);
    assert!(
        verified.stdout.contains("different     distance[n=7]"),
        "{verified}"
    );
    assert!(verified.stdout.contains("metrics.distance: "), "{verified}");
    let says = format!("The sample covers no record of {old}.");
    assert!(verified.stdout.contains(&says), "{verified}");
    drop(place.run(&["run", "w.yaml", "--accept", &old]).expect(2));
    // The option alone decides: without it, all is computed.
    assert_eq!(place.counts(&[]), (NODES as u64, 2));
    assert_eq!(
        place.space.read("out/distances/results.json"),
        place.results
    );
}

#[test]
fn a_later_sample_that_differs_takes_the_earlier_one_back() {
    let place = Upgraded::with(|record| {
        if record.recipe.with["samples"] == 7 {
            shifted(record, 1.0);
        }
    });
    let old = older();
    // One that agreed, and stands for all of them.
    let store = place.store();
    let all: Vec<Digest> = place.records().iter().map(Record::digest).collect();
    let (from, to) = (today() - 1, today());
    let sample = Sample::new("ot", [from, to], "cpu", 1).of(all[..1].to_vec(), all.clone());
    store.keep_sample(&sample).unwrap();
    assert_eq!(store.sampled("ot", from, to).unwrap().len(), NODES);
    let verify = ["verify", "w.yaml", "--recompute", "100%", "--accept", &old];
    drop(place.run(&verify).expect(3));
    assert!(store.sampled("ot", from, to).unwrap().is_empty());
    drop(place.run(&["run", "w.yaml", "--accept", &old]).expect(2));
}

#[test]
fn what_is_within_the_tolerance_agrees_and_is_shown() {
    let place = Upgraded::with(|record| shifted(record, 0.001));
    let old = older();
    let verify = ["verify", "w.yaml", "--recompute", "100%", "--accept", &old];
    let verified = place.run(&verify).expect(0);
    assert!(
        verified.stdout.contains("0 bit-identical, 4 equal within"),
        "{verified}"
    );
    assert!(
        verified.stdout.contains("within        distance[n=6]"),
        "{verified}"
    );
    assert_eq!(place.counts(&["--accept", &old]), (0, NODES as u64 + 2));
    // The numbers are those of the records.
    assert_ne!(
        place.space.read("out/distances/results.json"),
        place.results
    );
}

#[test]
fn what_can_not_be_recomputed_is_not_accepted() {
    let place = Upgraded::new();
    let old = older();
    // The arrays are gone, and so are the files that they were read from.
    fs::remove_dir_all(place.space.path("cache/objects")).unwrap();
    let verify = ["verify", "w.yaml", "--recompute", "100%", "--accept", &old];
    let verified = place.run(&verify).expect(4);
    assert!(
        verified.stdout.contains("not here      distance[n="),
        "{verified}"
    );
    drop(place.run(&["run", "w.yaml", "--accept", &old]).expect(2));
    // Nothing of another version.
    let empty = TestSpace::new();
    empty.write("a.safetensors", points(1));
    empty.write("b.safetensors", points(2));
    empty.write("w.yaml", WORKFLOW);
    let verified = empty.run(&["verify", "w.yaml", "--recompute"]).expect(4);
    assert!(
        verified.stdout.contains("nothing to recompute"),
        "{verified}"
    );
    assert!(!empty.path("cache").exists(), "looking makes no store");
    empty.run(&["run", "w.yaml", "-q"]).ok();
    let verified = empty.run(&verify).expect(4);
    assert!(
        verified.stdout.contains("nothing to recompute"),
        "{verified}"
    );
}

#[test]
fn wrong_versions_are_reported() {
    let place = Upgraded::new();
    let today = today();
    for (given, message, hint) in [
        (
            "oot@1",
            "there is no stage kind `oot`",
            "did you mean `ot`?",
        ),
        (
            "rib@1",
            "no node of `distances` is of the kind `rib`",
            "`arrays` and `ot`",
        ),
        ("ot@0", "versions of `ot` begin with 1", "older version"),
        (&format!("ot@{today}"), "not an older one", "older version"),
        ("ot@99", "`ot` has no version 99", "older version"),
        (
            "arrays@1",
            "not an older one",
            "`arrays` has no older version",
        ),
        ("ot", "expected a kind and a version", ""),
        ("ot@", "expected a kind and a version", ""),
        ("@1", "expected a kind and a version", ""),
        ("ot@-1", "expected a kind and a version", ""),
        ("ot@1.5", "expected a kind and a version", ""),
    ] {
        for command in ["run", "plan"] {
            let outcome = place.run(&[command, "w.yaml", "--accept", given]).expect(2);
            assert!(outcome.stderr.contains(message), "{given}: {outcome}");
            assert!(outcome.stderr.contains(hint), "{given}: {outcome}");
        }
        let words = ["verify", "w.yaml", "--recompute", "--accept", given];
        let outcome = place.run(&words).expect(2);
        assert!(outcome.stderr.contains(message), "{given}: {outcome}");
    }
    for share in ["0", "101%", "2", "-5%", "many", "NaN"] {
        let given = format!("--recompute={share}");
        let outcome = place.run(&["verify", "w.yaml", &given]).expect(2);
        assert!(outcome.stderr.contains("expected a share"), "{outcome}");
    }
    let outcome = place.run(&["verify", "--recompute", "w.yaml"]).expect(2);
    assert!(outcome.stderr.contains("put FILE before"), "{outcome}");
    drop(
        place
            .run(&["verify", "w.yaml", "--accept", &older()])
            .expect(2),
    );
}

#[test]
fn older_records_come_from_a_remote_if_somebody_trusted_has_signed_them() {
    let lab = Upgraded::new();
    let key = SecretKey::from_seed(&[7; 32]);
    let store = lab.store();
    let old = older();
    let here = TestSpace::new();
    here.write("a.safetensors", points(1));
    here.write("b.safetensors", points(2));
    here.write("w.yaml", WORKFLOW);
    let url = format!("file://{}", lab.space.path("cache").display());
    let verify = |options: &[&str]| {
        let words = [
            "verify",
            "w.yaml",
            "--recompute",
            "100%",
            "--accept",
            &old,
            "--remote",
            &url,
        ];
        here.run(&[&words[..], options].concat())
    };
    // Nobody has signed them. (The nodes above are computed here.)
    here.run(&["run", "w.yaml", "a", "b", "-q"]).ok();
    drop(verify(&[]).expect(4));
    for record in lab.records() {
        let signature = Signature {
            signer: key.public().in_names(),
            envelope: statement::sign(&record, &key),
        };
        store
            .add_signature(&record.key, &record.digest(), &signature)
            .unwrap();
    }
    // Somebody unknown has.
    drop(verify(&[]).expect(4));
    let run = ["run", "w.yaml", "--accept", &old, "--remote", &url];
    here.run(&["trust", "add", &format!("aachen:{}", key.public())])
        .ok();
    drop(here.run(&run).expect(2));
    drop(verify(&[]).expect(0));
    let ran = here.run(&[&run[..], &["--json"]].concat()).expect(0);
    let summary = ran.json_lines().pop().unwrap();
    assert_eq!(
        (summary["ran"].as_u64(), summary["reused"].as_u64()),
        (Some(0), Some(6))
    );
    // The accepted record says by whose word.
    let store = Store::open(&here.path("cache")).unwrap();
    let outcomes = store.inventory().unwrap().outcomes;
    let accepted = outcomes
        .iter()
        .flat_map(|outcome| &outcome.record.provenance.accepted);
    let signers: Vec<&[Digest]> = accepted.map(|one| &one.signers[..]).collect();
    assert_eq!(signers, [&[key.public().in_names()][..]; NODES]);
}
