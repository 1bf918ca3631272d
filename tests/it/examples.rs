//! The examples, run as a user would run them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::servers::own_tool;
use crate::space::TestSpace;

/// Two small folders of photographs: drawn by the built-in dataset and written out as PNG files.
const PHOTOGRAPHS: &str = "
ribflow: 1
name: photographs
axes: { split: [train, test] }
stages:
  images:
    each: [split]
    use: dataset
    with: { builtin: mini-rib, domain: narrow, split: \"${split}\", limit: 6 }
";

#[test]
fn my_images_runs_on_a_folder_of_photographs() {
    if !pillow_is_there() {
        return;
    }
    let space = TestSpace::new();
    space.write("photographs.yaml", PHOTOGRAPHS);
    let _ = space.run(&["run", "photographs.yaml", "-q"]).expect(0);
    for split in ["train", "test"] {
        let node = format!("images[split={split}]");
        let folder = format!("photographs/{split}");
        let _ = space
            .run(&["get", "photographs.yaml", &node, "-o", &folder])
            .expect(0);
    }
    copy_example(&space);

    let run = |photographs: &str| {
        let mut command = space.command(&[
            "run",
            "my-images.yaml",
            "--json",
            "--set",
            "params.pretrain_epochs=1",
            "--set",
            "params.epochs=1",
        ]);
        command.env("PHOTOS", space.path(photographs));
        let outcome = space.finish(&mut command).expect(0);
        outcome.json_lines().pop().unwrap()
    };
    let first = run("photographs");
    assert_eq!(
        first["ran"].as_u64().unwrap() + first["reused"].as_u64().unwrap(),
        22
    );
    let results: Value = serde_json::from_str(&space.read("out/my-images/results.json")).unwrap();
    let mut nodes = results["nodes"].as_array().unwrap().iter();
    let drawings = nodes.find(|node| node["id"] == "after[method=ft,look=drawing]");
    let drawings = &drawings.unwrap()["metrics"]["top1"];
    assert_eq!(drawings["n"], 60);

    // Where the photographs lie is in no key.
    std::fs::rename(space.path("photographs"), space.path("elsewhere")).unwrap();
    let moved = run("elsewhere");
    assert_eq!(moved["ran"], 0);
    assert_eq!(moved["reused"], moved["nodes"]);
}

#[path = "../../examples/transport.rs"]
mod transport;

#[test]
fn transport_runs_and_its_assertion_holds() {
    transport::main().unwrap();
}

#[path = "../../examples/candle_training.rs"]
mod candle_training;

#[test]
fn a_transformer_trains_from_plain_candle_code() {
    candle_training::main().unwrap();
}

#[path = "../../examples/candle_module.rs"]
mod candle_module;

#[test]
fn a_module_of_candle_nn_is_evaluated() {
    candle_module::main().unwrap();
}

/// Every pair both ways, by two measures: what the report maps.
#[test]
fn datasets_are_mapped_and_their_classes_set_side_by_side() {
    let space = TestSpace::new();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows/domain-map.yaml");
    space.write("domain-map.yaml", std::fs::read(file).unwrap());
    let _ = space
        .run(&["run", "domain-map.yaml", "--profile", "tiny", "-q"])
        .expect(0);
    let results = space.read("out/domain-map-tiny/results.json");
    let results: Value = serde_json::from_str(&results).unwrap();
    let distance = |id: &str| {
        let mut nodes = results["nodes"].as_array().unwrap().iter();
        let node = nodes.find(|node| node["id"] == id).unwrap();
        node["metrics"]["distance"]["value"].as_f64().unwrap()
    };
    for stage in ["in_features", "in_pixels"] {
        let there = distance(&format!("{stage}[domain=photo,other=c]"));
        let back = distance(&format!("{stage}[domain=c,other=photo]"));
        assert!((there - back).abs() < 1e-4 * there, "{there} {back}");
        assert!(there > 0.0);
    }
    let page = space.read("out/domain-map-tiny/report.html");
    let count = |what: &str| page.matches(what).count();
    assert_eq!(count("aria-label=\"Map of the datasets\""), 2);
    assert_eq!(count("<circle class=\"mark\""), 2 * 4);
    assert_eq!(count("<table class=\"heat classes\""), 12);
}

/// Copies an example with its scripts and data.
fn copy_folder(space: &TestSpace, name: &str) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    for folder in ["", "data"] {
        for entry in std::fs::read_dir(example.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.strip_prefix(&example).unwrap().to_str().unwrap();
                space.write(name, std::fs::read(&path).unwrap());
            }
        }
    }
}

fn results_of(space: &TestSpace, name: &str) -> Value {
    serde_json::from_str(&space.read(&format!("out/{name}/results.json"))).unwrap()
}

/// The stages with nodes that a run has executed.
fn executed(space: &TestSpace, arguments: &[&str]) -> Vec<String> {
    let run = space
        .run(&[&["run", "--json"], arguments].concat())
        .expect(0);
    let lines = run.json_lines();
    let finished = lines.iter().filter(|line| line["event"] == "node_finished");
    let stage = |line: &Value| {
        line["id"]
            .as_str()
            .unwrap()
            .split('[')
            .next()
            .unwrap()
            .to_string()
    };
    let mut stages: Vec<String> = finished.map(stage).collect();
    stages.sort();
    stages.dedup();
    stages
}

