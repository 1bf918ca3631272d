//! The whole of ImageNet-RIB in small, from checkpoints of a hub to `verify`: folders laid out like
//! the real datasets, images that ribflow draws, a checkpoint filled by the fixtures' rule.

use std::fs;
use std::path::PathBuf;

use ribflow::ml::data::presets::{ObjectnetLabels, Preset};
use ribflow::ml::models::Config;
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::Value;

use crate::hub::Hub;
use crate::rule;
use crate::space::{Outcome, TestSpace};

fn preset(name: &str) -> Preset {
    Preset::named(name).unwrap()
}

/// The smallest transformer there is, with ImageNet's thousand outputs.
fn checkpoint() -> Vec<u8> {
    let classes: Vec<String> = (0..1000).map(|class| class.to_string()).collect();
    let config = Config::named("vit_mini", &classes).unwrap();
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = config
        .tensors()
        .into_iter()
        .map(|tensor| {
            let values = rule::tensor(&tensor.name, &tensor.shape);
            let bytes = values.iter().flat_map(|value| value.to_le_bytes());
            (tensor.name, tensor.shape, bytes.collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    serialize(views, None).unwrap()
}

/// Small pictures, all different.
fn pictures(space: &TestSpace) -> Vec<Vec<u8>> {
    space.write(
        "pictures.yaml",
        "ribflow: 1
name: pictures
stages:
  drawn: { use: dataset, with: { builtin: mini-rib, domain: rich, images: 400 } }
",
    );
    space.run(&["run", "pictures.yaml", "-q"]).ok();
    space
        .run(&["get", "pictures.yaml", "drawn", "-o", "drawn"])
        .ok();
    let mut files = Vec::new();
    let mut folders = vec![space.path("drawn")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.extend(
                    path.extension()
                        .is_some_and(|it| it == "png")
                        .then_some(path),
                ),
            }
        }
    }
    files.sort();
    assert_eq!(files.len(), 400);
    files
        .into_iter()
        .map(|file| fs::read(file).unwrap())
        .collect()
}

/// A lab with folders of drawn images laid out like the real datasets, a hub, and the workflow.
struct Lab {
    space: TestSpace,
    hub: Hub,
    pictures: Vec<Vec<u8>>,
}

impl Lab {
    fn new() -> Self {
        let space = TestSpace::new();
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("workflows");
        for file in ["imagenet-rib.yaml", "published/imagenet-rib.yaml"] {
            space.write(file, fs::read(folder.join(file)).unwrap());
        }
        Self {
            hub: Hub::serving(checkpoint()),
            pictures: pictures(&space),
            space,
        }
    }

    /// Pictures in every class folder of `preset` below `data/place`, others at another `first`: two,
    /// or one where there are a thousand classes, for time's sake. A distance needs classes with two.
    fn lay(&self, place: &str, preset: Preset, first: usize) {
        let folders = preset.folders(ObjectnetLabels::Intended);
        for (number, folder) in folders.iter().enumerate() {
            let alone = folders.len() == 1000 && number % 10 > 0;
            for image in 0..if alone { 1 } else { 2 } {
                let place = format!("data/{place}/{}/{image}.png", folder.folder);
                let picture = (first + 7 * number + 3 * image) % self.pictures.len();
                self.space.write(&place, &self.pictures[picture]);
            }
        }
    }

    /// Runs a command on the smoke profile of the workflow with some changes.
    fn smoke(&self, changes: &[&str], words: &[&str]) -> Outcome {
        let mut arguments = vec![words[0], "imagenet-rib.yaml", "--profile", "smoke"];
        for change in changes {
            arguments.extend(["--set", change]);
        }
        arguments.extend(&words[1..]);
        let mut command = self.space.command(&arguments);
        command
            .env("RIB_DATA", self.space.path("data"))
            .env("HF_ENDPOINT", &self.hub.endpoint);
        self.space.finish(&mut command)
    }

    fn results(&self) -> Value {
        let text = self.space.read("out/imagenet-rib-smoke/results.json");
        serde_json::from_str(&text).unwrap()
    }
}

/// The nodes of a stage in `results.json`.
fn of_stage<'r>(results: &'r Value, stage: &str) -> Vec<&'r Value> {
    let nodes = results["nodes"].as_array().unwrap().iter();
    nodes.filter(|node| node["stage"] == stage).collect()
}

/// What this test changes of the file: one small checkpoint, one part of ImageNet-C, and three of the
/// eight domains; every method but the prompt, whose frame is wider than the small model's images.
const CHANGES: [&str; 4] = [
    "axes.source=[{ id: in1k-augreg, hub: lab/vit_mini, revision: main }]",
    "axes.domain=[a, { id: objectnet, classes: intended }, c]",
    "axes.corruption=[fog]",
    "axes.method=[ft, lp, lp-released, lpft, lora, lwf, ewc, wise-25, wise-50, wise-75, soup]",
];

