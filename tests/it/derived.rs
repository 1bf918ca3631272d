//! Work that nodes share: done once, whatever the budget the same results.

use std::fs;
use std::path::Path;

use ribflow::ml::data::encode::jpeg;
use ribflow::ml::data::mini_rib::{self, Collection, Split};
use ribflow::ml::data::picture::Picture;
use serde_json::Value;

use crate::space::{Outcome, TestSpace};

pub const WORKFLOW: &str = "\
ribflow: 1
name: shared
axes:
  method:
    - ft
    - { id: lp, method: lp }
    - { id: again, method: lp, lr: 0.02 }
    - { id: lwf, method: lwf }
    - { id: soft, method: lwf, lr: 0.003 }
stages:
  images: { use: dataset, with: { folder: photos } }
  start: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 40 } }
  before: { use: pretrain, needs: { data: start }, with: { arch: vit_mini, epochs: 1 } }
  baseline: { use: evaluate, needs: { model: before, data: images } }
  cloud: { use: features, needs: { model: before, data: images } }
  tuned:
    each: [method]
    use: finetune
    needs: { init: before, data: images }
    with: { method: \"${method.method?params.method}\", lr: \"${method.lr?params.rate}\", epochs: 2, batch: 8, warmup: 0 }
  after: { each: [method], use: evaluate, needs: { model: tuned, data: images } }
params: { rate: 0.01, method: ft }
";

/// Photographs of no model's size: twenty in four classes.
pub fn photos(space: &TestSpace) {
    let set = mini_rib::render(Collection::R, Split::Test, 40, 3);
    for index in 0..20 {
        let small = set.image(index).unwrap();
        let (wide, high) = (47, 40);
        let mut pixels = Vec::new();
        for y in 0..high {
            for x in 0..wide {
                let at = 3 * ((y * 32 / high) * 32 + x * 32 / wide);
                pixels.extend_from_slice(&small[at..at + 3]);
            }
        }
        let picture = Picture {
            pixels,
            width: wide,
            height: high,
        };
        let class = &set.classes[set.labels[index] as usize];
        let name = format!("photos/{class}/{index:02}.jpg");
        space.write(&name, jpeg(&picture, 90).unwrap());
    }
}

fn space() -> TestSpace {
    let space = TestSpace::new();
    space.write("shared.yaml", WORKFLOW);
    photos(&space);
    space
}

fn run(space: &TestSpace, more: &[&str]) -> (Outcome, Value) {
    let arguments = [&["run", "shared.yaml", "--json", "--threads", "2"], more].concat();
    let outcome = space.run(&arguments).expect(0);
    let last = outcome.stdout.lines().last().unwrap().to_string();
    let summary = serde_json::from_str(&last).unwrap();
    (outcome, summary)
}

fn results(space: &TestSpace) -> String {
    fs::read_to_string(space.path("out/shared/results.json")).unwrap()
}

#[test]
fn shared_work_is_done_once_and_changes_nothing() {
    let space = space();
    let (outcome, summary) = run(&space, &[]);
    assert_eq!(summary["derived_ran"], 3, "pixels, features, logits");
    let shared = results(&space);
    let mut kinds: Vec<String> = outcome
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "derived_made")
        .map(|event| event["kind"].as_str().unwrap().to_string())
        .collect();
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, ["features", "logits", "pixels"]);

    // With what lies there already, with a damaged piece, and with nothing kept at all.
    let (_, summary) = run(&space, &["--force", "after[*]", "--force", "tuned[*]"]);
    assert_eq!(summary["derived_ran"], 0);
    assert_eq!(results(&space), shared);
    damage(&space.path("cache/derived"));
    let (_, summary) = run(&space, &["--force", "after[*]", "--force", "tuned[*]"]);
    assert!(summary["derived_ran"].as_u64() > Some(0));
    assert_eq!(results(&space), shared);
    for folder in ["cache", "out"] {
        fs::rename(space.path(folder), space.path(&format!("{folder}-before"))).unwrap();
    }
    let (_, summary) = run(&space, &["--derived-max", "0"]);
    assert_eq!(summary["derived_ran"], 0);
    assert!(!space.path("cache/derived").exists());
    assert_eq!(results(&space), shared);
}

#[test]
fn a_plan_lists_what_would_be_shared() {
    let space = space();
    run(&space, &["images", "before"]).0.ok();
    let outcome = space.run(&["plan", "shared.yaml", "--json"]);
    let plan: Value = serde_json::from_str(&outcome.stdout).unwrap();
    let nodes = plan["nodes"].as_array().unwrap();
    let derived: Vec<&Value> = nodes
        .iter()
        .filter(|node| node["derived"] == true)
        .collect();
    let told: Vec<String> = derived
        .iter()
        .map(|node| format!("{} {} {}", node["kind"], node["state"], node["why"]).replace('"', ""))
        .collect();
    insta::assert_snapshot!(told.join("\n"));
    let outcome = space.run(&["plan", "shared.yaml"]);
    let lines = outcome.stdout.lines();
    let lines: Vec<&str> = lines.filter(|line| line.starts_with("Derived")).collect();
    insta::assert_snapshot!(lines.join("\n"));
    assert!(!space.path("cache/derived").exists());
}

/// Changes a byte of every piece.
fn damage(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            damage(&path);
        } else if path.extension().is_none() {
            let mut bytes = fs::read(&path).unwrap();
            bytes[5] ^= 8;
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
        }
    }
}

/// A node that reads sealed images that have changed fails and says so; the next run takes them.
#[test]
fn a_broken_seal_fails_one_run_and_no_more() {
    let space = TestSpace::new();
    photos(&space);
    let folder = WORKFLOW
        .lines()
        .find(|line| line.contains("photos"))
        .unwrap();
    let sealed = folder.replace("folder: photos", "folder: photos, sealed: true");
    assert_ne!(folder, sealed);
    space.write("shared.yaml", WORKFLOW.replace(folder, &sealed));
    let _ = run(&space, &["baseline"]);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let _ = run(&space, &["baseline"]);
    let classes = std::fs::read_dir(space.path("photos")).unwrap();
    let class = classes.map(|class| class.unwrap().path()).min().unwrap();
    let images = std::fs::read_dir(&class).unwrap();
    let mut images: Vec<_> = images.map(|image| image.unwrap().path()).collect();
    images.sort();
    let other = std::fs::read(&images[1]).unwrap();
    std::fs::write(&images[0], other).unwrap();
    std::fs::remove_dir_all(space.path("cache/derived")).unwrap();
    let words = ["run", "shared.yaml", "baseline", "--force", "baseline"];
    let failed = space.run(&words).expect(1);
    assert!(failed.stderr.contains("has changed: "), "{failed}");
    assert!(
        failed.stderr.contains("is `sealed` and has changed"),
        "{failed}"
    );
    let (_, summary) = run(&space, &["baseline"]);
    assert_eq!(summary["failed"], 0);
    assert!(summary["ran"].as_u64() >= Some(2), "{summary}");
}
