//! Training in half precision beside PyTorch's autocast on the CPU
//! (tests/reference/precision/make.py).

use std::collections::BTreeMap;
use std::fs;

use candle_core::{Device, Tensor};
use ribflow::ml::models::{Config, Model};
use ribflow::ml::ops::Precision;
use ribflow::ml::train::method::{Part, Plain};
use ribflow::ml::train::optimiser::Rule;
use ribflow::ml::train::trainer::{BatchInput, Objective, Trainer};
use serde_json::Value;

use crate::fixtures;
use crate::rule;

const BATCH: usize = 8;

fn model() -> Model {
    let classes: Vec<String> = (0..10).map(|class| class.to_string()).collect();
    let config = Config::named("vit_mini", &classes).unwrap();
    let tensors: BTreeMap<String, Tensor> = config
        .tensors()
        .into_iter()
        .map(|spec| {
            let values = rule::tensor(&spec.name, &spec.shape);
            let tensor = Tensor::from_vec(values, spec.shape, &Device::Cpu).unwrap();
            (spec.name, tensor)
        })
        .collect();
    Model::from_tensors(config, tensors).unwrap()
}

/// The loss of each step and the norm of its gradient, `None` where it overflowed.
type Steps = Vec<(f64, Option<f64>)>;

fn train(precision: Precision, steps: usize) -> Steps {
    let objective = Objective {
        rule: Rule::Sgd { momentum: 0.9 },
        weight_decay: 0.0,
        smoothing: 0.0,
        clip: None,
        classes: None,
        precision,
        seed: 0,
    };
    let method = Plain { part: Part::All };
    let mut trainer = Trainer::new(model(), &method, &objective).unwrap();
    let step = |index: usize| {
        let pixels = rule::values(&format!("half.x.{index}"), BATCH * 3 * 32 * 32, 0.0, 1.0);
        let images = Tensor::from_vec(pixels, (BATCH, 3, 32, 32), &Device::Cpu).unwrap();
        let labels = rule::labels(&format!("half.y.{index}"), BATCH, 10);
        let batch = BatchInput::Images(images).into();
        let (_, gradients) = trainer.gradients(&batch, &labels).unwrap();
        let squares = |tensor: &Tensor| -> f64 {
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            values.iter().map(|it| f64::from(*it).powi(2)).sum()
        };
        let norm = gradients.by_name.values().map(squares).sum::<f64>().sqrt();
        let before = trainer.skipped();
        let report = trainer.step(&batch, &labels, 0.01).unwrap();
        let skipped = trainer.skipped() > before;
        assert_eq!(skipped, !norm.is_finite());
        (report.loss, norm.is_finite().then_some(norm))
    };
    (0..steps).map(step).collect()
}

/// Rounding to half precision is chaotic: one value that falls on the other side moves all that
/// come after it by as much as rounding itself does, so PyTorch's own two ways of attention are as
/// far apart as either is from f32. Ours must be no farther from them, and from PyTorch rounding by
/// hand where ours rounds; which steps overflow must be the same. (`ops::tests` hold the layers
/// one by one.)
#[test]
fn parity_of_half_precision() {
    let path = fixtures::copies().join("precision/reference.json");
    let reference: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    let told = |name: &str| -> Steps {
        let steps = reference[name].as_array().unwrap().iter();
        let pair = |step: &Value| (step["loss"].as_f64().unwrap(), step["gradient"].as_f64());
        steps.map(pair).collect()
    };
    let exact = told("f32");
    let ours = train(Precision::F32, exact.len());
    for (index, (a, b)) in ours.iter().zip(&exact).enumerate() {
        assert!((a.0 / b.0 - 1.0).abs() < 1e-4, "{index}: {a:?} {b:?}");
    }
    for (name, precision) in [("f16", Precision::F16), ("bf16", Precision::Bf16)] {
        let (fused, unfused) = (told(name), told(&format!("{name} unfused")));
        let by_hand = told(&format!("{name} by hand"));
        let ours = train(precision, exact.len());
        let skipped =
            |steps: &Steps| -> Vec<bool> { steps.iter().map(|it| it.1.is_none()).collect() };
        assert_eq!(
            skipped(&ours),
            skipped(&by_hand),
            "{name}: the steps left out"
        );
        assert_eq!(
            skipped(&ours),
            skipped(&fused),
            "{name}: the steps left out"
        );
        let apart = |a: &Steps, b: &Steps| -> f64 {
            a.iter().zip(b).fold(0.0, |sum, (a, b)| {
                let norms = a.1.zip(b.1).map_or(0.0, |(a, b)| (a / b - 1.0).abs());
                sum + (a.0 / b.0 - 1.0).abs() + norms
            })
        };
        let usual = apart(&unfused, &fused);
        let ratios = [&fused, &unfused, &by_hand].map(|them| apart(&ours, them) / usual);
        println!("{name}: {ratios:.2?} times {usual:.1e}");
        assert!(
            ratios.iter().all(|ratio| *ratio < 2.0),
            "{name}: {ratios:?}"
        );
        assert!(
            ours.iter().zip(&exact).all(|(a, b)| a.0 != b.0),
            "{name} rounds"
        );
    }
}
