//! What the program says of numbers: short trainings, ids that are numbers, what is missing, and
//! words that other programs taught.

use serde_json::Value;

use crate::space::{Outcome, TestSpace};

const SHORT: &str = "\
ribflow: 1
name: short
axes: { seed: [0, 1] }
stages:
  known:
    use: dataset
    with: { builtin: mini-rib, domain: narrow, limit: 4 }
  read:
    use: dataset
    with: { folder: photos, classes: [cat] }
  pretrained:
    use: pretrain
    needs: { data: known }
    with: { arch: vit_mini, epochs: 1, batch: 16 }
  tuned:
    each: [seed]
    use: finetune
    needs: { init: pretrained, data: known }
    with: { epochs: 2, batch: 16, seed: '${seed}' }
  again:
    use: finetune
    needs: { init: pretrained, data: read }
    with: { epochs: 3, batch: 16, warmup: 4, head: new }
  enough:
    use: finetune
    needs: { init: pretrained, data: known }
    with: { epochs: 2, batch: 16, warmup: 6 }
";

fn short() -> TestSpace {
    let space = TestSpace::new();
    space.write("short.yaml", SHORT);
    let picture = crate::fixtures::copies().join("../images/rgb.png");
    space.write("photos/cat/1.png", std::fs::read(picture).unwrap());
    space
}

fn warnings(outcome: &Outcome) -> Vec<&str> {
    let lines = outcome.stderr.lines().chain(outcome.stdout.lines());
    lines
        .filter(|line| line.to_lowercase().starts_with("warning"))
        .collect()
}

/// 40 images in batches of 16 are 3 steps, so that two epochs are 6 of the default 196.
#[test]
fn a_training_shorter_than_its_warmup_is_reported_before_it_runs() {
    let space = short();
    let told = "2 nodes of `tuned` train for fewer steps than their warm-up takes \
                (`tuned[seed=0]`: 6 of 196): the learning rate only reaches 3 % of `lr`";
    let validated = space.run(&["validate", "short.yaml"]).expect(0);
    assert_eq!(
        warnings(&validated),
        [format!("warning[short-training]: {told}")]
    );
    // Where the file says how long it trains: line 19, of the node with the fewest steps.
    assert!(validated.stdout.contains("short.yaml:19:21"), "{validated}");
    for (with, place) in [
        (
            "{ batch: 16, warmup: 90, seed: '${seed}' }",
            "short.yaml:19:32",
        ),
        ("{ batch: 64, seed: '${seed}' }", "short.yaml:19:5"),
    ] {
        let old = "{ epochs: 2, batch: 16, seed: '${seed}' }";
        space.write("short.yaml", SHORT.replace(old, with));
        let validated = space.run(&["validate", "short.yaml"]).expect(0);
        assert!(validated.stdout.contains(place), "{validated}");
    }
    space.write("short.yaml", SHORT);
    let planned = space.run(&["plan", "short.yaml"]).expect(0);
    assert_eq!(warnings(&planned), [format!("Warning: {told}.")]);
    assert!(
        planned.stdout.contains("\n  short.yaml:19:21: `warmup"),
        "{planned}"
    );
    let document = space
        .run(&["plan", "short.yaml", "--json"])
        .expect(0)
        .json();
    assert_eq!(document["warnings"], serde_json::json!([told]));
}

/// How many images a folder has is known once it is read: 1 image, 3 epochs, 3 steps of 4.
#[test]
fn a_training_shorter_than_its_warmup_is_reported_as_it_starts() {
    let space = short();
    let outcome = space.run(&["run", "short.yaml"]).expect(0);
    let hint = "`warmup: 0.1` is a tenth of the steps, however many there are";
    let mut told = warnings(&outcome);
    told.sort_unstable();
    let again = "warning: `again` trains for 3 steps, fewer than the 4 of its warm-up: the learning rate \
                 only reaches 75 % of `lr`";
    let tuned = "warning: 2 nodes of `tuned` train for fewer steps than their warm-up takes \
                 (`tuned[seed=";
    assert_eq!(told.len(), 2, "{outcome}");
    assert!(told[0].starts_with(tuned), "{outcome}");
    assert!(
        told[0].ends_with(&format!("(short.yaml:19:21: {hint})")),
        "{outcome}"
    );
    assert_eq!(
        told[1],
        format!("{again} (short.yaml:23:43: {hint})"),
        "{outcome}"
    );
    // By the records, a plan knows it, too.
    let plan = space
        .run(&["plan", "short.yaml", "--set", "axes.seed=[2]"])
        .expect(0);
    assert_eq!(warnings(&plan).len(), 1, "{plan}");
    assert!(
        warnings(&plan)[0].contains("`tuned[seed=2]` trains for 6 steps"),
        "{plan}"
    );
}

