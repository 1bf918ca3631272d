//! ImageNet-RIB's datasets as they are distributed, in small.

use std::fs;
use std::path::Path;

use ribflow::ml::data::presets::{ObjectnetLabels, Preset};
use serde_json::Value;

use crate::space::TestSpace;

fn preset(name: &str) -> Preset {
    Preset::named(name).unwrap()
}

fn image(name: &str) -> Vec<u8> {
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images");
    fs::read(images.join(name)).unwrap()
}

/// Lays `images` copies of an image into each of the class folders below `place`.
fn lay(space: &TestSpace, place: &str, preset: Preset, images: usize) {
    let jpeg = image("420.jpg");
    for folder in preset.folders(ObjectnetLabels::Intended) {
        for number in 0..images {
            space.write(&format!("{place}/{}/{number}.jpg", folder.folder), &jpeg);
        }
    }
}

fn workflow(with: &str) -> String {
    format!(
        "ribflow: 1\nname: x\nstages:\n  images:\n    use: dataset\n    with: {{ root: data, {with} }}\n"
    )
}

fn counts(space: &TestSpace, with: &str) -> (f64, f64) {
    space.write("x.yaml", workflow(with));
    space.run(&["run", "x.yaml"]).ok();
    let results: Value = serde_json::from_str(&space.read("out/x/results.json")).unwrap();
    let value = |name: &str| {
        results["nodes"][0]["metrics"][name]["value"]
            .as_f64()
            .unwrap()
    };
    (value("images"), value("classes"))
}

#[test]
fn presets_are_found_in_their_layouts() {
    let space = TestSpace::new();
    lay(&space, "data/imagenet-a", preset("imagenet-a"), 2);
    lay(
        &space,
        "data/imagenetv2-matched-frequency-format-val",
        preset("imagenet-v2"),
        1,
    );
    lay(
        &space,
        "data/objectnet/images",
        preset("imagenet-objectnet"),
        1,
    );
    lay(&space, "data/c/weather/fog/3", preset("imagenet-val"), 1);
    space.write(
        "data/objectnet/images/air_freshener/0.jpg",
        image("420.jpg"),
    );
    assert_eq!(counts(&space, "preset: imagenet-a"), (400.0, 200.0));
    assert_eq!(
        counts(&space, "preset: imagenet-a, limit: 1"),
        (200.0, 200.0)
    );
    assert_eq!(counts(&space, "preset: imagenet-v2"), (1000.0, 1000.0));
    assert_eq!(counts(&space, "preset: imagenet-objectnet"), (113.0, 113.0));
    let released = "preset: imagenet-objectnet, classes: released";
    assert_eq!(counts(&space, released), (113.0, 105.0));
    assert_eq!(
        counts(&space, "preset: imagenet-c, part: fog/3"),
        (1000.0, 1000.0)
    );
    // The layouts lie below the root, where `get` finds the files again.
    space.write("x.yaml", workflow("preset: imagenet-a, limit: 1"));
    space.run(&["get", "x.yaml", "images", "-o", "got"]).ok();
    assert_eq!(fs::read_dir(space.path("got")).unwrap().count(), 200);
    let two = "preset: imagenet-v2, classes: [n01443537, n01440764]";
    assert_eq!(counts(&space, two), (2.0, 2.0));
    // Another layout of the same images is the same dataset.
    fs::rename(space.path("data/imagenet-a"), space.path("data/a")).unwrap();
    space.write("x.yaml", workflow("preset: imagenet-a"));
    let again = space.run(&["run", "x.yaml", "--json"]).expect(0);
    assert_eq!(again.json_lines().pop().unwrap()["ran"], 0);
}

