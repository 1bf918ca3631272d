//! Spoilt datasets as a workflow makes them.

use std::fs;

use crate::fixtures;
use crate::space::TestSpace;

const WORKFLOW: &str = "ribflow: 1
name: spoilt
axes:
  corruption: [fog, frost, pixelate]
  severity: [1, 5]
stages:
  clean:
    use: dataset
    with: { builtin: mini-rib, domain: v2, images: 20 }
  parts:
    each: [corruption, severity]
    use: corrupt
    needs: { images: clean }
    with: { corruption: \"${corruption}\", severity: \"${severity}\" }
  all:
    use: concat
    needs: { parts: \"parts[*]\" }
  model:
    use: pretrain
    needs: { data: clean }
    with: { arch: vit_mini, epochs: 1, batch: 20 }
  accuracy:
    use: evaluate
    needs: { model: model, data: all }
";

#[test]
fn corruptions_are_parts_that_are_reported_on_their_own() {
    let space = TestSpace::new();
    space.write("spoilt.yaml", WORKFLOW);
    space.run(&["run", "spoilt.yaml"]).ok();
    let results = space.read("out/spoilt/results.json");
    let results: serde_json::Value = serde_json::from_str(&results).unwrap();
    let nodes = results["nodes"].as_array().unwrap();
    let metrics = &nodes.iter().find(|it| it["stage"] == "accuracy").unwrap()["metrics"];
    let parts: Vec<f64> = [
        "fog/1",
        "fog/5",
        "frost/1",
        "frost/5",
        "pixelate/1",
        "pixelate/5",
    ]
    .iter()
    .map(|part| metrics[format!("top1/{part}")]["value"].as_f64().unwrap())
    .collect();
    let mean = parts.iter().sum::<f64>() / 6.0;
    assert!((metrics["top1"]["value"].as_f64().unwrap() - mean).abs() < 1e-9);

    // The same bytes with another number of threads.
    let other = TestSpace::new();
    other.write("spoilt.yaml", WORKFLOW);
    other.run(&["run", "spoilt.yaml", "--threads", "1"]).ok();
    assert_eq!(
        space.read("out/spoilt/results.json"),
        other.read("out/spoilt/results.json")
    );
    let folder = |space: &TestSpace| {
        let fog = "parts[corruption=fog,severity=5]";
        space.run(&["get", "spoilt.yaml", fog, "-o", "fog"]).ok();
        let mut files = Vec::new();
        collect(&space.path("fog"), &mut files);
        files
    };
    let (one, two) = (folder(&space), folder(&other));
    assert!(one.len() >= 20 && one == two);
}

fn collect(folder: &std::path::Path, files: &mut Vec<(String, Vec<u8>)>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|it| it.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        match path.is_dir() {
            true => collect(&path, files),
            false => files.push((
                path.file_name().unwrap().to_string_lossy().into_owned(),
                std::fs::read(&path).unwrap(),
            )),
        }
    }
}

#[test]
fn wrong_corruptions_are_reported() {
    let space = TestSpace::new();
    let wrong = WORKFLOW
        .replace("severity: [1, 5]", "severity: [1, 6]")
        .replace("fog, frost", "fogg, frost");
    space.write("spoilt.yaml", wrong);
    let refused = space.run(&["validate", "spoilt.yaml"]).expect(2);
    insta::assert_snapshot!(refused.stderr);
}

#[test]
fn drawings_take_a_pattern_or_make_one() {
    let space = TestSpace::new();
    let workflow = "ribflow: 1
name: drawn
axes:
  pattern: [{ id: own, file: pattern.png }, procedural]
stages:
  clean:
    use: dataset
    with: { builtin: mini-rib, domain: v2, images: 10 }
  drawing:
    each: [pattern]
    use: draw
    needs: { images: clean }
    with: { pattern: \"${pattern.file?}\" }
";
    space.write("drawn.yaml", workflow);
    let missing = space.run(&["run", "drawn.yaml"]).expect(1);
    assert!(missing.stderr.contains("pattern.png"), "{missing}");
    let picture = fixtures::copies().join("../images/rgb.png");
    space.write("pattern.png", fs::read(picture).unwrap());
    space.run(&["run", "drawn.yaml"]).ok();
    let files = |pattern: &str| {
        let node = format!("drawing[pattern={pattern}]");
        space.run(&["get", "drawn.yaml", &node, "-o", pattern]).ok();
        let mut files: Vec<Vec<u8>> = Vec::new();
        for class in fs::read_dir(space.path(pattern)).unwrap() {
            let class = class.unwrap().path();
            for file in fs::read_dir(class).into_iter().flatten() {
                files.push(fs::read(file.unwrap().path()).unwrap());
            }
        }
        files.sort();
        files
    };
    let (own, procedural) = (files("own"), files("procedural"));
    assert_eq!((own.len(), procedural.len()), (10, 10));
    assert_ne!(own, procedural);
}
