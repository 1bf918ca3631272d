//! Classes of datasets and models: what does not fit is reported before anything runs; a name
//! is found in either Unicode form.

use serde_json::Value;

use crate::space::{Outcome, TestSpace};

const FLOW: &str = "\
ribflow: 1
name: classes
stages:
  animals:
    use: dataset
    with: { builtin: mini-rib, domain: narrow, images: 40, classes: [ANIMALS] }
  things:
    use: dataset
    with: { builtin: mini-rib, domain: r, images: 40, classes: [THINGS] }
  few:
    use: dataset
    with: { builtin: mini-rib, domain: r, images: 40, classes: [FEW] }
  noisy:
    use: corrupt
    needs: { images: things }
    with: { corruption: fog, severity: 1 }
  model:
    use: pretrain
    needs: { data: animals }
    with: { arch: vit_mini, epochs: 1 }
  tuned:
    use: finetune
    needs: { init: model, data: few }
    with: { epochs: 1, batch: 4 }
";

/// The first five classes of mini-RIB, and the other five.
fn flow(more: &str) -> TestSpace {
    let names = ribflow::ml::data::mini_rib::classes();
    let text = FLOW
        .replace("ANIMALS", &names[..5].join(", "))
        .replace("THINGS", &names[5..].join(", "))
        .replace("FEW", &names[..2].join(", "));
    let space = TestSpace::new();
    space.write("classes.yaml", format!("{text}{more}"));
    space
}

fn errors(outcome: &Outcome) -> Vec<Value> {
    let errors = outcome.json()["errors"].take();
    errors.as_array().unwrap().clone()
}

/// Line 27 has the inputs of what is added.
#[test]
fn classes_that_do_not_fit_are_reported_before_anything_runs() {
    let first = |index: usize| ribflow::ml::data::mini_rib::classes()[index].clone();
    let missing = format!(
        "the dataset's class `{}` is not among the model's 5 classes",
        first(5)
    );
    let new = "a model has the classes of the data that it was trained on: take data with those, or train it \
               on this dataset by `finetune` with `head: new`";
    let cases = [
        (
            "finetune",
            "init: model, data: noisy",
            "",
            missing.as_str(),
            "data",
        ),
        ("finetune", "init: tuned, data: noisy", "", &missing, "data"),
        (
            "evaluate",
            "model: tuned, data: things",
            "",
            &missing,
            "data",
        ),
        (
            "concat",
            "parts: [animals, things]",
            "",
            "the classes of member 2 of `parts` differ from those of member 1: label 0 is",
            "parts",
        ),
        (
            "ot",
            "a: animals, b: things",
            "mask: common",
            "no class in common",
            "b",
        ),
    ];
    for (kind, needs, with, message, input) in cases {
        let more =
            format!("  bad:\n    use: {kind}\n    needs: {{ {needs} }}\n    with: {{ {with} }}\n");
        let space = flow(&more);
        let outcome = space.run(&["validate", "classes.yaml", "--json"]).expect(2);
        let errors = errors(&outcome);
        assert_eq!(errors.len(), 1, "{outcome}");
        assert_eq!(errors[0]["code"], "other-classes");
        let told = errors[0]["message"].as_str().unwrap();
        assert!(told.contains(message), "{kind}: {told}");
        let column = "    needs: { ".len() + needs.find(&format!("{input}:")).unwrap() + 1;
        let place = (&errors[0]["line"], &errors[0]["column"]);
        assert_eq!(place, (&27.into(), &column.into()), "{kind}: {outcome}");
        if message == missing {
            assert_eq!(errors[0]["hint"], new);
        }
        let run = space.run(&["run", "classes.yaml"]).expect(2);
        assert!(run.stderr.contains("classes.yaml:27:"), "{run}");
        assert!(!space.path("cache").exists(), "{run}");
    }
}

/// What follows from a new classifier, and what only a run knows, is not refused.
#[test]
fn classes_that_fit_or_are_not_known_are_no_error() {
    let space = flow(
        "  new:
    use: finetune
    needs: { init: model, data: things }
    with: { head: new, epochs: 1, batch: 4 }
  measured: { use: evaluate, needs: { model: new, data: noisy } }
  subset: { use: evaluate, needs: { model: model, data: few } }
  folder: { use: dataset, with: { folder: photos } }
  unknown: { use: evaluate, needs: { model: model, data: folder } }
  published: { use: checkpoint, with: { arch: vit_mini, path: weights.pth } }
  again: { use: evaluate, needs: { model: published, data: things } }
",
    );
    space.run(&["validate", "classes.yaml"]).expect(0).ok();
}

const FORMS: &str = "\
ribflow: 1
name: forms
stages:
  one: { use: dataset, with: { folder: one } }
  two: { use: dataset, with: { folder: two } }
  other: { use: dataset, with: { folder: other } }
  both: { use: concat, needs: { parts: [one, two] } }
  model: { use: pretrain, needs: { data: one }, with: { arch: vit_mini, epochs: 2, warmup: 0 } }
  tuned: { use: finetune, needs: { init: model, data: two }, with: { epochs: 1, warmup: 0 } }
  seen: { use: evaluate, needs: { model: model, data: one }, with: { predictions: true } }
  again: { use: evaluate, needs: { model: model, data: two }, with: { predictions: true } }
  distance:
    use: ot
    needs: { model: model, a: one, b: other }
    with: { distance: wasserstein, mask: common }
";

/// The same images in folders whose names are `é` as one character, and as two.
#[test]
fn a_class_is_the_same_in_either_unicode_form() {
    let space = TestSpace::new();
    space.write("forms.yaml", FORMS);
    let picture = |name: &str| {
        let file = crate::fixtures::copies().join("../images").join(name);
        std::fs::read(file).unwrap()
    };
    for (folder, class) in [("one", "\u{e9}"), ("two", "e\u{301}")] {
        space.write(&format!("{folder}/{class}/1.png"), picture("rgb.png"));
        space.write(&format!("{folder}/plain/1.png"), picture("palette.png"));
    }
    space.write("other/e\u{301}/1.png", picture("bilevel.png"));
    space.write("other/plain/1.png", picture("palette.png"));
    space.run(&["run", "forms.yaml"]).expect(0).ok();
    let results: Value = serde_json::from_str(&space.read("out/forms/results.json")).unwrap();
    let metric = |node: &str, name: &str| {
        let nodes = results["nodes"].as_array().unwrap().iter();
        let mut found = nodes.filter(|it| it["id"] == node);
        found.next().unwrap()["metrics"][name]["value"]
            .as_f64()
            .unwrap()
    };
    for name in ["top1", "loss"] {
        // The order of the images differs, and with it the last digits of sums.
        let (seen, again) = (metric("seen", name), metric("again", name));
        assert!((seen - again).abs() < 1e-5, "{name}: {seen} {again}");
    }
    assert_eq!(metric("both", "images"), 4.0);
    // The names of the dataset at hand.
    let get = ["get", "forms.yaml", "again.predictions", "-o", "rows"];
    space.run(&get).ok();
    let table = space.read("rows/table.csv");
    assert!(
        table.contains("e\u{301},") && !table.contains('\u{e9}'),
        "{table}"
    );
    // Of `plain` alone, which has the same image in both, it would be 0.
    assert!(metric("distance", "distance") > 0.1);
}
