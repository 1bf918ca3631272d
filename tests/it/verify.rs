//! `ribflow verify`: every verdict, the exit codes, and what is wrong with a file of published
//! values.

mod published;

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
fn before_calibration_and_with_one_seed_only_differences_are_reported() {
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
