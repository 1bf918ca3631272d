//! Tests of training: properties of every architecture and method.

mod methods;

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::augment::Augment;
use super::batch::Normaliser;
use super::evaluate::evaluate;
use super::fisher::diagonal;
use super::fit::{Fitted, Plan, fit};
use super::infer::features_of;
use super::method::{Anchored, Lora, Lwf, Method, MethodOptions, Part, Plain, Prompt, Start};
use super::optimiser::Rule;
use super::schedule::Warmup;
use super::trainer::{Batch, BatchInput, Objective, Trainer};
use crate::data::{ImagePart, ImageSet, in_memory};
use crate::declaration::Declared;
use crate::models::{Config, Model, Role};
use crate::ops::Precision;
use crate::rng::Stream;
use crate::{Error, Unobserved};

const SMALL: [&str; 2] = ["vit_mini", "resnet_mini"];

/// Noise with a bright band whose height is the class.
fn images(count: usize) -> ImageSet<'static> {
    let classes = 4;
    let mut stream = Stream::new(0, "images");
    let mut pixels = Vec::new();
    for image in 0..count {
        for line in 0..32 {
            let bright = line / 8 == image % classes;
            pixels.extend((0..96).map(|_| stream.below(100) as u8 + if bright { 100 } else { 0 }));
        }
    }
    ImageSet {
        pixels: in_memory(pixels, 32, 32),
        height: 32,
        width: 32,
        labels: (0..count).map(|image| (image % classes) as u32).collect(),
        classes: names(classes),
        parts: vec![ImagePart {
            name: String::new(),
            range: 0..count,
        }],
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|class| format!("class {class}")).collect()
}

fn model(arch: &str, classes: usize) -> Model {
    let config = Config::named(arch, &names(classes)).unwrap();
    Model::new(config, 3, &Device::Cpu).unwrap()
}

fn plan() -> Plan {
    Plan {
        epochs: 2,
        batch: 8,
        rate: 0.05,
        warmup: Warmup::Share(0.2),
        rule: Rule::Sgd { momentum: 0.9 },
        weight_decay: 0.0,
        smoothing: 0.1,
        clip: None,
        augment: Augment::default(),
        frozen_backbone: false,
        precision: Precision::F32,
        seed: 5,
    }
}

fn train(model: &Model, plan: &Plan, part: Part, threads: usize) -> Fitted {
    let set = images(20);
    fit(
        model.clone(),
        &set,
        &Plain { part },
        plan,
        threads,
        &Unobserved,
    )
    .unwrap()
}

fn bits(model: &Model) -> BTreeMap<String, Vec<u64>> {
    let of = |tensor: &Tensor| -> Vec<u64> {
        let flat = tensor.flatten_all().unwrap();
        match flat.dtype() {
            DType::I64 => flat
                .to_vec1::<i64>()
                .unwrap()
                .iter()
                .map(|it| *it as u64)
                .collect(),
            _ => {
                let values = flat.to_vec1::<f32>().unwrap();
                values.iter().map(|it| u64::from(it.to_bits())).collect()
            }
        }
    };
    let tensors = model.tensors().iter();
    tensors
        .map(|(name, tensor)| (name.clone(), of(tensor)))
        .collect()
}

/// The parameters of `model`, without its buffers.
fn weights(model: &Model) -> BTreeMap<String, Vec<u64>> {
    let specs = model.config().tensors();
    let mut bits = bits(model);
    bits.retain(|name, _| {
        let is = |role: Role| specs.iter().any(|it| it.name == *name && it.role == role);
        is(Role::Parameter)
    });
    bits
}

/// The first step of SGD with clipped gradients has their norm.
#[test]
fn clipped_gradients_move_a_model_so_far() {
    let clip = 0.01;
    let objective = Objective {
        rule: Rule::Sgd { momentum: 0.9 },
        weight_decay: 0.0,
        smoothing: 0.0,
        clip: Some(clip),
        classes: None,
        precision: Precision::F32,
        seed: 0,
    };
    let method = Plain { part: Part::All };
    let start = model("vit_mini", 4);
    let set = images(8);
    let normaliser = Normaliser::new(&start.config().input, &Device::Cpu);
    let batch = normaliser.batch(&set, &[0, 1, 2, 3]).unwrap();
    let mut trainer = Trainer::new(start.clone(), &method, &objective).unwrap();
    trainer
        .step(&BatchInput::Images(batch).into(), &[0, 1, 2, 3], 0.5)
        .unwrap();
    let moved = trainer.finish().unwrap();
    let squares = moved.tensors().iter().map(|(name, tensor)| {
        let gap = (tensor - &start.tensors()[name]).unwrap();
        let gap = gap.to_dtype(DType::F64).unwrap().sqr().unwrap();
        gap.sum_all().unwrap().to_scalar::<f64>().unwrap()
    });
    let length = squares.sum::<f64>().sqrt();
    assert!((length / (0.5 * clip) - 1.0).abs() < 1e-3, "{length}");
}

