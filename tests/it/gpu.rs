//! On a GPU: `cargo test --release --features cuda gpu_`. Where there is none, each test says that
//! it was skipped; continuous integration has none.
#![cfg(feature = "cuda")]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use ribflow::ml::models::{Config, Model};
use ribflow::ml::ops::Precision;
use ribflow::ml::train::method::{Part, Plain};
use ribflow::ml::train::optimiser::Rule;
use ribflow::ml::train::trainer::{BatchInput, Objective, Trainer};
use ribflow::rng::Stream;
use serde_json::Value;

use crate::space::TestSpace;

/// Of f32 on both sides, relative L2: sums in another order.
const FLOAT: f64 = 1e-4;
/// Of bf16 beside f32.
const HALF: f64 = 0.05;

fn gpu(test: &str) -> Option<Device> {
    match Device::new_cuda(0) {
        Ok(device) => Some(device),
        Err(error) => {
            println!("skipped: {test}: no GPU can be used ({error})");
            None
        }
    }
}

static EVERYTHING: Plain = Plain { part: Part::All };
const CLASSES: usize = 10;
const BATCH: usize = 16;

fn trained(name: &str, precision: Precision, device: &Device) -> (f64, BTreeMap<String, Vec<f32>>) {
    let classes: Vec<String> = (0..CLASSES).map(|class| class.to_string()).collect();
    let config = Config::named(name, &classes).unwrap();
    let size = config.input.size;
    let model = Model::new(config, 1, device).unwrap();
    let mut stream = Stream::new(2, "images");
    let count = BATCH * 3 * size * size;
    let values: Vec<f32> = (0..count).map(|_| stream.normal() as f32).collect();
    let images = Tensor::from_vec(values, (BATCH, 3, size, size), device).unwrap();
    let labels: Vec<u32> = (0..BATCH as u32).map(|at| at % CLASSES as u32).collect();
    let objective = Objective {
        rule: Rule::ADAMW,
        weight_decay: 0.05,
        smoothing: 0.1,
        clip: None,
        classes: None,
        precision,
        seed: 3,
    };
    let mut trainer = Trainer::new(model, &EVERYTHING, &objective).unwrap();
    let batch = BatchInput::Images(images).into();
    let (_, gradients) = trainer.gradients(&batch, &labels).unwrap();
    let mut found: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for (name, gradient) in &gradients.by_name {
        let values = gradient.flatten_all().unwrap().to_vec1().unwrap();
        found.insert(format!("gradient of {name}"), values);
    }
    let mut loss = 0.0;
    for _ in 0..3 {
        loss = trainer.step(&batch, &labels, 1e-3).unwrap().loss;
    }
    for (name, tensor) in trainer.finish().unwrap().tensors() {
        if tensor.dtype() == candle_core::DType::F32 {
            found.insert(
                name.clone(),
                tensor.flatten_all().unwrap().to_vec1().unwrap(),
            );
        }
    }
    (loss, found)
}

fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let length =
        |values: &mut dyn Iterator<Item = f64>| values.map(|it| it * it).sum::<f64>().sqrt();
    let pairs = found.iter().zip(expected);
    let gap = length(&mut pairs.map(|(a, b)| f64::from(a - b)));
    gap / length(&mut expected.iter().map(|it| f64::from(*it))).max(1e-6)
}

#[test]
fn gpu_training_is_that_of_the_cpu() {
    let Some(device) = gpu("gpu_training_is_that_of_the_cpu") else {
        return;
    };
    for name in ["vit_mini", "resnet_mini"] {
        let (loss, expected) = trained(name, Precision::F32, &Device::Cpu);
        for (precision, most) in [(Precision::F32, FLOAT), (Precision::Bf16, HALF)] {
            let (found_loss, found) = trained(name, precision, &device);
            assert!(
                (found_loss / loss - 1.0).abs() < most,
                "{name}: {found_loss}, not {loss}"
            );
            // Every parameter has a gradient.
            assert!(found.keys().eq(expected.keys()), "{name}");
            for (tensor, expected) in &expected {
                // Adam divides by what may be next to nothing: only gradients are compared tightly.
                let most = if tensor.starts_with("gradient") {
                    most
                } else {
                    10.0 * most
                };
                let error = difference(&found[tensor], expected);
                assert!(error < most, "{name} {precision:?} {tensor}: {error:e}");
            }
        }
    }
}

#[test]
fn gpu_training_repeats_bit_for_bit() {
    let Some(device) = gpu("gpu_training_repeats_bit_for_bit") else {
        return;
    };
    for name in ["vit_mini", "resnet_mini"] {
        for precision in [Precision::F32, Precision::Bf16] {
            let bits = || {
                let (loss, tensors) = trained(name, precision, &device);
                let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
                let tensors = tensors.into_iter().map(|(name, it)| (name, bits(it)));
                (loss.to_bits(), tensors.collect::<BTreeMap<_, Vec<u32>>>())
            };
            assert!(bits() == bits(), "{name} {precision:?}");
        }
    }
}

/// Accuracies by node, in percent.
fn accuracies(device: &str) -> BTreeMap<String, f64> {
    let space = TestSpace::new();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let workflow = root.join("workflows/mini-rib.yaml");
    space.write("mini-rib.yaml", std::fs::read(workflow).unwrap());
    let mut command = space.command(&[
        "run",
        "mini-rib.yaml",
        "--profile",
        "tiny",
        "--quiet",
        "--device",
        device,
    ]);
    // Where the libraries of CUDA lie.
    for name in ["CUDA_LIB_DIRS", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    space.finish(&mut command).ok();
    let results: Value =
        serde_json::from_str(&space.read("out/mini-rib-tiny/results.json")).unwrap();
    let mut found = BTreeMap::new();
    for node in results["nodes"].as_array().unwrap() {
        if let Some(value) = node["metrics"]["accuracy"]["value"].as_f64() {
            found.insert(node["id"].to_string(), value);
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn gpu_mini_rib_is_that_of_the_cpu() {
    if gpu("gpu_mini_rib_is_that_of_the_cpu").is_none() {
        return;
    }
    let (cpu, gpu) = (accuracies("cpu"), accuracies("cuda"));
    assert!(cpu.keys().eq(gpu.keys()));
    let gaps = cpu.iter().map(|(node, value)| (value - gpu[node]).abs());
    let mean = gaps.clone().sum::<f64>() / cpu.len() as f64;
    // A few images of some hundred may fall on the other side.
    assert!(mean < 1.0, "accuracies are {mean} points apart on average");
    assert_eq!(gpu, accuracies("cuda"), "a second run gives other numbers");
}

#[test]
fn gpu_memory_comes_back() {
    let Some(device) = gpu("gpu_memory_comes_back") else {
        return;
    };
    let free = || {
        device.synchronize().unwrap();
        let Device::Cuda(cuda) = &device else {
            unreachable!()
        };
        cuda.cuda_stream().context().mem_get_info().unwrap().0
    };
    let once = || trained("vit_mini", Precision::Bf16, &device);
    once();
    let before = free();
    (0..5).for_each(|_| drop(once()));
    // The pool of the driver may keep what one run had.
    assert!(before.abs_diff(free()) < 64 << 20);
}

#[test]
fn gpu_too_little_memory_is_reported() {
    let Some(device) = gpu("gpu_too_little_memory_is_reported") else {
        return;
    };
    let error = Tensor::zeros((1 << 20, 1 << 20), candle_core::DType::F32, &device).unwrap_err();
    let told = ribflow::ml::Error::from(error).to_string();
    assert!(told.contains("too little memory"), "{told}");
}
