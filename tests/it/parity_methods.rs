//! Ten steps of fine-tuning a tiny ViT, against PyTorch with timm: forward pass, gradient, SGD
//! and schedule at once.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ribflow::ml::data::resize::Filter;
use ribflow::ml::models::average::average;
use ribflow::ml::models::config::Input;
use ribflow::ml::models::{Config, Model, Network, Vit, VitStart};
use ribflow::ml::ops::{self, Activation, Precision, Tape, Targets};
use ribflow::ml::train::method::{Anchored, Lora, Lwf, Method, Part, Plain, Prompt};
use ribflow::ml::train::optimiser::Rule as Update;
use ribflow::ml::train::schedule::Schedule;
use ribflow::ml::train::trainer::{BatchInput, Objective, Trainer};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::{fixtures, rule};

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
        let plain = |part: Part| -> Box<dyn Method> { Box::new(Plain { part }) };
        let tuned = match method {
            "FT" => follow(name, run, start.clone(), &*plain(Part::All)),
            "HeadOnly" => follow(name, run, start.clone(), &*plain(Part::Released)),
            "LPFT" => {
                let before = &runs[&name.replace("LPFT", "HeadOnly")];
                let probed = follow(name, before, start.clone(), &*plain(Part::Released));
                follow(name, run, probed, &*plain(Part::All))
            }
            "lora" => {
                let method = Lora::new(&start, 8, 1.0).unwrap();
                follow(name, run, start.clone(), &method)
            }
            "Prompter" => {
                let method = Prompt::new(&start, 4).unwrap();
                follow(name, run, start.clone(), &method)
            }
            "lwf" => {
                let method = Lwf {
                    teacher: start.clone(),
                    strength: 1.0,
                    temperature: 2.0,
                };
                follow(name, run, start.clone(), &method)
            }
            "ewc" => {
                let method = Anchored::new(&start, None, 1.0);
                follow(name, run, start.clone(), &method)
            }
            other => panic!("{name}: unknown method {other}"),
        };
        compare_logits(name, &tuned);
        if name == "FT_masked" {
            compare_soup(&[start, tuned], &fixture["soup_pre_ft"]);
        }
        compared += 1;
    }
    assert!(compared > 0);
}

/// What the trained model says of the test images, its change merged in.
fn compare_logits(name: &str, tuned: &Model) {
    let folder = fixtures::folder().join("parity/methods");
    let Ok(bytes) = std::fs::read(folder.join("methods.safetensors")) else {
        return;
    };
    let key = match name {
        "FT_10steps" => "FT_nomask",
        name => name.trim_end_matches("_masked"),
    };
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let Ok(expected) = tensors.tensor(&format!("{key}.final_logits")) else {
        return;
    };
    let (chunks, _) = expected.data().as_chunks::<4>();
    let expected = chunks.iter().map(|it| f32::from_le_bytes(*it));
    let pixels = rule::values("tiny.x.test", 4 * 3 * 32 * 32, 0.0, 1.0);
    let images = Tensor::from_vec(pixels, (4, 3, 32, 32), &Device::Cpu).unwrap();
    let found = values(&tuned.logits(&images).unwrap());
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(error < 2e-5, "{name}: logit {found} for {expected}");
    }
}