/// Of several, the one whose learning rate rises least is named: 8 of 196 steps, and not 6 of 7.
#[test]
fn of_short_trainings_the_worst_is_named() {
    let space = TestSpace::new();
    let text = "\
ribflow: 1
name: worst
axes: { case: [{ id: mild, epochs: 2, warmup: 7 }, { id: bad, epochs: 4, warmup: 196 }] }
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 40 } }
  start: { use: pretrain, needs: { data: pool }, with: { arch: vit_mini, epochs: 1, batch: 20 } }
  tuned:
    each: [case]
    use: finetune
    needs: { init: start, data: pool }
    with: { epochs: '${case.epochs}', warmup: '${case.warmup}', batch: 16 }
";
    space.write("worst.yaml", text);
    let told = "(`tuned[case=bad]`: 12 of 196)";
    for command in ["validate", "plan", "run"] {
        let outcome = space.run(&[command, "worst.yaml"]).expect(0);
        let found = warnings(&outcome);
        assert!(found.len() == 1 && found[0].contains(told), "{outcome}");
    }
}

const RATES: &str = "\
ribflow: 1
name: rates
axes:
  lr: [1e-3, 0.1, 10]
stages:
  pool:
    each: [lr]
    use: dataset
    with: { builtin: mini-rib, domain: narrow, images: 10 }
  best:
    use: concat
    needs: { parts: ['pool[lr=1e-3]', 'pool[lr=1e1]'] }
  summary:
    use: report
    needs: { pools: 'pool[*].summary', best: best.summary }
    with: { expect: published.yaml }
";

/// 20 images, of which 20.004 and 20.125 were published: within 0.005, and not within 0.0625.
#[test]
fn what_is_allowed_is_shown_with_the_digits_that_count() {
    let space = TestSpace::new();
    space.write("rates.yaml", RATES);
    let text = "\
sources: { we: { what: us, precision: 0.005 }, they: { what: them, precision: 0.0625 } }
values:
  - { metric: best.images, from: we, published: 20.004 }
  - { metric: best.images, from: they, published: 20.125 }
";
    space.write("published.yaml", text);
    space.run(&["run", "rates.yaml", "--quiet"]).ok();
    let verified = space.run(&["verify", "rates.yaml"]);
    for numbers in [
        "20.004 20.000 -0.004 0.005",
        "20.1250 20.0000 -0.1250 0.0625",
    ] {
        let lines = verified.stdout.lines();
        let mut lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        assert!(lines.any(|line| line.contains(numbers)), "{verified}");
    }
    let page = space.read("out/rates/report.html");
    assert!(
        page.contains(">0.0625<") && page.contains(">20.1250<"),
        "{page}"
    );
}