#[test]
fn the_smoke_profile_runs_from_checkpoint_to_verify() {
    let lab = Lab::new();
    lab.lay("val", preset("imagenet-val"), 0);
    lab.lay("imagenet-a", preset("imagenet-a"), 1);
    lab.lay("objectnet-1.0/images", preset("imagenet-objectnet"), 3);
    lab.lay("c/weather/fog/3", preset("imagenet-val"), 4);
    let run = |words: &[&str]| lab.smoke(&CHANGES, words);
    let plan = run(&["plan", "--json"]).expect(0).json();
    let planned = plan["nodes"].as_array().unwrap().iter();
    let planned = planned.filter(|node| node["derived"] == false).count();
    // 1 part, 4 sets, the model, 3 domains tuned on in 11 ways and tested on the other 3 sets, 4
    // baselines, 3 distances, 11 summaries of methods, the report.
    assert_eq!(planned, 1 + 4 + 1 + 33 + 33 * 3 + 4 + 3 + 11 + 1);

    let done = run(&["run", "--json"]).expect(0);
    let summary = done.json_lines().pop().unwrap();
    assert_eq!(
        (&summary["nodes"], &summary["failed"]),
        (&(planned.into()), &0.into())
    );
    let results = lab.results();
    let of = |stage: &str| of_stage(&results, stage).len();
    assert_eq!(
        (of("accuracy"), of("robustness"), of("distance")),
        (99, 11, 3)
    );
    for node in of_stage(&results, "robustness") {
        let metric = |name: &str| node["metrics"][name]["value"].as_f64().unwrap();
        let (before, after, mri) = (metric("before"), metric("after"), metric("mri"));
        assert!(
            (before + mri - after).abs() < 1e-9,
            "{before} {mri} {after}"
        );
    }

    // A few images of another model are no reproduction, and are not taken for one.
    let verdicts = run(&["verify", "--json"]).expect(4).json();
    let values = verdicts["values"].as_array().unwrap();
    let has = |verdict: &str| values.iter().any(|value| value["verdict"] == verdict);
    assert!(has("other_setting") && has("not_run"));
    assert_eq!(verdicts["judged"], 0);
    assert_eq!(verdicts["calibrated"], false);
    let page = lab.space.read("out/imagenet-rib-smoke/report.html");
    assert!(page.contains("images: limit 2, published with unset"));
    assert!(page.contains("Published and reproduced"));
    let warning = "warning: 1 checkpoint of pretrained may change under the same key";
    assert!(done.stderr.contains(warning), "{}", done.stderr);
}

/// The eight datasets and ImageNet's own, each where and as it is distributed: one model tuned on
/// every one and tested on the others.
#[test]
fn every_dataset_is_tuned_on_and_tested_on_in_its_layout() {
    let lab = Lab::new();
    let places = [
        ("ILSVRC2012_img_val", preset("imagenet-val")),
        (
            "imagenetv2-matched-frequency-format-val",
            preset("imagenet-v2"),
        ),
        ("imagenet-a", preset("imagenet-a")),
        ("imagenet-r", preset("imagenet-r")),
        ("sketch/sketch", preset("imagenet-sketch")),
        ("objectnet-1.0/images", preset("imagenet-objectnet")),
        ("imagenet-cartoon", preset("imagenet-cartoon")),
        ("imagenet-drawing", preset("imagenet-drawing")),
        ("imagenet-c/noise/gaussian_noise/3", preset("imagenet-val")),
        ("imagenet-c/weather/fog/3", preset("imagenet-val")),
    ];
    for (first, (place, preset)) in places.into_iter().enumerate() {
        lab.lay(place, preset, first);
    }
    let changes = [CHANGES[0], "axes.method=[ft]"];
    let run = |words: &[&str]| lab.smoke(&changes, words);
    run(&["run", "-q"]).ok();
    let results = lab.results();
    let images = |test: &str| {
        let nodes = of_stage(&results, "images").into_iter();
        let mut nodes = nodes.filter(|node| node["axes"]["test"] == test);
        nodes.next().unwrap()["metrics"]["images"]["value"].clone()
    };
    for (test, count) in [("val", 1100), ("v2", 1100), ("a", 400), ("r", 400)] {
        assert_eq!(images(test), count as f64, "{test}");
    }
    for (test, count) in [("sketch", 1100), ("objectnet", 226), ("c", 2200)] {
        assert_eq!(images(test), count as f64, "{test}");
    }
    assert_eq!(of_stage(&results, "accuracy").len(), 8 * 8);
    assert_eq!(of_stage(&results, "distance").len(), 8);
    let verdicts = run(&["verify", "--json"]).expect(4).json();
    assert_eq!(verdicts["judged"], 0);
}
