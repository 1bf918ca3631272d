//! `select`: the best of several models, and greedy soups, against every average of them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::space::TestSpace;

const WORKFLOW: &str = r#"
ribflow: 1
name: soup
axes:
  lr: [0.001, 0.01, 0.1]
  mix:
    - { id: "0", of: [0.001] }
    - { id: "1", of: [0.01] }
    - { id: "2", of: [0.1] }
    - { id: "01", of: [0.001, 0.01] }
    - { id: "02", of: [0.001, 0.1] }
    - { id: "12", of: [0.01, 0.1] }
    - { id: "012", of: [0.001, 0.01, 0.1] }
stages:
  pool: { use: dataset, with: { builtin: mini-rib, domain: narrow, images: 60 } }
  images: { use: dataset, with: { builtin: mini-rib, domain: sketch, images: 40 } }
  held: { use: dataset, with: { builtin: mini-rib, domain: sketch, split: test, images: 40 } }
  start: { use: pretrain, needs: { data: pool }, with: { arch: vit_mini, epochs: 1, batch: 20 } }
  tuned:
    each: [lr]
    use: finetune
    needs: { init: start, data: images }
    with: { lr: "${lr}", epochs: 2, batch: 8, warmup: 0 }
  first_score: { use: evaluate, needs: { model: start, data: held } }
  score: { each: [lr], use: evaluate, needs: { model: tuned, data: held } }
  mixed: { each: [mix], use: average, needs: { models: "tuned[lr=mix.of]" } }
  every: { each: [mix], use: evaluate, needs: { model: mixed, data: held } }
  best:
    use: select
    needs: { models: "tuned[lr=*]", scores: "score[lr=*]" }
    with: { by: loss }
  soup:
    use: select
    needs: { models: "tuned[lr=*]", scores: "score[lr=*]", data: held }
    with: { method: greedy_soup, by: loss }
  listed:
    use: select
    needs: { models: [start, "tuned[lr=0.1]"], scores: [first_score, "score[lr=0.1]"] }
    with: { by: loss, better: higher }
  best_score: { use: evaluate, needs: { model: best, data: held } }
  soup_score: { use: evaluate, needs: { model: soup, data: held } }
"#;

fn value(results: &Value, id: &str, metric: &str) -> f64 {
    let mut nodes = results["nodes"].as_array().unwrap().iter();
    let node = nodes.find(|node| node["id"] == id).unwrap();
    node["metrics"][metric]["value"].as_f64().unwrap()
}

fn chosen(results: &Value, id: &str) -> Vec<String> {
    let mut lines = results["selections"].as_array().unwrap().iter();
    let line = lines.find(|line| line["id"] == id).unwrap();
    assert_eq!(line["by"], "loss");
    let names = line["chosen"].as_array().unwrap().iter();
    names
        .map(|name| name.as_str().unwrap().to_string())
        .collect()
}

/// The greedy soup by the losses of all averages: its ingredients in the order added.
fn expected(losses: &BTreeMap<String, f64>) -> Vec<char> {
    let mut order = ['0', '1', '2'];
    order.sort_by(|a, b| losses[&a.to_string()].total_cmp(&losses[&b.to_string()]));
    let of = |soup: &[char]| {
        let mut soup = soup.to_vec();
        soup.sort_unstable();
        losses[&String::from_iter(soup)]
    };
    let mut soup = vec![order[0]];
    for candidate in &order[1..] {
        let with = [&soup[..], &[*candidate]].concat();
        if of(&with) <= of(&soup) {
            soup = with;
        }
    }
    soup
}

#[test]
fn the_best_model_and_the_greedy_soup_are_those_of_all_averages() {
    let space = TestSpace::new();
    space.write("soup.yaml", WORKFLOW);
    space.run(&["run", "soup.yaml"]).ok();
    let results: Value = serde_json::from_str(&space.read("out/soup/results.json")).unwrap();
    let mixes = ["0", "1", "2", "01", "02", "12", "012"];
    let losses: BTreeMap<String, f64> = mixes
        .iter()
        .map(|mix| {
            (
                mix.to_string(),
                value(&results, &format!("every[mix={mix}]"), "loss"),
            )
        })
        .collect();
    let rates = |soup: &[char]| -> Vec<String> {
        let rates = ["lr=0.001", "lr=0.01", "lr=0.1"];
        let mut names: Vec<String> = soup
            .iter()
            .map(|digit| rates[digit.to_digit(10).unwrap() as usize].to_string())
            .collect();
        names.sort();
        names
    };
    let soup = expected(&losses);

    let best = chosen(&results, "best");
    assert_eq!(best, rates(&soup[..1]));
    assert_eq!(
        value(&results, "best", "score"),
        losses[&soup[0].to_string()]
    );
    assert_eq!(
        value(&results, "best_score", "loss"),
        losses[&soup[0].to_string()]
    );

    let mut ingredients = chosen(&results, "soup");
    ingredients.sort();
    assert_eq!(ingredients, rates(&soup));
    assert_eq!(value(&results, "soup", "candidates"), 3.0);
    assert_eq!(value(&results, "soup", "evaluations"), 3.0);
    let score = value(&results, "soup", "score");
    assert_eq!(value(&results, "soup_score", "loss"), score);
    let mut sorted = soup.clone();
    sorted.sort_unstable();
    // The order of the sum may move the last bits of a weight.
    let same = losses[&String::from_iter(sorted)];
    assert!((score - same).abs() < 1e-5, "{score} {same}");

    // A list has no axes: scores are in the order of models, and higher is better here.
    let higher = value(&results, "first_score", "loss") >= value(&results, "score[lr=0.1]", "loss");
    assert_eq!(chosen(&results, "listed"), [if higher { "1" } else { "2" }]);

    let page = space.read("out/soup/report.html");
    assert!(page.contains("Selected models"), "no section");
}

