//! `ribflow verify`: every verdict, the exit codes, and what is wrong with a file of published
//! values.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::space::TestSpace;

/// mini-RIB with two domains, one epoch and two seeds: a few seconds.
const RUN: [&str; 5] = [
    "grid.yaml",
    "--profile",
    "tiny",
    "--set",
    "axes.seed=[0, 1]",
];

struct Lab {
    space: TestSpace,
    results: Value,
}

impl Lab {
    fn new() -> Self {
        let space = TestSpace::new();
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/mini-rib.yaml");
        let text = std::fs::read_to_string(file).unwrap();
        space.write("grid.yaml", &text);
        space.run(&[&["run", "-q"], &RUN[..]].concat()).ok();
        let results = space.read("out/mini-rib-tiny/results.json");
        Self {
            results: serde_json::from_str(&results).unwrap(),
            space,
        }
    }

    fn metric(&self, node: &str, metric: &str) -> f64 {
        let nodes = self.results["nodes"].as_array().unwrap();
        let found = nodes.iter().find(|known| known["id"] == node);
        let found = found.unwrap_or_else(|| panic!("there is no {node}"));
        found["metrics"][metric]["value"].as_f64().unwrap()
    }

    /// Writes published values and judges by them; the verdicts in the order of the file, those
    /// of claims last.
    fn verdicts(&self, published: &str, exit: i32, more: &[&str]) -> Vec<String> {
        self.space.write("published.yaml", published);
        let common = ["--expect", "published.yaml", "--json"];
        let arguments = [&["verify"], &RUN[..], &common, more].concat();
        let found = self.space.run(&arguments).expect(exit).json();
        let of = |list: &str| -> Vec<String> {
            let list = found[list].as_array().unwrap().iter();
            list.map(|one| one["verdict"].as_str().unwrap().to_string())
                .collect()
        };
        [of("values"), of("claims")].concat()
    }
}

const MRI: &str = "robustness[source=narrow,method=ft]";

