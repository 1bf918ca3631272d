//! Typed outputs of commands: a method of a lab's own beside the built-in ones.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ribflow::ml::data::decode::decode;
use ribflow::ml::data::mini_rib::{Collection, Split, render};
use ribflow::ml::data::picture::Picture;
use ribflow::ml::data::resize::{Filter, Transform};
use serde_json::Value;

use super::*;
use crate::space::TestSpace;

/// A "method" that keeps the model it is given, with an output of each type.
const METHOD: &str = r#"
import json, os, shutil, struct
parameters = json.load(open("params.json"))
shutil.copy("init/tensors.safetensors", "out/model.safetensors")
json.dump({"accuracy": {"value": parameters["bias"], "unit": "percent", "n": 20, "direction": "higher", "chance": 10},
           "loss": {"train": 0.25, "test": 0.5}}, open("out/scores.json", "w"))
with open("out/curve.csv", "w") as curve:
    curve.write("epoch,loss\n1,0.5\n2,0.25\n")
with open("out/summary.jsonl", "w") as summary:
    summary.write('{"epochs": 2}\n')
with open("out/picture.svg", "w") as picture:
    picture.write('<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8">'
                  '<script>alert(1)</script><rect width="8" height="8"/></svg>')
shutil.copytree("data", "out/copies")
header = "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 2), }"
os.mkdir("out/deep")
with open("out/deep/cloud.npy", "wb") as cloud:
    cloud.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
    cloud.write(struct.pack("<8f", *(float(i) for i in range(8))))
shutil.copy("out/deep/cloud.npy", "out/deep/features.npy")
"#;

