//! Ten steps of fine-tuning a tiny ViT, against PyTorch with timm: forward pass, gradient, SGD
//! and schedule at once. Names, shapes, inputs and masks are those that the fixture states.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ribflow::ml::models::Model;
use ribflow::ml::models::average::average;
use ribflow::ml::ops::Precision;
use ribflow::ml::train::method::{Method, Part, Plain};
use ribflow::ml::train::optimiser::Rule as Update;
use ribflow::ml::train::schedule::Schedule;
use ribflow::ml::train::trainer::{BatchInput, Objective, Trainer};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::tiny_runs::{Runs, count};
use crate::{fixtures, rule};

#[test]
fn parity_tiny_vit_runs() {
    let path = fixtures::folder().join("parity/methods/tiny_vit_runs.json");
    if !path.exists() && fixtures::folder() != fixtures::copies() {
        eprintln!("{}: not there, nothing compared", path.display());
        return;
    }
    let table = Runs::read(&fixtures::folder());
    let shapes = table.shapes(false);
    for (name, expected) in table.fixture["state_dict"].as_object().unwrap() {
        let values = rule::tensor(&format!("{}{name}", table.prefix()), &shapes[name]);
        let bits = rule::bitsum(&values);
        assert_eq!(bits, expected["bitsum"].as_u64().unwrap(), "{name}: bits");
    }
    let mut tuned = BTreeMap::new();
    for (name, run) in table.runs() {
        let mut start = table.start(run["clip_style"] == true);
        if run["method"] == "LPFT" {
            let before = table.probe(run);
            let method = table.method(before, &start);
            start = follow(name, &table, before, start, &*method);
        }
        let method = table.method(run, &start);
        tuned.insert(name.as_str(), follow(name, &table, run, start, &*method));
    }
    assert!(!tuned.is_empty());
    compare_logits(&table, &tuned);
    if table.fixture["soup_pre_ft"].is_object() {
        compare_soup(&table, &tuned);
    }
}

