//! Ten steps of fine-tuning a tiny ViT, against PyTorch with timm: forward pass, gradient, SGD
//! and schedule at once.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ribflow::ml::data::resize::Filter;
use ribflow::ml::models::average::average;
use ribflow::ml::models::config::Input;
use ribflow::ml::models::{Config, Model, Network, Vit, VitStart};
use ribflow::ml::train::method::{Part, Plain};
use ribflow::ml::train::optimiser::Rule as Update;
use ribflow::ml::train::schedule::Schedule;
use ribflow::ml::train::trainer::{Batch, Objective, Trainer};
use serde_json::Value;

use crate::{fixtures, rule};

/// Methods whose runs are compared once they exist.
const TO_COME: &[&str] = &["lora", "Prompter", "lwf", "ewc"];

#[test]
fn parity_tiny_vit_runs() {
    let path = fixtures::folder().join("parity/methods/tiny_vit_runs.json");
    if !path.exists() && fixtures::folder() != fixtures::copies() {
        eprintln!("{}: not there, nothing compared", path.display());
        return;
    }
    let fixture: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    for (name, expected) in fixture["state_dict"].as_object().unwrap() {
        let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
        let bits = rule::bitsum(&rule::tensor(&format!("tiny.{name}"), &shape));
        assert_eq!(bits, expected["bitsum"].as_u64().unwrap(), "{name}: bits");
    }
    let runs = fixture["runs"].as_object().unwrap();
    let mut compared = 0;
    for (name, run) in runs {
        let method = run["method"].as_str().unwrap();
        let start = start(run["clip_style"] == true);
        match method {
            "FT" => {
                let tuned = follow(name, run, start.clone(), Part::All);
                if name == "FT_masked" {
                    compare_soup(&[start, tuned], &fixture["soup_pre_ft"]);
                }
            }
            "HeadOnly" => drop(follow(name, run, start, Part::Released)),
            "LPFT" => {
                let before = &runs[&name.replace("LPFT", "HeadOnly")];
                let probed = follow(name, before, start, Part::Released);
                follow(name, run, probed, Part::All);
            }
            other => {
                assert!(TO_COME.contains(&other), "{name}: unknown method {other}");
                continue;
            }
        }
        compared += 1;
    }
    assert!(compared > 0);
}

fn start(clip_style: bool) -> Model {
    let config = Config {
        arch: "tiny".to_string(),
        classes: (0..10).map(|class| class.to_string()).collect(),
        embedding: None,
        headless: false,
        input: Input {
            size: 32,
            mean: [0.5; 3],
            std: [0.5; 3],
            interpolation: Filter::Bicubic,
            crop: 1.0,
        },
        network: Network::Vit(Vit {
            patch: 4,
            width: 96,
            depth: 4,
            heads: 3,
            hidden: 384,
            norm_eps: if clip_style { 1e-5 } else { 1e-6 },
            norm_pre: clip_style,
            patch_bias: !clip_style,
            qkv_bias: true,
            quick_gelu: false,
            start: VitStart::Normal,
        }),
    };
    let tensors: BTreeMap<String, Tensor> = config
        .tensors()
        .into_iter()
        .map(|spec| {
            let values = rule::tensor(&format!("tiny.{}", spec.name), &spec.shape);
            let tensor = Tensor::from_vec(values, spec.shape, &Device::Cpu).unwrap();
            (spec.name, tensor)
        })
        .collect();
    Model::from_tensors(config, tensors).unwrap()
}

/// Runs the steps of `run` and compares each; returns the trained model.
fn follow(name: &str, run: &Value, model: Model, part: Part) -> Model {
    let number = |value: &Value| value.as_f64().unwrap();
    let classes: Option<Vec<u32>> = serde_json::from_value(run["mask"].clone()).unwrap();
    let count = classes.as_ref().map_or(10, Vec::len) as u64;
    let schedule = Schedule {
        base: number(&run["lr"]),
        warmup: run["warmup"].as_u64().unwrap(),
        total: run["total_steps"].as_u64().unwrap(),
    };
    let objective = Objective {
        rule: Update::Sgd { momentum: 0.9 },
        weight_decay: 0.0,
        smoothing: 0.0,
        classes,
        seed: 0,
    };
    let method = Plain { part };
    let mut trainer = Trainer::new(model, &method, &objective).unwrap();
    for (index, expected) in run["log"].as_array().unwrap().iter().enumerate() {
        let labels = rule::labels(&format!("tiny.y.{index}"), 8, count);
        let same: Vec<u32> = serde_json::from_value(expected["labels"].clone()).unwrap();
        assert_eq!(labels, same);
        let pixels = rule::values(&format!("tiny.x.{index}"), 8 * 3 * 32 * 32, 0.0, 1.0);
        let images = Tensor::from_vec(pixels, (8, 3, 32, 32), &Device::Cpu).unwrap();
        let (report, gradients) = trainer.gradients(&Batch::Images(images), &labels).unwrap();
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
    let trained = trainer.finish().unwrap();
    for (tensor, expected) in run["final"].as_object().unwrap() {
        let found = values(&trained.tensors()[tensor]);
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

/// WiSE-FT with equal weights.
fn compare_soup(models: &[Model], expected: &Value) {
    let soup = average(models, &[0.5, 0.5]).unwrap();
    for (tensor, expected) in expected.as_object().unwrap() {
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
