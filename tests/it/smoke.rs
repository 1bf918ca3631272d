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
use crate::space::TestSpace;

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

/// Two pictures in every class folder of `preset` below `place`.
fn lay(space: &TestSpace, place: &str, preset: Preset, pictures: &[Vec<u8>], first: usize) {
    let folders = preset.folders(ObjectnetLabels::Intended);
    for (number, folder) in folders.iter().enumerate() {
        let picture = &pictures[(first + 7 * number) % pictures.len()];
        let other = &pictures[(first + 7 * number + 3) % pictures.len()];
        space.write(&format!("{place}/{}/a.png", folder.folder), picture);
        space.write(&format!("{place}/{}/b.png", folder.folder), other);
    }
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
    let space = TestSpace::new();
    let pictures = pictures(&space);
    lay(&space, "data/val", Preset::Val, &pictures, 0);
    lay(&space, "data/imagenet-a", Preset::A, &pictures, 1);
    lay(
        &space,
        "data/objectnet-1.0/images",
        Preset::Objectnet,
        &pictures,
        3,
    );
    lay(&space, "data/c/weather/fog/3", Preset::Val, &pictures, 4);
    let hub = Hub::serving(checkpoint());
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("workflows");
    for file in ["imagenet-rib.yaml", "published/imagenet-rib.yaml"] {
        space.write(file, fs::read(folder.join(file)).unwrap());
    }
    let file = "imagenet-rib.yaml";
    let root = space.path("data").display().to_string();
    let run = |words: &[&str]| {
        let mut arguments = vec![words[0], file, "--profile", "smoke"];
        for change in CHANGES {
            arguments.extend(["--set", change]);
        }
        arguments.extend(&words[1..]);
        let mut command = space.command(&arguments);
        command
            .env("RIB_DATA", &root)
            .env("HF_ENDPOINT", &hub.endpoint);
        space.finish(&mut command)
    };
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
    let results: Value =
        serde_json::from_str(&space.read("out/imagenet-rib-smoke/results.json")).unwrap();
    let nodes = results["nodes"].as_array().unwrap();
    let of = |stage: &str| nodes.iter().filter(|node| node["stage"] == stage).count();
    assert_eq!(
        (of("accuracy"), of("robustness"), of("distance")),
        (99, 11, 3)
    );
    for node in nodes.iter().filter(|node| node["stage"] == "robustness") {
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
    let page = space.read("out/imagenet-rib-smoke/report.html");
    assert!(page.contains("images: limit 2, published with unset"));
    assert!(page.contains("Published and reproduced"));
    let warning = "warning: 1 checkpoint of pretrained may change under the same key";
    assert!(done.stderr.contains(warning), "{}", done.stderr);
}