/// DVC's tutorial: parameters, metrics and plots; a change runs what depends on it, and no more.
#[test]
fn get_started_runs_and_reruns_like_its_original() {
    let space = TestSpace::new();
    copy_folder(&space, "get-started");
    let all = ["evaluate", "featurize", "prepare", "summary", "train"];
    assert_eq!(executed(&space, &["get-started.yaml"]), all);
    let found = results_of(&space, "get-started");
    let mean = &found["aggregates"][0]["metrics"]["test.roc_auc"];
    assert_eq!(mean["n"], 3);
    assert!(mean["mean"].as_f64().unwrap() > 0.7, "{mean}");
    let page = space.read("out/get-started/report.html");
    assert_eq!(page.matches("src=\"data:image/svg+xml").count(), 3);
    assert!(page.contains("Means of evaluate over `seed`"));

    assert!(executed(&space, &["get-started.yaml"]).is_empty());
    let alpha = ["get-started.yaml", "--set", "params.alpha=0.1"];
    assert_eq!(executed(&space, &alpha), ["evaluate", "summary", "train"]);
    // The same bytes: nothing after it runs.
    let script = space.read("featurize.py");
    space.write("featurize.py", format!("# a comment\n{script}"));
    assert_eq!(executed(&space, &["get-started.yaml"]), ["featurize"]);
    let script = space.read("evaluate.py");
    space.write(
        "evaluate.py",
        script.replace("\"chance\": 50", "\"chance\": 50.0"),
    );
    assert_eq!(executed(&space, &["get-started.yaml"]), ["evaluate"]);
}

/// Snakemake's tutorial: the variants are those that the reads were made with.
#[test]
fn variant_calling_finds_the_planted_variants() {
    let space = TestSpace::new();
    copy_folder(&space, "variant-calling");
    assert_eq!(
        executed(&space, &["variant-calling.yaml"]),
        ["call", "map", "plot", "sort"]
    );
    space
        .run(&[
            "get",
            "variant-calling.yaml",
            "call.variants",
            "-o",
            "calls",
        ])
        .ok();
    let table = space.read("calls/table.csv");
    let places: Vec<String> = table
        .lines()
        .skip(1)
        .map(|line| line.split(',').take(2).collect::<Vec<&str>>().join(" "))
        .collect();
    let planted = [
        "A 200", "A 333", "A 640", "A 1111", "B 200", "B 640", "B 777", "B 901", "B 1111", "C 200",
        "C 640", "C 1111",
    ];
    assert_eq!(places, planted);
    let page = space.read("out/variant-calling/report.html");
    assert_eq!(page.matches("src=\"data:image/svg+xml").count(), 1);
    // One sample's reads change: its own stages run, and those of all samples.
    let reads = space.read("data/C.fastq");
    space.write(
        "data/C.fastq",
        reads.lines().take(800).collect::<Vec<&str>>().join("\n"),
    );
    let again = executed(&space, &["variant-calling.yaml"]);
    assert_eq!(again, ["call", "map", "plot", "sort"]);
}

/// Published numbers that are really computed: the classification report of scikit-learn's example.
#[test]
fn the_published_report_on_the_digits_is_reproduced() {
    let how = "python3 -m venv target/test-tools/digits && target/test-tools/digits/bin/pip install \
               -r workflows/digits/requirements.txt";
    let Some(python) = own_tool(&["../digits/bin/python3"], how) else {
        return;
    };
    let space = TestSpace::new();
    let workflows = Path::new(env!("CARGO_MANIFEST_DIR")).join("workflows");
    for name in [
        "digits.yaml",
        "digits/classify.py",
        "digits/requirements.txt",
        "published/digits.yaml",
    ] {
        space.write(name, std::fs::read(workflows.join(name)).unwrap());
    }
    let folder = python.parent().unwrap().canonicalize().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", folder.display());
    let mut run = space.command(&["run", "digits.yaml", "-q"]);
    space.finish(run.env("PATH", &path)).ok();
    let verified = space
        .run(&["verify", "digits.yaml", "--json"])
        .expect(0)
        .json();
    let values = verified["values"].as_array().unwrap();
    let reproduced = values
        .iter()
        .filter(|value| value["verdict"] == "reproduced");
    assert_eq!((reproduced.count(), values.len()), (37, 37));

    // Another setting is not the published one.
    let mut run = space.command(&["run", "digits.yaml", "-q", "--set", "params.gamma=0.1"]);
    space.finish(run.env("PATH", &path)).ok();
    let other = [
        "verify",
        "digits.yaml",
        "--json",
        "--set",
        "params.gamma=0.1",
    ];
    let verified = space.run(&other).expect(3).json();
    assert!(verified["different"].as_u64().unwrap() > 30, "{verified}");
}

fn copy_example(space: &TestSpace) {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/my-images");
    for name in ["my-images.yaml", "tools/redraw.py"] {
        space.write(name, std::fs::read(example.join(name)).unwrap());
    }
}

/// Under `RIBFLOW_TEST_ALL` a missing tool is a failure, otherwise a line that says so.
pub fn pillow_is_there() -> bool {
    let import = Command::new("python3").args(["-c", "import PIL"]).output();
    let there = import.is_ok_and(|output| output.status.success());
    assert!(
        there || std::env::var_os("RIBFLOW_TEST_ALL").is_none(),
        "python3 with Pillow is needed: python3 -m pip install pillow"
    );
    if !there {
        println!("skipped: python3 with Pillow is not installed");
    }
    there
}