#[test]
fn what_is_missing_is_reported_before_anything_runs() {
    let space = TestSpace::new();
    lay(&space, "data/a", preset("imagenet-a"), 1);
    fs::remove_dir_all(space.path("data/a/n01498041")).unwrap();
    let workflow = "ribflow: 1
name: x
axes: { set: [a, r] }
stages:
  pool:
    use: dataset
    with: { builtin: mini-rib, domain: v2, images: 20 }
  model:
    use: pretrain
    needs: { data: pool }
    with: { arch: vit_mini, epochs: 1, batch: 20 }
  images:
    each: [set]
    use: dataset
    with: { root: data, preset: \"imagenet-${set}\" }
  distance:
    each: [set]
    use: ot
    needs: { model: model, a: pool, b: images }
";
    space.write("x.yaml", workflow);
    let refused = space.run(&["run", "x.yaml", "--json"]).expect(1);
    let lines = refused.json_lines();
    let started = lines.iter().filter(|line| line["event"] == "node_started");
    assert_eq!(started.count(), 0, "{refused}");
    assert!(refused.stdout.contains("n01498041"), "{refused}");
    let kept = space
        .run(&["run", "x.yaml", "--json", "--keep-going"])
        .expect(1);
    let summary = kept.json_lines().pop().unwrap();
    assert_eq!(
        (&summary["ran"], &summary["failed"]),
        (&2.into(), &2.into()),
        "{kept}"
    );
}

#[test]
fn a_folder_of_datasets_is_checked() {
    let space = TestSpace::new();
    lay(&space, "data/a", preset("imagenet-a"), 1);
    space.write("data/a/n01498041/0.jpg", &image("420.jpg")[..200]);
    lay(&space, "data/c/fog/3", preset("imagenet-val"), 1);
    let checked = space.run(&["data", "check", "data", "--decode"]).expect(1);
    insta::assert_snapshot!(checked.stdout);
    let checked = space
        .run(&["data", "check", "data", "--json"])
        .expect(1)
        .json();
    let a = &checked["datasets"][2];
    assert_eq!(
        (&a["name"], &a["images"]),
        (&"imagenet-a".into(), &200.into())
    );
}

#[test]
fn wrong_presets_are_reported_at_load_time() {
    let space = TestSpace::new();
    let mut told = String::new();
    for with in [
        "preset: imagenet-b",
        "preset: imagenet-c",
        "preset: imagenet-c, part: fog/7",
        "preset: imagenet-a, part: fog/3",
        "preset: imagenet-r, classes: released",
        "preset: imagenet-objectnet, classes: relased",
        "preset: imagenet-objectnet, classes: 3",
        "preset: imagenet-r, classes: [n01440764]",
        "builtin: mini-rib, domain: v2",
        "builtin: mini-rib, sealed: true",
    ] {
        space.write("x.yaml", workflow(with));
        told.push_str(&space.run(&["validate", "x.yaml"]).expect(2).stderr);
        told.push('\n');
    }
    insta::assert_snapshot!(told);
}

#[test]
fn who_may_pass_images_on_is_no_part_of_a_key() {
    let space = TestSpace::new();
    lay(&space, "data/imagenet-a", preset("imagenet-a"), 1);
    let keys = |share: &str| -> Vec<String> {
        space.write("x.yaml", workflow(&format!("preset: imagenet-a{share}")));
        let plan = space.run(&["plan", "x.yaml", "--json"]).expect(0).json();
        let nodes = plan["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["key"].to_string()).collect()
    };
    let usual = keys("");
    assert!(usual.iter().all(|key| key.len() > 60), "{usual:?}");
    assert_eq!(keys(", share: true"), usual);
    assert_eq!(keys(", share: false"), usual);
}

#[test]
fn a_seal_is_no_part_of_a_key_and_stands_in_for_a_look() {
    let space = TestSpace::new();
    let written = |sealed: &str| {
        let stage = format!("use: dataset, with: {{ folder: photos{sealed} }}");
        let text = format!("ribflow: 1\nname: photos\nstages:\n  photos: {{ {stage} }}\n");
        space.write("photos.yaml", text);
    };
    // Whether the one node ran.
    let ran = |more: &[&str]| {
        let words = [&["run", "photos.yaml", "--json"], more].concat();
        let events = space.run(&words).expect(0).json_lines();
        events.last().unwrap()["ran"] == 1
    };
    space.write("photos/cat/1.png", "one");
    written(", sealed: true");
    assert!(ran(&[]));
    written("");
    assert!(!ran(&[]));
    written(", sealed: true");
    assert!(!ran(&[]));
    space.write("photos/cat/1.png", "two");
    assert!(!ran(&[]));
    // Once somebody has looked, that is what it is.
    assert!(ran(&["--check-sealed"]));
    assert!(!ran(&[]));
    space.write("photos/cat/1.png", "three");
    written("");
    assert!(ran(&[]));
    // What must be read in earnest must be what its key says.
    written(", sealed: true");
    space.write("photos/cat/1.png", "four");
    let failed = space
        .run(&["run", "photos.yaml", "--force", "photos"])
        .expect(1);
    assert!(
        failed.stderr.contains("is `sealed` and has changed"),
        "{failed}"
    );
    assert!(ran(&[]));
    written(", sealed: 1");
    space
        .run(&["validate", "photos.yaml"])
        .expect(2)
        .stderr
        .contains("sealed")
        .then_some(())
        .unwrap();
}
