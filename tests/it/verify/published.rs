//! Files of published values: what is wrong with one, and the numbers of ImageNet-RIB.

use super::*;

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
fn what_is_wrong_with_published_values_is_reported_by_place() {
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