/// A number is the same however it is written, in every place that picks one; what is shown is
/// what the file says.
#[test]
fn a_number_of_an_axis_is_picked_by_its_value() {
    let space = TestSpace::new();
    space.write("rates.yaml", RATES);
    let published = |values: &str, claims: &str| {
        let text = format!(
            "sources: {{ we: {{ what: us, precision: 0 }} }}\nvalues:\n{values}claims:\n{claims}"
        );
        space.write("published.yaml", text);
    };
    published(
        "  - { metric: pool.images, by: lr, from: we, published: { 0.0010: 10, 1e-1: 9, 10.0: 10 } }\n",
        "  - { says: some, positive: 'pool[lr=0.001].images' }\n",
    );
    for word in ["1e-3", "0.001", "1.0e-3", "0.0010"] {
        let target = format!("pool[lr={word}]");
        let plan = space
            .run(&["plan", "rates.yaml", &target, "--json"])
            .expect(0);
        assert_eq!(plan.json()["nodes"][0]["id"], "pool[lr=1e-3]", "{plan}");
    }
    space.run(&["run", "rates.yaml", "-q"]).ok();
    let verdicts = space
        .run(&["verify", "rates.yaml", "--json"])
        .expect(3)
        .json();
    let of = |list: &str, field: &str| -> Vec<Value> {
        let list = verdicts[list].as_array().unwrap();
        list.iter().map(|one| one[field].clone()).collect()
    };
    assert_eq!(
        of("values", "verdict"),
        ["reproduced", "different", "reproduced"]
    );
    assert_eq!(
        of("values", "metric"),
        [
            "pool[lr=1e-3].images",
            "pool[lr=0.1].images",
            "pool[lr=10].images"
        ]
    );
    // Keys hold a float in one way, however it is written.
    space.write(
        "rates.yaml",
        RATES.replace("1e-3, 0.1, 10", "0.001, 1e-1, 10"),
    );
    let plan = space
        .run(&["plan", "rates.yaml", "--json"])
        .expect(0)
        .json();
    for node in plan["nodes"].as_array().unwrap() {
        assert_eq!(node["state"], "reused", "{node}");
    }
}

/// A lock names nodes by value, as it did before their names had numbers as the file writes them.
#[test]
fn a_lock_holds_however_a_number_is_written() {
    let space = short();
    let file = |rates: &str| {
        format!(
            "ribflow: 1\nname: locked\naxes: {{ rate: {rates} }}\nstages:\n  photos: {{ each: [rate], use: \
             dataset, with: {{ folder: photos, classes: [cat] }} }}\n  seen: {{ each: [rate], use: concat, needs: \
             {{ parts: [photos] }} }}\n"
        )
    };
    space.write("locked.yaml", file("[1e-3]"));
    space.run(&["lock", "locked.yaml"]).ok();
    let lock = space.read("locked.yaml.lock");
    assert!(lock.contains("node: photos[rate=0.001]"), "{lock}");
    space.run(&["run", "locked.yaml", "-q"]).ok();
    std::fs::remove_dir_all(space.path("photos")).unwrap();
    for rates in ["[1e-3]", "[0.001]", "[1.0e-3]"] {
        space.write("locked.yaml", file(rates));
        let plan = space
            .run(&["plan", "locked.yaml", "--json"])
            .expect(0)
            .json();
        for node in plan["nodes"].as_array().unwrap() {
            assert_eq!(node["state"], "reused", "{node}");
        }
    }
}

#[test]
fn a_claim_with_an_open_axis_gets_a_hint_for_claims() {
    let space = TestSpace::new();
    space.write("rates.yaml", RATES);
    let hint = |published: &str| {
        space.write(
            "published.yaml",
            format!("sources: {{ we: {{ what: us, precision: 0 }} }}\n{published}"),
        );
        let outcome = space.run(&["validate", "rates.yaml", "--json"]).expect(2);
        let problem = &outcome.json()["errors"][0];
        assert_eq!(problem["code"], "open-axis", "{outcome}");
        problem["hint"].as_str().unwrap().to_string()
    };
    assert_eq!(
        hint("claims: [{ says: it, ascending: [pool.images, 'pool[lr=10].images'] }]\n"),
        "pin it, `[lr=…]`, or let `take: highest` or `take: lowest` choose one"
    );
    assert_eq!(
        hint("values: [{ metric: pool.images, from: we, published: 10 }]\n"),
        "pin it, `[lr=…]`, or tell the numbers apart with `by: lr`"
    );
}

/// Exit codes as those of a run: 1 where data is missing and nothing can begin.
#[test]
fn a_plan_names_everything_that_is_missing() {
    let space = TestSpace::new();
    let file = "\
ribflow: 1
name: lost
stages:
  a: { use: dataset, with: { folder: here/a } }
  b: { use: dataset, with: { folder: here/b } }
  c: { use: dataset, with: { folder: here/b, limit: 1 } }
  d: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 10 } }
  both: { use: concat, needs: { parts: [a, b] } }
  more: { use: concat, needs: { parts: [c, d] } }