const WORKFLOW: &str = "\
ribflow: 1
name: own
params: { bias: 50 }
axes:
  method:
    - ft
    - { id: mine, script: method.py }
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 20 } }
  images: { use: dataset, with: { builtin: mini-rib, domain: sketch, images: 20 } }
  start: { use: pretrain, needs: { data: pool }, with: { arch: vit_mini, epochs: 1 } }
  tuned:
    each: [method]
    use: finetune
    needs: { init: start, data: images }
    with: { method: \"${method}\", epochs: 2, lr: 0.1, batch: 8, warmup: 0 }
    cases:
      - when: method.script
        use: command
        needs: { init: start, data: images }
        with:
          files: [\"${method.script}\"]
          params: { bias: \"${params.bias}\", list: [1, a] }
          run: python3 method.py
          outputs:
            model: { model: { like: init } }
            scores: metrics
            curve: table
            picture: plot
            copies: images
            cloud: { arrays: { file: deep/features.npy } }
  accuracy: { each: [method], use: evaluate, needs: { model: tuned, data: images }, with: { predictions: true } }
  agreement: { use: compare, needs: { a: \"accuracy[method=ft].predictions\", b: \"accuracy[method=mine].predictions\", data: images }, with: { show: 4 } }
  again: { use: evaluate, needs: { model: \"tuned[method=mine]\", data: \"tuned[method=mine].copies\" } }
  apart: { use: ot, needs: { a: \"tuned[method=mine].cloud\", b: \"tuned[method=mine].cloud\" }, with: { distance: wasserstein } }
";

fn space() -> TestSpace {
    let space = TestSpace::new();
    space.write("own.yaml", WORKFLOW);
    space.write("method.py", METHOD);
    space
}

fn results(space: &TestSpace) -> Value {
    serde_json::from_str(&space.read("out/own/results.json")).unwrap()
}

fn metrics(results: &Value, node: &str) -> Value {
    let nodes = results["nodes"].as_array().unwrap();
    let found = nodes.iter().find(|known| known["id"] == node);
    found.unwrap_or_else(|| panic!("no {node} in {results}"))["metrics"].clone()
}

#[test]
fn a_lab_s_own_method_is_in_the_same_tables() {
    let space = space();
    space.run(&["run", "own.yaml", "-q"]).ok();
    let found = results(&space);
    let mine = metrics(&found, "tuned[method=mine]");
    assert_eq!(mine["accuracy"], json!({ "value": 50.0, "n": 20 }));
    assert_eq!(mine["loss.test"]["value"], 0.5);
    let accuracy = &found["stages"]["tuned"]["metrics"]["accuracy"];
    assert_eq!(
        *accuracy,
        json!({ "unit": "percent", "better": "higher", "chance": 10.0 })
    );
    // Its model is the one that it was given, and its images are those that it was given.
    let evaluated = metrics(&found, "accuracy[method=mine]");
    assert_eq!(evaluated["top1"], metrics(&found, "again")["top1"]);
    assert_eq!(metrics(&found, "apart")["distance"]["value"], 0.0);
    compared_image_by_image(&space, &found);
    let page = space.read("out/own/report.html");
    assert!(page.contains("data:image/svg+xml;base64,"), "no picture");
    assert!(page.contains("loss.train"));

    space.write(
        "paper.yaml",
        "\
sources: { paper: { what: A paper } }
values:
  - { metric: \"tuned[method=mine].accuracy\", published: 50.2, tolerance: 0.5, from: paper }
",
    );
    space
        .run(&["verify", "own.yaml", "--expect", "paper.yaml"])
        .ok();

    let why = space.run(&[
        "why",
        "own.yaml",
        "tuned[method=mine]",
        "--set",
        "params.bias=51",
    ]);
    let why = why.expect(0).stdout;
    assert!(
        why.contains("params.bias") && why.contains("50") && why.contains("51"),
        "{why}"
    );
}

/// The counts of `compare` are those of the two tables of predictions, which agree with the accuracies.
fn compared_image_by_image(space: &TestSpace, found: &Value) {
    let table = |node: &str| {
        let to = format!("got/{node}");
        space
            .run(&[
                "get",
                "own.yaml",
                &format!("accuracy[method={node}].predictions"),
                "-o",
                &to,
            ])
            .ok();
        let table: Value = serde_json::from_str(&space.read(&format!("{to}/table.json"))).unwrap();
        let rows = table["rows"].as_array().unwrap();
        rows.iter()
            .map(|row| (row[2].as_bool().unwrap(), row[3].clone()))
            .collect::<Vec<_>>()
    };
    let (ft, mine) = (table("ft"), table("mine"));
    assert_eq!(ft.len(), 20);
    let percent = |count: usize| 100.0 * count as f64 / 20.0;
    let right = |rows: &[(bool, Value)]| percent(rows.iter().filter(|row| row.0).count());
    assert_eq!(
        metrics(found, "accuracy[method=ft]")["top1"]["value"],
        right(&ft)
    );
    assert_eq!(
        metrics(found, "accuracy[method=mine]")["top1"]["value"],
        right(&mine)
    );
    let pairs = || ft.iter().zip(&mine);
    let agreement = metrics(found, "agreement");
    assert_eq!(
        agreement["agreement"]["value"],
        percent(pairs().filter(|(a, b)| a.1 == b.1).count())
    );
    assert_eq!(
        agreement["only_a"]["value"],
        percent(pairs().filter(|(a, b)| a.0 && !b.0).count())
    );
    let difference = agreement["difference"]["value"].as_f64().unwrap();
    assert!((difference - (right(&mine) - right(&ft))).abs() < 1e-9);
    let mut shown: Vec<usize> = (0..20).filter(|it| ft[*it].1 != mine[*it].1).collect();
    shown.sort_by_key(|it| ft[*it].0 == mine[*it].0);
    shown.truncate(4);
    differing_images_are_shown(space, &shown);
}

/// The sheet has these images of the dataset, in this order.
fn differing_images_are_shown(space: &TestSpace, shown: &[usize]) {
    assert!(!shown.is_empty());
    let node = "agreement.images";
    space
        .run(&["get", "own.yaml", node, "-o", "got/sheet"])
        .ok();
    let sheet = space.read("got/sheet/images.svg");
    let data = "data:image/png;base64,";
    let sources = sheet.split(data).skip(1);
    let drawn: Vec<Vec<u8>> = sources
        .map(|rest| STANDARD.decode(rest.split('"').next().unwrap()).unwrap())
        .map(|png| decode(&png).unwrap().pixels)
        .collect();
    let set = render(Collection::Sketch, Split::Train, 20, 0);
    let transform = Transform::square(112, Filter::Bilinear);
    let expected: Vec<Vec<u8>> = shown
        .iter()
        .map(|index| {
            let picture = Picture {
                pixels: set.pixels.image(*index).unwrap().to_vec(),
                width: set.width,
                height: set.height,
            };
            transform.apply(&picture).unwrap()
        })
        .collect();
    assert!(drawn == expected, "the sheet shows other images");
    let page = space.read("out/own/report.html");
    let shown = page.matches("data:image/svg+xml").count();
    assert_eq!(shown, 2, "the picture of the command and the sheet");
}

#[test]
fn the_order_of_outputs_is_that_of_the_file() {
    let text = WORKFLOW.replace(
        "            model: { model: { like: init } }\n            scores: metrics\n",
        "            scores: metrics\n            model: { model: { like: init } }\n",
    );
    let space = space();
    space.write("own.yaml", text);
    let refused = space.run(&["validate", "own.yaml"]).expect(2).stderr;
    assert!(refused.contains("`tuned` is metrics"), "{refused}");
    assert!(
        refused.contains("hint: `tuned.model` is a model"),
        "{refused}"
    );
}

#[test]
fn what_does_not_have_its_type_is_refused_with_line_and_field() {
    for (kind, run, words) in [
        (
            "metrics",
            "echo '{\"a\": \"x\"}' > out/x.json",
            "`out/x.json`: `a` is a text, not a number",
        ),
        (
            "metrics",
            "printf '{\"a\": 1,\\n\"b\": NaN}' > out/x.json",
            "line 2 column 6",
        ),
        (
            "table",
            "printf 'a,b\\n1\\n' > out/x.csv",
            "line 2 has 1 cells, but the head has 2",
        ),
        ("table", "mkdir out/x.csv", "`out/x.csv` is a folder"),
        ("arrays", "touch out/x.npz", "`out/x.npz`: "),
        (
            "arrays",
            "touch out/x.npy out/x.npz",
            "`out/x.npz` and `out/x.npy` exist",
        ),
        ("images", "mkdir out/x", "no images: expected a subfolder"),
        (
            "images",
            "mkdir -p out/x/cat out/x/dog; touch out/x/cat/a.png",
            "`out/x`: the class folder `dog` contains no images",
        ),
        ("plot", "echo '<html/>' > out/x.svg", "not a picture in SVG"),
        ("plot", "echo x > out/x.png", "`out/x.png`: "),
        (
            "plot",
            "true",
            "the command did not create `out/x.svg` or `out/x.png`",
        ),
        (
            "table",
            "ln -s /etc/passwd out/x.csv",
            "outside the node's folder",
        ),
        (
            "arrays",
            "python3 -c \"import zipfile; z = zipfile.ZipFile('out/x.npz', 'w', zipfile.ZIP_DEFLATED)\n\
             z.writestr('a.npy', bytes(40000000))\"",
            "`a` grows to more than 100 times the size of the file",
        ),
    ] {
        let with = json!({ "run": run, "shell": "sh", "outputs": [{ "x": kind }] });
        let error = Bench::new().run(with).unwrap_err().to_string();
        assert!(error.contains(words), "{kind} {run}: {error}");
    }
    let with = json!({ "run": "ln -s /etc out/d", "outputs": [{ "x": { "table": { "file": "d/a.csv" } } }] });
    let error = Bench::new().run(with).unwrap_err().to_string();
    assert!(error.contains("did not create"), "{error}");
    let with = json!({ "run": "ln -s /etc out/d", "outputs": [{ "x": { "files": { "file": "d/passwd" } } }] });
    let error = Bench::new().run(with).unwrap_err().to_string();
    assert!(error.contains("outside the node's folder"), "{error}");
}

#[test]
fn a_wrong_declaration_is_refused_before_anything_runs() {
    for (outputs, words) in [
        (json!([{ "x": "model" }]), "a model needs the structure"),
        (
            json!([{ "x": { "model": { "arch": "vit_smal_patch16_224" } } }]),
            "no architecture",
        ),
        (
            json!([{ "x": { "table": { "file": "../y.csv" } } }]),
            "not a path below `out/`",
        ),
        (
            json!([{ "x": { "table": { "file": "y.txt" } } }]),
            "must end with .csv or .jsonl",
        ),
        (json!(["y", { "x": "table" }]), "`y` has no type"),
        (
            json!([{ "all": "table" }]),
            "`all` is the name of all outputs",
        ),
    ] {
        let found = problems(json!({ "run": "true", "outputs": outputs }), &[]);
        assert!(
            found.iter().any(|it| it.contains(words)),
            "{outputs}: {found:?}"
        );
    }
}

#[test]
fn parameters_that_look_like_credentials_are_refused() {
    for (params, names) in [
        (
            json!({ "hf_token": "x" }),
            "`hf_token` is named like a credential",
        ),
        (
            json!({ "url": "https://me:secret@example.org/a" }),
            "`url` holds a URL with a password",
        ),
        (
            json!({ "deep": [{ "password": "x" }] }),
            "`deep` is named like a credential",
        ),
    ] {
        let with = json!({ "run": "true", "outputs": ["x"], "params": params });
        let found = problems(with, &[]);
        assert!(
            found.iter().any(|it| it.contains(names)),
            "{params}: {found:?}"
        );
    }
    let fine = json!({ "tokens": 512, "tokenizer": "bpe", "key": 3, "seed": 0 });
    let with = json!({ "run": "true", "outputs": ["x"], "params": fine });
    assert_eq!(problems(with, &[]), Vec::<String>::new());
}

/// Metrics and the model of a command leave; what may hold the images stays.
#[test]
fn of_withheld_data_only_metrics_and_weights_leave() {
    let space = space();
    let text = space.read("own.yaml").replace(
        "images: { use: dataset, with: { builtin: mini-rib, domain: sketch, images: 20 } }",
        "images: { use: dataset, with: { folder: private } }",
    );
    let text = text.replace(
        "curve: table",
        "curve: table\n            safe: { table: { file: summary.jsonl, share: true } }",
    );
    space.write("own.yaml", text);
    crate::keep::withheld::photos(&space, "private", 3);
    let mine = "tuned[method=mine]";
    space
        .run(&["run", "own.yaml", "-q", mine, "agreement"])
        .ok();
    space.run(&["key", "generate"]).ok();
    space.run(&["remote", "add", "lab", "shared"]).ok();
    space
        .run(&["push", "--remote", "lab", "own.yaml", mine])
        .ok();
    space.run(&["lock", "own.yaml"]).ok();
    let page = space.read("out/own/report.html");
    assert!(
        !page.contains("data:image/svg+xml"),
        "a withheld picture is on the page"
    );
    assert!(page.contains("withheld by the licence of an input"));

    let other = TestSpace::new();
    for file in ["own.yaml", "own.yaml.lock", "method.py"] {
        other.write(file, space.read(file));
    }
    let from = space.path("shared").display().to_string();
    let key = space.run(&["key", "show"]).expect(0).stdout;
    other.run(&["trust", "add", key.trim()]).ok();
    other.run(&["remote", "add", "lab", &from]).ok();
    other
        .run(&["pull", "--remote", "lab", "own.yaml", mine])
        .ok();
    let got = |port: &str| {
        let node = format!("{mine}.{port}");
        other.run(&[
            "get",
            "--remote",
            "lab",
            "own.yaml",
            &node,
            "-o",
            &format!("got/{port}"),
        ])
    };
    for port in ["model", "scores", "safe"] {
        got(port).ok();
    }
    for port in ["curve", "picture", "copies", "cloud"] {
        assert_ne!(got(port).code, Some(0), "{port} left the lab");
    }
}

/// Three seeds without a stage of the kind `rib`: means, deviations and Student's intervals.
#[test]
fn an_axis_of_repeats_is_averaged_everywhere() {
    let space = TestSpace::new();
    space.write(
        "seeds.yaml",
        "\
ribflow: 1
name: seeds
axes:
  method: [a, b]
  seed: { repeats: [1, 2, 3, 4, 5] }
profiles: { one: { axes: { seed: [3] } } }
stages:
  score:
    each: [method, seed]
    use: command
    with:
      run: 'echo \"{\\\"top1\\\": {\\\"value\\\": 1${seed}, \\\"unit\\\": \\\"percent\\\"}}\" > out/score.json'
      env: []
      outputs: { score: metrics }
",
    );
    let said = space.run(&["run", "seeds.yaml"]).expect(0).stdout;
    assert!(said.contains("Means of score over `seed`"), "{said}");
    let found: Value = serde_json::from_str(&space.read("out/seeds/results.json")).unwrap();
    assert_eq!(found["axes"]["seed"]["role"], "repeats");
    let aggregate = &found["aggregates"][0];
    assert_eq!(aggregate["axes"], json!({ "method": "a" }));
    let top1 = &aggregate["metrics"]["top1"];
    assert_eq!((&top1["mean"], &top1["n"]), (&json!(13.0), &json!(5)));
    // statistics.stdev, and scipy.stats.t.interval(0.95, 4, loc=13, scale=sem), of 11 to 15.
    let near = |value: &Value, right: f64| (value.as_f64().unwrap() - right).abs() < 1e-9;
    assert!(near(&top1["deviation"], 1.5811388300841898), "{top1}");
    assert!(near(&top1["interval"][0], 11.03675683852244), "{top1}");
    let table = space.read("out/seeds/tables/score-means.csv");
    assert!(
        table.starts_with(
            "method,n,top1,top1_deviation,top1_low,top1_high\na,5,13,1.5811,11.0368,14.9632\n"
        ),
        "{table}"
    );
    let page = space.read("out/seeds/report.html");
    assert!(page.contains("Means of score over `seed`") && page.contains("11.0 to 15.0"));

    space.write(
        "paper.yaml",
        "\
sources: { paper: { what: A paper } }
values:
  - { metric: \"score[method=a].top1\", published: 12.5, tolerance: 0.05, from: paper }
claims:
  - { says: a is above 0, from: paper, positive: \"score[method=a].top1\" }
",
    );
    let verify = |more: &[&str], code: i32| {
        let arguments = [
            &["verify", "seeds.yaml", "--expect", "paper.yaml", "--json"],
            more,
        ]
        .concat();
        let found = space.run(&arguments).expect(code).json();
        [
            &found["values"][0]["verdict"],
            &found["claims"][0]["verdict"],
        ]
        .map(|it| it.as_str().unwrap().to_string())
    };
    assert_eq!(verify(&[], 0), ["reproduced", "same"]);
    // A list of a profile or an option keeps the mark.
    for more in [["--profile", "one"], ["--set", "axes.seed=[3]"]] {
        space
            .run(&[&["run", "seeds.yaml", "-q"], &more[..]].concat())
            .ok();
        assert_eq!(verify(&more, 4), ["difference_only"; 2], "{more:?}");
    }
}

/// Weights and points that another stage wrote, as files of a list of outputs.
#[test]
fn checkpoints_and_arrays_come_from_the_files_of_a_stage() {
    let space = TestSpace::new();
    space.write(
        "files.yaml",
        "\
ribflow: 1
name: files
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 20 } }
  start: { use: pretrain, needs: { data: pool }, with: { arch: vit_mini, epochs: 1 } }
  points: { use: features, needs: { model: start, data: pool } }
  tool:
    use: command
    needs: { init: start, points: points }
    with:
      run: |
        cp init/tensors.safetensors out/weights
        mkdir out/folder && cp init/tensors.safetensors out/folder/model.safetensors && touch out/folder/log
        cp points/tensors.safetensors out/points
      outputs: [weights, folder, points]
  one: { use: checkpoint, needs: { file: tool.weights, classes: pool }, with: { arch: vit_mini } }
  two: { use: checkpoint, needs: { file: tool.folder, classes: pool }, with: { arch: vit_mini } }
  cloud: { use: arrays, needs: { file: tool.points } }
  accuracy: { use: evaluate, needs: { model: start, data: pool } }
  again: { use: evaluate, needs: { model: one, data: pool } }
  third: { use: evaluate, needs: { model: two, data: pool } }
  apart: { use: ot, needs: { a: points, b: cloud }, with: { distance: wasserstein } }
",
    );
    space.run(&["run", "files.yaml", "-q"]).ok();
    let found: Value = serde_json::from_str(&space.read("out/files/results.json")).unwrap();
    let accuracy = metrics(&found, "accuracy");
    assert_eq!(metrics(&found, "again"), accuracy);
    assert_eq!(metrics(&found, "third"), accuracy);
    assert_eq!(metrics(&found, "apart")["distance"]["value"], 0.0);
}