#[test]
fn wrong_selections_are_reported_at_load_time() {
    let space = TestSpace::new();
    let wrong = |from: &str, to: &str| {
        assert!(WORKFLOW.contains(from));
        space.write("wrong.yaml", WORKFLOW.replacen(from, to, 1));
        space.run(&["validate", "wrong.yaml"]).expect(2).stderr
    };
    let found = wrong(
        "scores: \"score[lr=*]\" }",
        "scores: \"score[lr=0.1|0.01]\" }",
    );
    assert!(found.contains("2 scores for 3 models"), "{found}");
    let found = wrong(
        ", data: held }\n    with: { method",
        " }\n    with: { method",
    );
    assert!(found.contains("`data`"), "{found}");
    let found = wrong("greedy_soup, by: loss", "greedy_soup, by: accuracy");
    assert!(
        found.contains("a soup can't be scored by `accuracy`"),
        "{found}"
    );
}

#[test]
fn scores_of_other_models_and_of_other_data_are_refused_before_anything_runs() {
    let space = TestSpace::new();
    let validate = |wrong: &str| {
        space.write("wrong.yaml", wrong);
        space.run(&["validate", "wrong.yaml"])
    };
    let refused = |from: &str, to: &str| {
        assert!(WORKFLOW.contains(from), "{from}");
        validate(&WORKFLOW.replacen(from, to, 1)).expect(2).stderr
    };
    let listed = "scores: [first_score, \"score[lr=0.1]\"]";
    let found = refused(listed, "scores: [\"score[lr=0.1]\", first_score]");
    let line =
        "the score of model 1, `score[lr=0.1]`, is that of `tuned[lr=0.1]` and not of `start`";
    assert!(found.contains(line), "{found}");
    assert!(found.contains("in the order of the models"), "{found}");
    assert!(found.contains("wrong.yaml:38:48"), "no place: {found}");

    let found = refused(
        "first_score: { use: evaluate, needs: { model: start, data: held } }",
        "first_score: { use: evaluate, needs: { model: start, data: images } }",
    );
    assert!(
        found.contains("`first_score` is on `images`, and `score[lr=0.1]` on `held`"),
        "{found}"
    );

    let found = refused(
        ", data: held }\n    with: { method",
        ", data: pool }\n    with: { method",
    );
    assert!(
        found.contains("`data` is `pool`, and the scores are on `held`"),
        "{found}"
    );

    // Another stage that gives the same data is no other data.
    let same = WORKFLOW
        .replace(
            "  start:",
            "  again: { use: dataset, with: { builtin: mini-rib, domain: sketch, split: test, images: 40 } }\n  start:",
        )
        .replacen(
            "needs: { model: start, data: held }",
            "needs: { model: start, data: again }",
            1,
        );
    validate(&same).ok();
}

#[test]
fn scores_of_another_seed_are_refused() {
    let space = TestSpace::new();
    space.write(
        "seeds.yaml",
        r#"
ribflow: 1
name: seeds
axes: { lr: [0.01, 0.1], seed: [0, 1] }
stages:
  images: { use: dataset, with: { builtin: mini-rib, domain: sketch, images: 40 } }
  start: { use: pretrain, needs: { data: images }, with: { arch: vit_mini, epochs: 1, batch: 20 } }
  tuned:
    each: [lr, seed]
    use: finetune
    needs: { init: start, data: images }
    with: { lr: "${lr}", seed: "${seed}", epochs: 1, batch: 20, warmup: 0 }
  held: { each: [lr, seed], use: evaluate, needs: { model: tuned, data: images } }
  best:
    use: select
    needs: { models: "tuned[lr=*,seed=0]", scores: "held[lr=*,seed=1]" }
"#,
    );
    let found = space.run(&["validate", "seeds.yaml"]).expect(2).stderr;
    let line = "the score of lr=0.01, `held[lr=0.01,seed=1]`, is that of `tuned[lr=0.01,seed=1]` and \
                not of `tuned[lr=0.01,seed=0]`";
    assert!(found.contains(line), "{found}");
    assert!(found.contains("pin the same values"), "{found}");
}

#[test]
fn a_score_of_a_program_is_compared_with_its_repetition() {
    let space = TestSpace::new();
    let score = "  score: { each: [lr], use: evaluate, needs: { model: tuned, data: held } }\n";
    assert!(WORKFLOW.contains(score));
    let program = "  score:\n    each: [lr]\n    use: command\n    needs: { model: tuned }\n    with:\n      run: |\n        echo '{\"loss\": {\"value\": 40, \"direction\": \"lower\"}}' > out/metrics.json\n      outputs: { metrics: metrics }\n";
    space.write("soup.yaml", WORKFLOW.replacen(score, program, 1));
    let words = ["run", "soup.yaml", "soup"];
    let stderr = space.run(&words).expect(1).stderr;
    assert!(
        stderr.contains("evaluate the models on the same dataset"),
        "{stderr}"
    );
}