/// The arrays beside the table whose names end in `end`, by what stands before it.
fn outputs(end: &str) -> BTreeMap<String, (Vec<f32>, usize)> {
    let path = fixtures::folder().join("parity/methods/methods.safetensors");
    let Ok(bytes) = std::fs::read(path) else {
        return BTreeMap::new();
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let array = |(name, view): (String, safetensors::tensor::TensorView)| {
        let (chunks, _) = view.data().as_chunks::<4>();
        let values = chunks.iter().map(|it| f32::from_le_bytes(*it)).collect();
        Some((
            name.strip_suffix(end)?.to_string(),
            (values, view.shape()[0]),
        ))
    };
    tensors.tensors().into_iter().filter_map(array).collect()
}

/// How far the logits of the test images are from `expected`.
fn logit_error(table: &Runs, model: &Model, expected: &(Vec<f32>, usize)) -> f32 {
    let (expected, batch) = expected;
    let found = values(&model.logits(&table.images("test", *batch)).unwrap());
    assert_eq!(found.len(), expected.len());
    let errors = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    errors.fold(0.0, f32::max)
}

/// What the trained models say of the test images, their changes merged in.
fn compare_logits(table: &Runs, tuned: &BTreeMap<&str, Model>) {
    for (key, expected) in outputs(".final_logits") {
        let own = tuned.iter().filter(|(name, _)| {
            let name = **name;
            name == key || name.strip_suffix("_masked") == Some(&key)
        });
        let mut candidates: Vec<_> = own.collect();
        if candidates.is_empty() {
            // `FT_nomask` is some unmasked run of FT, by another name.
            let method = key.split('_').next();
            candidates.extend(tuned.iter().filter(|(name, _)| {
                let run = &table.fixture["runs"][**name];
                run["method"].as_str() == method
            }));
        }
        let errors = candidates
            .iter()
            .map(|(_, model)| logit_error(table, model, &expected));
        let error = errors.fold(f32::INFINITY, f32::min);
        assert!(error < 2e-5, "{key}: logits differ by {error:e}");
    }
}

/// Runs the steps of `run` and compares each; returns the trained model.
fn follow(name: &str, table: &Runs, run: &Value, model: Model, method: &dyn Method) -> Model {
    let number = |value: &Value| value.as_f64().unwrap();
    let classes: Option<Vec<u32>> = serde_json::from_value(run["mask"].clone()).unwrap();
    let among = classes.as_ref().map_or(table.classes(), Vec::len) as u64;
    let batch = count(&run["batch"]);
    let schedule = Schedule {
        base: number(&run["lr"]),
        warmup: run["warmup"].as_u64().unwrap(),
        total: run["total_steps"].as_u64().unwrap(),
    };
    let objective = Objective {
        rule: Update::Sgd { momentum: 0.9 },
        weight_decay: 0.0,
        smoothing: 0.0,
        clip: None,
        classes,
        precision: Precision::F32,
        seed: 0,
    };
    let added = method.additions(&model);
    let mut trainer = Trainer::new(model, method, &objective).unwrap();
    for spec in added.iter().filter(|spec| !spec.name.ends_with("lora_B")) {
        let name = format!("{}{}", table.prefix(), spec.name);
        let values = match spec.name.ends_with("lora_A") {
            true => {
                let scale = 1.0 / (spec.shape[1] as f64).sqrt();
                rule::values(&name, spec.shape.iter().product(), 0.0, scale)
            }
            false => rule::values(&name, spec.shape.iter().product(), 0.0, 1.0),
        };
        let start = Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu).unwrap();
        trainer.replace(&spec.name, &start).unwrap();
    }
    for (index, expected) in run["log"].as_array().unwrap().iter().enumerate() {
        let labels = table.labels(index, batch, among);
        let same: Vec<u32> = serde_json::from_value(expected["labels"].clone()).unwrap();
        assert_eq!(labels, same);
        let images = table.images(&index.to_string(), batch);
        let (report, gradients) = trainer
            .gradients(&BatchInput::Images(images).into(), &labels)
            .unwrap();
        let trained: Vec<&String> = gradients.by_name.keys().collect();
        let mut names: Vec<String> = serde_json::from_value(run["trainable"].clone()).unwrap();
        names.sort();
        assert_eq!(
            trained,
            names.iter().collect::<Vec<_>>(),
            "{name}: what trains"
        );

        let place = format!("{name}, step {index}");
        let rate = schedule.rate(index as u64);
        assert!(
            (rate - number(&expected["lr"])).abs() < 1e-9,
            "{place}: rate"
        );
        let exact = number(&run["loss_f64"][index]);
        assert!(
            (report.loss - exact).abs() < 1e-5,
            "{place}: {} for {exact}",
            report.loss
        );
        assert_eq!(
            report.correct as u64,
            expected["correct"].as_u64().unwrap(),
            "{place}"
        );
        let norm = gradients
            .by_name
            .values()
            .map(|it| squares(&values(it)))
            .sum::<f64>();
        let exact = number(&run["grad_norm_f64"][index]);
        assert!(
            (norm.sqrt() / exact - 1.0).abs() < 1e-5,
            "{place}: {} for {exact}",
            norm.sqrt()
        );
        trainer.apply(gradients, rate).unwrap();
    }
    let parameters: BTreeMap<String, Tensor> = (run["final"].as_object().unwrap().keys())
        .filter_map(|name| Some((name.clone(), trainer.parameter(name)?.clone())))
        .collect();
    let trained = trainer.finish().unwrap();
    for (tensor, expected) in run["final"].as_object().unwrap() {
        // A weight that LoRA changes is frozen in the reference and merged in ours.
        let parameter = parameters.get(tensor);
        if parameter.is_none() && method_changes(tensor, &run["method"]) {
            continue;
        }
        let found = values(parameter.unwrap_or_else(|| &trained.tensors()[tensor]));
        let place = format!("{name}, final {tensor}");
        let length = squares(&found).sqrt();
        let exact = number(&expected["l2"]);
        assert!((length / exact - 1.0).abs() < 1e-5, "{place}: length");
        for (value, exact) in found.iter().zip(expected["first3"].as_array().unwrap()) {
            let difference = (f64::from(*value) - number(exact)).abs();
            assert!(
                difference < 1e-5 * exact_scale(exact),
                "{place}: {value} for {exact}"
            );
        }
    }
    trained
}