#[test]
fn every_parameter_gets_a_gradient() {
    for arch in SMALL {
        let model = model(arch, 4);
        let objective = Objective {
            rule: Rule::ADAMW,
            weight_decay: 0.0,
            smoothing: 0.0,
            clip: None,
            classes: None,
            precision: Precision::F32,
            seed: 0,
        };
        let method = Plain { part: Part::All };
        let trainer = Trainer::new(model.clone(), &method, &objective).unwrap();
        let mut stream = Stream::new(0, "pixels");
        let pixels: Vec<f32> = (0..2 * 3 * 32 * 32)
            .map(|_| stream.normal() as f32)
            .collect();
        let batch = Tensor::from_vec(pixels, (2, 3, 32, 32), &Device::Cpu).unwrap();
        let (_, gradients) = trainer
            .gradients(&BatchInput::Images(batch).into(), &[1, 3])
            .unwrap();
        for spec in model.config().tensors() {
            if spec.role == Role::Parameter {
                let gradient = &gradients.by_name[&spec.name];
                assert_eq!(gradient.dims(), spec.shape, "{arch}: {}", spec.name);
                let values = gradient.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                assert!(
                    values.iter().any(|value| *value != 0.0),
                    "{arch}: {}",
                    spec.name
                );
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    for arch in SMALL {
        let start = model(arch, 4);
        let one = train(&start, &plan(), Part::All, 1);
        for threads in [2, 3] {
            let more = train(&start, &plan(), Part::All, threads);
            assert_eq!(
                bits(&one.model),
                bits(&more.model),
                "{arch}, {threads} threads"
            );
            assert_eq!(one.epochs, more.epochs);
        }
    }
}

#[test]
fn training_learns() {
    let set = images(120);
    let method = Plain { part: Part::All };
    for (arch, rate) in [("vit_mini", 0.002), ("resnet_mini", 0.01)] {
        let plan = Plan {
            epochs: 12,
            rate,
            rule: Rule::ADAMW,
            smoothing: 0.0,
            ..plan()
        };
        let fitted = fit(model(arch, 4), &set, &method, &plan, 2, &Unobserved).unwrap();
        assert_eq!((fitted.epochs.len(), fitted.steps), (12, 180));
        let score = evaluate(&fitted.model, &images(120), true, 2, &Unobserved).unwrap();
        assert!(
            score.parts[0].top1 > 100,
            "{arch}: {} of 120",
            score.parts[0].top1
        );
    }
}

#[test]
fn the_seed_decides() {
    let plan = Plan {
        augment: Augment {
            flip: true,
            shift: 1,
        },
        ..plan()
    };
    let start = model("vit_mini", 4);
    let first = train(&start, &plan, Part::All, 2);
    assert_eq!(
        bits(&first.model),
        bits(&train(&start, &plan, Part::All, 2).model)
    );
    let other = train(&start, &Plan { seed: 6, ..plan }, Part::All, 2);
    assert_ne!(bits(&first.model), bits(&other.model));
}

#[test]
fn a_rate_of_nothing_moves_no_weight() {
    for rule in [Rule::ADAMW, Rule::Sgd { momentum: 0.9 }] {
        for arch in SMALL {
            let start = model(arch, 4);
            let plan = Plan {
                rate: 0.0,
                rule,
                weight_decay: 0.1,
                ..plan()
            };
            let end = train(&start, &plan, Part::All, 1);
            assert_eq!(weights(&start), weights(&end.model), "{arch}, {rule:?}");
        }
    }
}

#[test]
fn parts_train_alone() {
    let frozen = Plan {
        frozen_backbone: true,
        ..plan()
    };
    for arch in SMALL {
        let start = model(arch, 4);
        for (part, plan) in [(Part::Head, &frozen), (Part::Released, &plan())] {
            let end = train(&start, plan, part, 1);
            let (before, after) = (bits(&start), bits(&end.model));
            for spec in start.config().tensors() {
                let moves = match part {
                    Part::Released => spec.head || spec.outside_blocks || spec.role == Role::Buffer,
                    _ => spec.head,
                };
                let moved = before[&spec.name] != after[&spec.name];
                assert_eq!(moves, moved, "{arch}, {part:?}: {}", spec.name);
            }
        }
    }
}

#[test]
fn features_once_are_what_each_step_would_compute() {
    let start = model("vit_mini", 4);
    let frozen = Plan {
        frozen_backbone: true,
        ..plan()
    };
    let once = train(&start, &frozen, Part::Head, 1);
    let each = train(&start, &plan(), Part::Head, 1);
    for (once, each) in once.epochs.iter().zip(&each.epochs) {
        assert!((once.loss - each.loss).abs() < 1e-5);
    }
}

#[test]
fn divergence_is_reported() {
    let plan = Plan {
        rate: 1e30,
        epochs: 4,
        ..plan()
    };
    let set = images(20);
    let method = Plain { part: Part::All };
    let result = fit(model("vit_mini", 4), &set, &method, &plan, 1, &Unobserved);
    let Err(Error::Numerical(message)) = result else {
        panic!("a rate of 1e30 went unnoticed");
    };
    assert!(message.contains("learning rate"), "{message}");
}

#[test]
fn a_dataset_of_fewer_classes_is_masked() {
    let start = model("vit_mini", 7);
    let end = train(&start, &plan(), Part::All, 1);
    let bias = |model: &Model| model.tensors()["head.bias"].to_vec1::<f32>().unwrap();
    let (before, after) = (bias(&start), bias(&end.model));
    for class in 0..7 {
        assert_eq!(class < 4, before[class] != after[class], "class {class}");
    }
    let set = images(40);
    let masked = evaluate(&end.model, &set, true, 1, &Unobserved).unwrap();
    assert_eq!(masked.confusion.iter().sum::<u64>(), 40);
    let mut foreign = images(4);
    foreign.classes[2] = "unknown".to_string();
    let error = evaluate(&end.model, &foreign, true, 1, &Unobserved).unwrap_err();
    assert!(error.to_string().contains("`unknown`"), "{error}");
}

#[test]
fn features_and_logits_agree() {
    for arch in SMALL {
        let model = model(arch, 4);
        let set = images(70);
        let found = features_of(&model, &set, 0..70, 1, &Unobserved).unwrap();
        let width = model.config().features();
        assert_eq!(found.len(), 70 * width);
        let features = Tensor::from_vec(found, (70, width), &Device::Cpu).unwrap();
        let head = |last: &str| &model.tensors()[&format!("{}.{last}", model.config().head())];
        let logits = features.matmul(&head("weight").t().unwrap()).unwrap();
        let logits = logits.broadcast_add(head("bias")).unwrap();
        let best: Vec<u32> = logits.argmax(1).unwrap().to_vec1().unwrap();
        let right = best.iter().zip(&set.labels).filter(|(a, b)| a == b).count();
        let score = evaluate(&model, &set, true, 1, &Unobserved).unwrap();
        assert_eq!(score.parts[0].top1, right as u64, "{arch}");
    }
}

#[test]
fn any_class_of_several_is_right() {
    let start = model("vit_mini", 4);
    let set = images(20);
    let lone = evaluate(&start, &set, true, 2, &Unobserved).unwrap();
    // The first two classes are merged.
    let joined = ImageSet {
        classes: vec![
            "class 0+class 1".to_string(),
            "class 2".to_string(),
            "class 3".to_string(),
        ],
        labels: set
            .labels
            .iter()
            .map(|label| label.saturating_sub(1))
            .collect(),
        ..set.clone()
    };
    let found = evaluate(&start, &joined, true, 2, &Unobserved).unwrap();
    let cell = |row: usize, column: usize| lone.confusion[row * 4 + column];
    let right = cell(0, 0) + cell(0, 1) + cell(1, 0) + cell(1, 1) + cell(2, 2) + cell(3, 3);
    assert_eq!(found.parts[0].top1, right);
    assert_eq!(
        found.confusion[0],
        cell(0, 0) + cell(0, 1) + cell(1, 0) + cell(1, 1)
    );
    assert!(found.parts[0].loss < lone.parts[0].loss);
    // The first of them is the target.
    let tuned = fit(
        start,
        &joined,
        &Plain { part: Part::All },
        &plan(),
        2,
        &Unobserved,
    );
    assert!(tuned.unwrap().epochs[1].loss.is_finite());
}
