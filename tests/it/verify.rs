//! `ribflow verify`: every verdict, the exit codes, and what is wrong with a file of published
//! values.

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
  - { says: several at once, ascending: [\"robustness[method=ft].mri\"] }
",
    );
    let found = space.run(&["verify", "grid.yaml", "--expect", "published.yaml"]);
    insta::assert_snapshot!(found.expect(2).stderr);
    let none = space.run(&["verify", "grid.yaml"]).expect(2).stderr;
    assert!(none.contains("names no published values"), "{none}");
}

/// The numbers in the workflow's file are those of the reference, each in its place.
#[test]
fn the_published_numbers_of_imagenet_rib_are_those_of_the_reference() {
    let space = TestSpace::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/workflows/imagenet-rib.yaml");
    let found = space
        .run(&["verify", file, "--json", "-q"])
        .expect(4)
        .json();
    let listed = found["values"].as_array().unwrap();
    assert!(listed.iter().all(|value| value["verdict"] == "not_run"));
    let published = |metric: &str| {
        let mut found = listed.iter().filter(|value| value["metric"] == metric);
        found
            .next()
            .map(|value| value["published"].as_f64().unwrap())
    };
    let reference = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/reference/parity/published.json"
    );
    let reference: Value =
        serde_json::from_str(&std::fs::read_to_string(reference).unwrap()).unwrap();
    let mut checked = 0;
    let mut check = |metric: String, value: &Value| {
        assert_eq!(published(&metric), value.as_f64(), "{metric}");
        checked += 1;
    };
    let sources = [
        ("IN-1K + AugReg", "in1k-augreg"),
        ("IN-1K + SAM", "in1k-sam"),
        ("IN-21K", "in21k"),
        ("IN-21K-P", "in21k-p"),
        ("IN-21K + AugReg", "in21k-augreg"),
        ("OpenAI", "openai"),
        ("LAION-2B", "laion2b"),
    ];
    for (name, id) in sources {
        let bars = &reference["bar"]["values"][name];
        let of = |metric: &str| format!("robustness[source={id},method=ft].{metric}");
        check(of("before"), &bars["pretrained"]);
        check(of("after"), &bars["fine_tuned"]);
        check(of("mri"), &bars["mRI"]);
        let checkpoint = &reference["bar"]["timm_checkpoint_per_pretraining_set"][name];
        let checkpoint = checkpoint.as_str().unwrap().split(' ').next().unwrap();
        let timm = &reference["timm_public_pretrained"]["values"][checkpoint];
        for (set, test) in [
            ("val", "val"),
            ("v2", "v2"),
            ("a", "a"),
            ("r", "r"),
            ("sketch", "sketch"),
        ] {
            let metric = format!("baseline[source={id},test={test}].top1");
            let all = listed
                .iter()
                .filter(|value| value["metric"] == metric.as_str());
            let mut own = all.filter(|value| value["calibration"] == true);
            let own = own.next().unwrap_or_else(|| panic!("{metric}"));
            assert_eq!(
                own["published"],
                timm[format!("imagenet_{set}")],
                "{metric}"
            );
        }
    }
    let changes = &reference["figure1"];
    for (name, test) in [
        ("V2", "v2"),
        ("A", "a"),
        ("ObjNet", "objectnet"),
        ("C", "c"),
    ] {
        let metric = format!("accuracy[source=in1k-augreg,domain=r,method=ft,test={test}].top1");
        check(metric, &changes["after"][name]);
    }
    for (name, test) in [("IN-1K", "val"), ("IN-A", "a"), ("ObjNet", "objectnet")] {
        let metric = format!("accuracy[source=laion2b,domain=r,method=ft,test={test}].top1");
        check(
            metric,
            &reference["radar"]["values"]["LAION-2B after"][name],
        );
    }
    assert_eq!(checked, 28);
}