#[test]
fn numbers_and_claims_get_their_verdicts() {
    let lab = Lab::new();
    let (mri, before) = (lab.metric(MRI, "mri"), lab.metric(MRI, "before"));
    let ri = lab.metric(MRI, "ri[r]");
    let single = |published: f64| {
        format!(
            "values:\n  - {{ metric: \"{MRI}.mri\", tolerance: 0.001, from: here, published: {published} }}\n"
        )
    };
    assert_eq!(lab.verdicts(&single(mri), 0, &[]), ["reproduced"]);
    // Two seeds spread, and twice their deviation is allowed; not a hundred points.
    assert_eq!(lab.verdicts(&single(mri + 100.0), 3, &[]), ["different"]);
    let found = lab.space.run(
        &[
            &["verify"],
            &RUN[..],
            &["--expect", "published.yaml", "--json"],
        ]
        .concat(),
    );
    let found = &found.expect(3).json()["values"][0];
    let deviation = found["deviation"].as_f64().unwrap();
    assert!(deviation > 0.0);
    assert!((found["allowed"].as_f64().unwrap() - 0.001 - 2.0 * deviation).abs() < 1e-12);

    // By an axis, with an id that this run leaves out; and the metric of a part.
    let several = format!(
        "values:\n  - {{ metric: \"robustness[method=ft].before\", by: source, tolerance: 100, from: here,\n      published: {{ narrow: {before}, rich: 50 }} }}\n  - {{ metric: \"{MRI}.ri[r]\", tolerance: 0.001, from: here, published: {ri} }}\n"
    );
    assert_eq!(
        lab.verdicts(&several, 0, &[]),
        ["reproduced", "not_run", "reproduced"]
    );
    assert_eq!(
        lab.verdicts(&several, 4, &["--complete"]),
        ["reproduced", "not_run", "reproduced"]
    );

    let claims = "claims:
  - { says: the baseline is above nothing, positive: \"baseline[source=narrow,test=own].top1\" }
  - { says: and below it, negative: \"baseline[source=narrow,test=own].top1\" }
  - { says: a number is above itself, ascending: [\"robustness[source=narrow,method=ft].mri\", \"robustness[source=narrow,method=ft].mri\"] }
  - { says: rich was run, positive: \"robustness[source=rich,method=ft].mri\" }
";
    assert_eq!(
        lab.verdicts(claims, 3, &[]),
        ["same", "opposite", "indistinguishable", "not_run"]
    );
}

#[test]
fn what_is_not_as_published_is_not_judged() {
    let lab = Lab::new();
    let (mri, before) = (lab.metric(MRI, "mri"), lab.metric(MRI, "before"));
    let values = format!(
        "values:\n  - {{ metric: \"{MRI}.mri\", tolerance: 1, from: here, published: {mri} }}\n  - {{ metric: \"{MRI}.before\", tolerance: 1, from: here, published: {before} }}\n"
    );
    // Other epochs touch what was tuned, and not the mean before.
    let epochs = format!("setting:\n  - {{ stage: tuned, with: {{ epochs: 8 }} }}\n{values}");
    assert_eq!(
        lab.verdicts(&epochs, 0, &[]),
        ["other_setting", "reproduced"]
    );
    let judged = epochs.replace("epochs: 8 }", "epochs: 8 }, judge: true");
    assert_eq!(lab.verdicts(&judged, 0, &[]), ["reproduced", "reproduced"]);
    // A default left out is the same as one written down.
    let momentum = epochs.replace("epochs: 8", "momentum: 0.9");
    assert_eq!(
        lab.verdicts(&momentum, 0, &[]),
        ["reproduced", "reproduced"]
    );
    // A mean over fewer domains is another mean, before as after.
    let domains = format!(
        "setting:\n  - {{ axis: domain, ids: [r, c] }}\n  - {{ axis: test, ids: [own, r, c, a] }}\n{values}"
    );
    assert_eq!(
        lab.verdicts(&domains, 4, &[]),
        ["other_setting", "other_setting"]
    );
    // The tables that it touches say so.
    lab.space.write("published.yaml", &epochs);
    let text = lab.space.read("grid.yaml");
    let text = text.replace(
        "accuracy: \"accuracy[*]\" }\n",
        "accuracy: \"accuracy[*]\" }\n    with: { expect: published.yaml }\n",
    );
    lab.space.write("grid.yaml", &text);
    let run = lab.space.run(&[&["run"], &RUN[..]].concat());
    let run = run.expect(0);
    assert!(
        run.stdout
            .contains("published numbers: 1 reproduced, 1 other setting")
    );
    let table = |name: &str| {
        lab.space
            .read(&format!("out/mini-rib-tiny/tables/{name}.md"))
    };
    assert!(table("mri").contains("Not as published: tuned: epochs 1, published with 8."));
    assert!(table("accuracy").contains("Not as published"));
    assert!(!table("baseline").contains("Not as published"));
    assert!(table("verdicts").contains("other setting"));
    // Published numbers are no part of any key.
    assert!(run.stdout.contains("reused"), "{}", run.stdout);
    assert!(!run.stdout.contains(" ran"), "{}", run.stdout);
}

#[test]
fn nothing_is_judged_before_calibration_and_with_one_seed_only_differences_are_told() {
    let lab = Lab::new();
    let (mri, own) = (
        lab.metric(MRI, "mri"),
        lab.metric("baseline[source=narrow,seed=0,test=own]", "top1"),
    );
    let values = |own: f64| {
        format!(
            "values:\n  - {{ metric: \"{MRI}.mri\", tolerance: 1, from: here, published: {mri} }}\n  - {{ metric: \"baseline[source=narrow,seed=0,test=own].top1\", tolerance: 0.1, from: here, published: {own}, calibration: true }}\n"
        )
    };
    // One seed of several: a difference only, and so no calibration.
    assert_eq!(
        lab.verdicts(&values(own), 4, &[]),
        ["not_calibrated", "difference_only"]
    );
    let all = values(own).replace("seed=0,", "");
    let mean = (own + lab.metric("baseline[source=narrow,seed=1,test=own]", "top1")) / 2.0;
    let right = all.replace(&format!("published: {own}"), &format!("published: {mean}"));
    assert_eq!(lab.verdicts(&right, 0, &[]), ["reproduced", "reproduced"]);
    let wrong = all.replace(&format!("published: {own}"), "published: -900");
    assert_eq!(
        lab.verdicts(&wrong, 3, &[]),
        ["not_calibrated", "different"]
    );
}

#[test]
fn the_price_of_a_plan_is_corrected_by_recorded_runs() {
    let lab = Lab::new();
    let hours = |store: &str| {
        let more = ["--set", "params.epochs=2", "--json", "--store", store];
        let plan = lab.space.run(&[&["plan"], &RUN[..], &more].concat());
        let plan = plan.expect(0).json();
        let hours = plan["price"]["hours"].as_array().unwrap().clone();
        let mut recorded = hours.into_iter().filter(|one| one["recorded"] != 0);
        recorded.next()
    };
    let corrected = hours("cache").unwrap();
    assert!(
        corrected["device"]
            .as_str()
            .unwrap()
            .starts_with("cores of cpu/")
    );
    assert!(corrected["hours"].as_f64().unwrap() > 0.0);
    assert_eq!(hours("elsewhere"), None);
}

/// Nothing was run: what is odd is the file itself.
#[test]
fn a_file_without_values_and_claims_is_named() {
    let space = TestSpace::new();
    space.write(
        "w.yaml",
        "ribflow: 1\nname: w\nstages:\n  a: { use: dataset, with: { builtin: mini-rib, domain: v2 } }\n",
    );
    for (published, place) in [
        ("paper: x\nvalues: []\n", "published.yaml:2:9"),
        ("values: []\nclaims: []\n", "published.yaml:1:9"),
        ("paper: x\nclaims: []\n", "published.yaml:2:9"),
        ("paper: x\n", "published.yaml:1:1"),
    ] {
        space.write("published.yaml", published);
        let told = space.run(&["verify", "w.yaml", "--expect", "published.yaml"]);
        let told = told.expect(4);
        assert!(told.stderr.contains("nothing can be judged"), "{told}");
        assert!(told.stderr.contains(place), "{told}");
        assert!(told.stderr.contains("hint: "), "{told}");
    }
}

#[test]
fn what_is_wrong_with_published_values_is_said_by_place() {
    let space = TestSpace::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/mini-rib.yaml");
    let text = std::fs::read_to_string(file).unwrap();
    space.write("grid.yaml", &text);
    space.write(
        "published.yaml",
        "units: percent
setting:
  - { stage: tuned, with: { epoch: 8 } }
  - { axis: domains, ids: [r] }
values:
  - { metric: \"robustness[method=ft].mri\", by: sorce, tolerance: 0.1, from: here, published: { narrow: 1 } }
  - { metric: \"robustness[method=ft].mri\", by: source, tolerance: 0.1, from: here, published: { narow: 1 } }
  - { metric: \"accuracy[method=ft,source=rich].top1\", by: test, tolerance: 0.1, from: here, published: { v2: 1 } }
  - { metric: \"robustness[method=ft]\", by: source, tolerance: 0.1, from: here, published: { rich: 1 } }
  - { metric: \"robustness.mri\", from: nowhere, published: 3 }
  - { metric: \"robustnes.mri\", tolerance: 1, from: here, published: three }
claims:
  - { says: two checks, positive: \"summary.x\", negative: \"summary.x\" }
  - { says: several at once, ascending: [\"robustness[method=ft].mri\", \"robustness[source=rich, method=ft].mri\"] }
",
    );
    let found = space.run(&["verify", "grid.yaml", "--expect", "published.yaml"]);
    insta::assert_snapshot!(found.expect(2).stderr);
    let none = space.run(&["verify", "grid.yaml"]).expect(2).stderr;
    assert!(none.contains("names no published values"), "{none}");
}

/// What is written in a published file and belongs to nothing is never "not run".
#[test]
fn names_that_belong_to_nothing_are_errors_with_their_place() {
    let space = TestSpace::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/mini-rib.yaml");
    space.write("grid.yaml", std::fs::read(file).unwrap());
    let values = |entry: &str| {
        format!("sources: {{ bars: {{ precision: 1 }} }}\nvalues:\n  - {{ {entry} }}\n")
    };
    let claim = |check: &str| format!("claims:\n  - {{ says: so, {check} }}\n");
    let cases = [
        (
            values("metric: \"accuracy[source=rich].topp1\", from: bars, published: 1"),
            "3:15",
            "stage `accuracy` has no metric `topp1`",
            "did you mean `top1`?",
        ),
        (
            values(
                "metric: \"robustness[source=rich, method=ft].rii[r]\", from: bars, published: 1",
            ),
            "3:15",
            "stage `robustness` has no metric `rii[r]`",
            "did you mean `ri[*]`?",
        ),
        (
            values(
                "metric: \"robustness[source=rich, method=ft].ri[sketsh]\", from: bars, published: 1",
            ),
            "3:15",
            "no axis has a value `sketsh`",
            "did you mean `sketch`?",
        ),
        (
            values("metric: \"baseline[source=rich].metrics\", from: bars, published: 1"),
            "3:15",
            "stage `baseline` has no metric `metrics`",
            "it has the metrics `loss`",
        ),
        (
            claim("positive: summary.distanc_drop_spearman"),
            "2:27",
            "stage `summary` has no metric `distanc_drop_spearman`",
            "did you mean",
        ),
        (
            claim(
                "highest: \"robustness[source=rich, method=ft].mri\", among: \"robustness[*].mrri\"",
            ),
            "2:75",
            "stage `robustness` has no metric `mrri`",
            "did you mean `mri`?",
        ),
        (
            values(
                "metric: \"robustness[source=rich, method=ft].mri\", from: bar, published: 1, tolerance: 1",
            ),
            "3:63",
            "there is no source `bar`",
            "did you mean `bars`?",
        ),
        (
            values(
                "metric: \"robustness[source=rich, method=ft].mri\", by: source, from: bars, published: { narrow: 1 }",
            ),
            "3:94",
            "`metric` pins `source` to other values",
            "leave the axis out",
        ),
        (
            values("metric: \"robustness[method=ft].mri\", by: source, from: bars, published: {}"),
            "3:79",
            "`published` holds no number",
            "",
        ),
        (
            values(
                "metric: \"robustness[source=rich, method=ft].mri\", from: bars, published: 1 }\n  - { metric: \"robustness[source=rich, method=ft].mri\", from: bars, published: 2",
            ),
            "4:15",
            "is published twice by `bars`",
            "",
        ),
        (
            claim(
                "positive: \"robustness[source=rich, method=ft].mri\", among: \"robustness[*].mri\"",
            ),
            "2:7",
            "`among` belongs to `highest` or `lowest`",
            "",
        ),
        (
            claim("ascending: [\"robustness[source=rich, method=ft].mri\"]"),
            "2:7",
            "`ascending` compares two numbers or more",
            "",
        ),
        (
            "sources: { bars: { precision: -1 } }\n".to_string(),
            "1:31",
            "`precision` is 0 or more",
            "",
        ),
    ];
    for (published, place, message, hint) in cases {
        space.write("published.yaml", &published);
        let found = space.run(&["verify", "grid.yaml", "--expect", "published.yaml"]);
        let told = found.expect(2).stderr;
        for part in [&format!("published.yaml:{place}"), message, hint] {
            assert!(
                told.contains(part),
                "{part} is not in\n{told}\nfor\n{published}"
            );
        }
    }
}

/// The distance beside its rivals, each with how likely chance is as good and how far a line
/// through the other domains misses.
#[test]
fn what_predicts_the_drop_is_said_beside_its_rivals() {
    let space = TestSpace::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/mini-rib.yaml");
    space.write("grid.yaml", std::fs::read(file).unwrap());
    let claim = "claims: [{ says: it predicts, positive: summary.distance_drop_spearman }]";
    space.write("published.yaml", claim);
    let domains = "axes.domain=[r, c, a, sketch]";
    let grid = ["grid.yaml", "--profile", "tiny", "--set", domains];
    let grid = [&grid[..], &["--set", "axes.method=[ft]"]].concat();
    space.run(&[&["run", "-q"], &grid[..]].concat()).ok();
    // Four domains are too few for any rank correlation to be clear.
    let verify = |more: &[&str]| {
        let expect = ["--expect", "published.yaml"];
        let arguments = [&["verify"], &grid[..], &expect, more].concat();
        space.run(&arguments).expect(0)
    };
    let found = verify(&["--json"]).json();
    assert_eq!(found["claims"][0]["verdict"], "indistinguishable");
    let predictors = found["predictors"].as_array().unwrap();
    let names: Vec<&str> = predictors
        .iter()
        .map(|predictor| predictor["predictor"].as_str().unwrap())
        .collect();
    let rivals = ["distance_frechet", "distance_mmd", "baseline_gap"];
    assert_eq!(names, [&["distance"], &rivals[..]].concat());
    for predictor in predictors {
        let p_value = predictor["p"].as_f64().unwrap();
        // Of 24 permutations one and its reverse are as strong as the strongest.
        assert!((0.04..=1.0).contains(&p_value), "{predictor}");
        assert!(predictor["left_out"].as_f64().unwrap() > 0.0, "{predictor}");
        assert!(predictor["left_out_of_mean"].as_f64().unwrap() > 0.0);
    }
    let told = verify(&[]).stdout;
    assert!(told.contains("error, one left out"), "{told}");
    let table = space.read("out/mini-rib-tiny/tables/predictors.md");
    assert!(table.contains("baseline_gap"), "{table}");
}

/// The checkpoint of every source that the workflow's axis and its profiles name, without its owner.
fn checkpoints(workflow: &str) -> BTreeMap<String, String> {
    let word = |line: &str, before: &str| {
        let (_, rest) = line.split_once(before)?;
        let end = rest.find([',', ' ', '}'])?;
        Some(rest[..end].to_string())
    };
    let lines = workflow.lines();
    let found = lines.filter_map(|line| Some((word(line, "id: ")?, word(line, "hub: timm/")?)));
    found.collect()
}

/// Every published number of ImageNet-RIB in the reference, by source and metric.
fn reference() -> BTreeMap<String, f64> {
    let folder = env!("CARGO_MANIFEST_DIR");
    let read = |file: &str| std::fs::read_to_string(format!("{folder}/{file}")).unwrap();
    let checkpoints = checkpoints(&read("workflows/imagenet-rib.yaml"));
    let reference = read("tests/reference/parity/published.json");
    let reference: Value = serde_json::from_str(&reference).unwrap();
    let mut numbers = BTreeMap::new();
    let mut add = |source: &str, metric: String, value: &Value| {
        let value = value.as_f64().unwrap_or_else(|| panic!("{metric}"));
        numbers.insert(format!("{source}: {metric}"), value);
    };

    let timm = &reference["timm_public_pretrained"]["values"];
    // timm's table cuts images for the tv2 networks otherwise than the benchmark does.
    let comparable = checkpoints.iter().filter(|(_, name)| !name.contains("tv2"));
    for (id, checkpoint) in comparable {
        for test in ["val", "v2", "a", "r", "sketch"] {
            let metric = format!("baseline[source={id},test={test}].top1");
            add(
                "timm results",
                metric,
                &timm[checkpoint][format!("imagenet_{test}")],
            );
        }
    }
    let bars = &reference["bar"];
    let names = bars["timm_checkpoint_per_pretraining_set"]
        .as_object()
        .unwrap();
    for (name, checkpoint) in names {
        let checkpoint = checkpoint.as_str().unwrap().split(' ').next().unwrap();
        let mut ids = checkpoints.iter().filter(|(_, known)| *known == checkpoint);
        let (id, _) = ids.next().unwrap();
        for (ours, theirs) in [
            ("before", "pretrained"),
            ("after", "fine_tuned"),
            ("mri", "mRI"),
        ] {
            let metric = format!("robustness[source={id},method=ft].{ours}");
            add("bars", metric, &bars["values"][name][theirs]);
        }
    }
    let tests = [
        ("IN-1K", "val"),
        ("IN-V2", "v2"),
        ("IN-A", "a"),
        ("IN-Sketch", "sketch"),
        ("V2", "v2"),
        ("A", "a"),
        ("Sketch", "sketch"),
        ("ObjNet", "objectnet"),
        ("Cartoon", "cartoon"),
        ("Drawing", "drawing"),
        ("C", "c"),
    ];
    let mut add_sets = |source: &str, id: &str, before: &Value, after: &Value| {
        for (name, value) in before.as_object().unwrap() {
            let (_, test) = tests.iter().find(|(known, _)| known == name).unwrap();
            let metric = format!("baseline[source={id},test={test}].top1");
            add(source, metric, value);
            let metric = format!("accuracy[source={id},domain=r,method=ft,test={test}].top1");
            add(source, metric, &after[name]);
        }
    };
    let radar = &reference["radar"]["values"];
    for (id, name) in [("in21k-augreg", "IN-21K+AugReg"), ("laion2b", "LAION-2B")] {
        let of = |when: &str| &radar[format!("{name} {when}")];
        add_sets("radar", id, of("before"), of("after"));
    }
    let figure = &reference["figure1"];
    add_sets(
        "figure 1",
        "in1k-augreg",
        &figure["before"],
        &figure["after"],
    );
    let ri = "robustness[source=in1k-augreg,method=ft].ri[r]".to_string();
    add("figure 1", ri, &figure["RI_from_printed_changes"]);
    numbers
}

/// `verify` judges by the numbers of the reference and by no others, each with the precision and
/// the version of its source; by those of further models only where a run is about them.
#[test]
fn the_published_numbers_of_imagenet_rib_are_those_of_the_reference() {
    let space = TestSpace::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/imagenet-rib.yaml");
    // The repository's store may be that of a user.
    let store = space.path("cache").display().to_string();
    let verify = |more: &[&str]| {
        let arguments = [&["verify", file, "--json", "-q", "--store", &store], more].concat();
        let found = space.run(&arguments).expect(4).json();
        found["values"].as_array().unwrap().clone()
    };
    let numbers = |listed: &[Value]| -> BTreeMap<String, f64> {
        let number = |value: &Value| {
            let text = |field: &str| value[field].as_str().unwrap().to_string();
            let name = format!("{}: {}", text("source"), text("metric"));
            (name, value["published"].as_f64().unwrap())
        };
        listed.iter().map(number).collect()
    };
    let all = verify(&["--profile", "all"]);
    assert_eq!(numbers(&all), reference());
    assert_eq!(all.len(), 21 + 19 * 5 + 20 + 15);
    for value in &all {
        assert_eq!(value["verdict"], "not_run");
        let source = value["source"].as_str().unwrap();
        let precision = match source {
            "bars" => 0.02,
            "radar" => 0.05,
            "figure 1" => 0.5,
            _ => 0.1,
        };
        assert_eq!(value["precision"], precision, "{source}");
        assert_eq!(value["calibration"], source == "timm results");
        assert!(value["version"].is_string() && value["source_is"].is_string());
    }
    // The plain run has seven models, and so has what a smaller profile leaves out of them.
    let seven = verify(&[]);
    assert_eq!(seven.len(), 21 + 7 * 5 + 20 + 15);
    let smoke = verify(&["--profile", "smoke"]);
    assert_eq!(numbers(&smoke), numbers(&seven));
}