fn start(clip_style: bool) -> Model {
    let config = Config {
        arch: "tiny".to_string(),
        classes: (0..10).map(|class| class.to_string()).collect(),
        embedding: None,
        headless: false,
        prompt: None,
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
fn follow(name: &str, run: &Value, model: Model, method: &dyn Method) -> Model {
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
        clip: None,
        classes,
        precision: Precision::F32,
        seed: 0,
    };
    let added = method.additions(&model);
    let mut trainer = Trainer::new(model, method, &objective).unwrap();
    for spec in added.iter().filter(|spec| !spec.name.ends_with("lora_B")) {
        let name = format!("tiny.{}", spec.name);
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
        let labels = rule::labels(&format!("tiny.y.{index}"), 8, count);
        let same: Vec<u32> = serde_json::from_value(expected["labels"].clone()).unwrap();
        assert_eq!(labels, same);
        let pixels = rule::values(&format!("tiny.x.{index}"), 8 * 3 * 32 * 32, 0.0, 1.0);
        let images = Tensor::from_vec(pixels, (8, 3, 32, 32), &Device::Cpu).unwrap();
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

/// The pieces of the methods on their own.
#[test]
fn parity_methods_pieces() {
    let folder = fixtures::folder().join("parity/methods");
    if !folder.join("methods.json").exists() && fixtures::folder() != fixtures::copies() {
        eprintln!("{}: not there, nothing compared", folder.display());
        return;
    }
    let bytes = std::fs::read(folder.join("methods.json")).unwrap();
    let fixture: Value = serde_json::from_slice(&bytes).unwrap();
    let bytes = std::fs::read(folder.join("methods.safetensors")).unwrap();
    let arrays = SafeTensors::deserialize(&bytes).unwrap();
    let array = |name: &str| -> Vec<f32> {
        let view = arrays.tensor(name).unwrap();
        let (chunks, _) = view.data().as_chunks::<4>();
        chunks.iter().map(|it| f32::from_le_bytes(*it)).collect()
    };
    let tensor = |name: &str, shape: &[usize], scale: f64| {
        let values = rule::values(name, shape.iter().product(), 0.0, scale);
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let near = |place: &str, found: &[f32], expected: &[f32]| {
        let gap: Vec<f32> = found.iter().zip(expected).map(|(a, b)| a - b).collect();
        let error = (squares(&gap) / squares(expected)).sqrt();
        assert!(
            found.len() == expected.len() && error < 1e-5,
            "{place}: {error:e}"
        );
    };

    let classes = fixtures::imagenet_r();
    let tape = Tape::new();
    let student = tape.leaf(tensor("m.student", &[4, 200], 5.0));
    let teacher = tensor("m.teacher_full", &[4, 1000], 5.0);
    let index = Tensor::new(classes.as_slice(), &Device::Cpu).unwrap();
    let teacher = teacher.index_select(&index, 1).unwrap();
    let loss = tape.distillation(&student, &teacher, 2.0).unwrap();
    let expected = fixture["lwf"]["value"].as_f64().unwrap();
    let found = f64::from(loss.tensor().to_scalar::<f32>().unwrap());
    assert!(
        (found / expected - 1.0).abs() < 1e-5,
        "LwF: {found} for {expected}"
    );

    let labels: Vec<u32> = serde_json::from_value(fixture["lwf"]["labels"].clone()).unwrap();
    let targets = Targets {
        labels: &labels,
        smoothing: 0.0,
    };
    let entropy = tape.cross_entropy(&student, targets).unwrap();
    let total = tape.add(&entropy, &loss).unwrap();
    let found = f64::from(total.tensor().to_scalar::<f32>().unwrap());
    let expected = fixture["lwf"]["total"].as_f64().unwrap();
    assert!(
        (found / expected - 1.0).abs() < 1e-5,
        "LwF: {found} for {expected}"
    );
    let gradient = tape.backward(&loss).unwrap().take(&student).unwrap();
    near(
        "LwF's gradient",
        &values(&gradient),
        &array("lwf.grad_student"),
    );

    let weight = rule::tensor("m.lora.weight", &[72, 24]);
    let weight = Tensor::from_vec(weight, (72, 24), &Device::Cpu).unwrap();
    let tape = Tape::new();
    let leaf = |name: &str, shape: &[usize]| {
        let values = rule::tensor(name, shape);
        tape.leaf(Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    let (a, b) = (
        leaf("m.lora.lora_A", &[16, 24]),
        leaf("m.lora.lora_B", &[48, 8]),
    );
    let changed = tape.low_rank(&weight, &a, &b, 0.125).unwrap();
    let change = values(&(changed.tensor() - &weight).unwrap());
    let error = change
        .iter()
        .zip(array("lora.delta_w"))
        .map(|(a, b)| (a - b).abs());
    assert!(error.fold(0.0, f32::max) < 1e-6, "LoRA's change");
    let bias = rule::tensor("m.lora.bias", &[72]);
    let bias = ops::Value::constant(Tensor::from_vec(bias, 72, &Device::Cpu).unwrap());
    let x = ops::Value::constant(tensor("m.lora.x", &[3, 24], 1.0));
    let output = tape
        .linear(&x, &changed, Some(&bias), Activation::None)
        .unwrap();
    near(
        "LoRA's output",
        &values(output.tensor()),
        &array("lora.out"),
    );
    let seed = (output.tensor() * 2.0).unwrap();
    let mut gradients = tape.backward_from(&output, seed).unwrap();
    let (a, b) = (gradients.take(&a).unwrap(), gradients.take(&b).unwrap());
    near("LoRA's gradient of A", &values(&a), &array("lora.grad_A"));
    near("LoRA's gradient of B", &values(&b), &array("lora.grad_B"));

    for (name, steps) in fixture["lr"].as_object().unwrap() {
        let numbers: Vec<f64> = name.split(',').map(|it| it.parse().unwrap()).collect();
        let schedule = Schedule {
            base: numbers[0],
            warmup: numbers[1] as u64,
            total: numbers[2] as u64,
        };
        for (step, expected) in steps.as_object().unwrap() {
            let found = schedule.rate(step.parse().unwrap());
            let expected = expected.as_f64().unwrap();
            assert!(
                (found - expected).abs() < 1e-9,
                "rate of step {step} of {name}"
            );
        }
    }
    let shapes = &fixture["prompter"]["shapes"];
    for spec in ribflow::ml::models::prompt::tensors(30, 224) {
        let expected = &shapes[spec.name.trim_start_matches("prompter.")];
        assert_eq!(serde_json::json!(spec.shape), *expected, "{}", spec.name);
    }
}

/// The losses of a run under another mask than its own are no rounding of its losses.
#[test]
fn planted_masks_are_caught() {
    let path = fixtures::copies().join("parity/methods/tiny_vit_runs.json");
    let fixture: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let runs = fixture["runs"].as_object().unwrap();
    let masked = runs.iter().filter(|(_, run)| !run["mask"].is_null());
    let (name, run) = masked.into_iter().next().expect("a masked run");
    let right: Vec<u32> = serde_json::from_value(run["mask"].clone()).unwrap();
    let other = (0..10).find(|class| !right.contains(class)).unwrap();
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
        let trainer = Trainer::new(start(false), &method, &objective).unwrap();
        let labels = rule::labels("tiny.y.0", 8, right.len() as u64);
        let pixels = rule::values("tiny.x.0", 8 * 3 * 32 * 32, 0.0, 1.0);
        let images = Tensor::from_vec(pixels, (8, 3, 32, 32), &Device::Cpu).unwrap();
        let batch = BatchInput::Images(images).into();
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