";
    space.write("lost.yaml", file);
    let outcome = space.run(&["plan", "lost.yaml", "both"]).expect(1);
    let shown = outcome.to_string();
    let (_, end) = shown.split_once("Nothing").unwrap();
    insta::assert_snapshot!(format!("Nothing{end}"), @"
    Nothing could run.
    2 nodes can't run, nor 1 that waits for them:
      a: the data of `folder` can't be read: $SPACE/here/a does not exist
      b: the data of `folder` can't be read: $SPACE/here/b does not exist
    --- stderr
    note: there is no store at cache yet
    [exit code 1]
    ");
    assert_eq!(space.run(&["run", "lost.yaml", "both", "-q"]).code, Some(1));
    // `d` can run.
    let outcome = space.run(&["plan", "lost.yaml"]).expect(0);
    let shown = outcome.stdout.split_once("\n\n").unwrap().1;
    let (_, end) = shown.split_once("\n\n").unwrap();
    let (end, _) = end.split_once("\n\nEstimated").unwrap();
    insta::assert_snapshot!(end.replace(&space.root().display().to_string(), "$SPACE"), @"
    1 node would run.
    3 nodes can't run, nor 2 that wait for them:
      a: the data of `folder` can't be read: $SPACE/here/a does not exist
      b and 1 more: the data of `folder` can't be read: $SPACE/here/b does not exist
    ");
    space
        .run(&["plan", "lost.yaml", "both", "--json"])
        .expect(1)
        .json();
}

#[test]
fn words_of_other_programs_have_a_tip() {
    let space = TestSpace::new();
    for (typed, wanted) in [
        (&["run", "a.yaml", "-n"][..], "ribflow plan FILE"),
        (&["run", "a.yaml", "--dry-run"], "ribflow plan FILE"),
        (&["run", "a.yaml", "-j", "4"], "--threads N"),
        (&["run", "-j4", "a.yaml"], "--threads N"),
        (&["run", "a.yaml", "--jobs=4"], "--threads N"),
        (&["runs"], "ribflow status FILE"),
    ] {
        let outcome = space.run(typed).expect(2);
        let tips: Vec<&str> = outcome
            .stderr
            .lines()
            .filter(|line| line.contains("tip:"))
            .collect();
        assert!(tips.len() == 1 && tips[0].contains(wanted), "{outcome}");
        let hint = &space.run(&[typed, &["--json"]].concat()).expect(2).json()["errors"][0]["hint"];
        assert!(hint.as_str().unwrap().contains(wanted), "{hint}");
    }
}

/// What a report can't read is refused before anything has run.
#[test]
fn a_report_on_files_is_refused_by_validate() {
    let space = TestSpace::new();
    let file = |needs: &str| {
        format!(
            "ribflow: 1\nname: files\nstages:\n  letters: {{ use: command, with: {{ run: 'echo a > out/a', \
             outputs: [a] }} }}\n  pool: {{ use: dataset, with: {{ builtin: mini-rib, domain: r }} }}\n  \
             summary: {{ use: report, needs: {{ found: {needs} }} }}\n"
        )
    };
    let refused = |needs: &str| {
        space.write("files.yaml", file(needs));
        let outcome = space.run(&["validate", "files.yaml", "--json"]).expect(2);
        let problem = outcome.json()["errors"][0].clone();
        assert_eq!(problem["code"], "wrong-port-type", "{outcome}");
        (
            problem["message"].as_str().unwrap().to_string(),
            problem["hint"].clone(),
        )
    };
    let (message, hint) = refused("letters");
    assert_eq!(
        message,
        "input `found` takes metrics or a table, and `letters` is files"
    );
    assert!(hint.is_null());
    let (message, hint) = refused("pool");
    assert_eq!(
        message,
        "input `found` takes metrics or a table, and `pool` is a dataset"
    );
    assert_eq!(hint, "`pool.summary` is metrics");
    space.write("files.yaml", file("pool.summary"));
    space.run(&["validate", "files.yaml"]).ok();
}