fn method_changes(tensor: &str, method: &Value) -> bool {
    method == "lora" && tensor.ends_with("attn.qkv.weight")
}

/// WiSE-FT with equal weights: of the start and of the run that the fixture's numbers are of.
fn compare_soup(table: &Runs, tuned: &BTreeMap<&str, Model>) {
    let expected = table.fixture["soup_pre_ft"].as_object().unwrap();
    let start = table.start(false);
    let first = |value: &Value| value["first3"][0].as_f64().unwrap();
    let is_of = |run: &Value| {
        run["method"] == "FT"
            && expected.iter().all(|(tensor, soup)| {
                let Some(before) = start.tensors().get(tensor) else {
                    return false;
                };
                let half = 0.5 * (f64::from(values(before)[0]) + first(&run["final"][tensor]));
                (half - first(soup)).abs() < 1e-6
            })
    };
    let mut runs = table.runs().filter(|(_, run)| is_of(run));
    let (name, _) = runs.next().expect("the run of the soup");
    let soup = average(&[start.clone(), tuned[name.as_str()].clone()], &[0.5, 0.5]).unwrap();
    for (tensor, expected) in expected {
        let found = values(&soup.tensors()[tensor]);
        let sum: f64 = found.iter().map(|value| f64::from(*value)).sum();
        let exact = expected["sum"].as_f64().unwrap();
        assert!(
            (sum - exact).abs() < 1e-3,
            "soup {tensor}: {sum} for {exact}"
        );
        for (value, exact) in found.iter().zip(expected["first3"].as_array().unwrap()) {
            let difference = (f64::from(*value) - exact.as_f64().unwrap()).abs();
            assert!(difference < 1e-5, "soup {tensor}: {value} for {exact}");
        }
    }
    if let Some(expected) = outputs(".logits").get("Soup-PRE-FT") {
        let error = logit_error(table, &soup, expected);
        assert!(error < 2e-5, "soup: logits differ by {error:e}");
    }
}

fn exact_scale(exact: &Value) -> f64 {
    1.0 + exact.as_f64().unwrap().abs()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn squares(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value).powi(2)).sum()
}

/// The losses of a run under another mask than its own are no rounding of its losses.
#[test]
fn planted_masks_are_caught() {
    let table = Runs::read(&fixtures::copies());
    let steps = ["FT", "HeadOnly", "lora", "lwf", "ewc"];
    let mut masked = table.runs().filter(|(_, run)| {
        let method = run["method"].as_str().unwrap();
        !run["mask"].is_null() && steps.contains(&method)
    });
    let (name, run) = masked.next().expect("a masked run");
    let right: Vec<u32> = serde_json::from_value(run["mask"].clone()).unwrap();
    let other = (0..table.classes() as u32).find(|class| !right.contains(class));
    let other = other.expect("a class beside the mask");
    let swapped = right
        .iter()
        .map(|class| if *class == right[0] { other } else { *class });
    let mut swapped: Vec<u32> = swapped.collect();
    swapped.sort_unstable();
    let mut wider = [right.clone(), vec![other]].concat();
    wider.sort_unstable();
    let loss = |classes: Option<Vec<u32>>| {
        let objective = Objective {
            rule: Update::Sgd { momentum: 0.9 },
            weight_decay: 0.0,
            smoothing: 0.0,
            clip: None,
            classes,
            precision: Precision::F32,
            seed: 0,
        };
        let method = Plain { part: Part::All };
        let start = table.start(run["clip_style"] == true);
        let trainer = Trainer::new(start, &method, &objective).unwrap();
        let batch = count(&run["batch"]);
        let labels = table.labels(0, batch, right.len() as u64);
        let batch = BatchInput::Images(table.images("0", batch)).into();
        trainer.gradients(&batch, &labels).unwrap().0.loss
    };
    let expected = run["loss_f64"][0].as_f64().unwrap();
    assert!(
        (loss(Some(right.clone())) - expected).abs() < 1e-5,
        "{name}"
    );
    for wrong in [None, Some(swapped), Some(wider)] {
        let gap = (loss(wrong.clone()) - expected).abs();
        assert!(gap > 1e-3, "{name}: {wrong:?} moves the loss by {gap:e}");
    }
}
