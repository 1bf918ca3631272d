//! Every model of the fixtures' folder, its weights by the rule, against timm and torchvision.
//!
//! A fresh clone compares logits and features of the rule's image; loss, gradients and what
//! batch norms record need the photograph, which only `RIBFLOW_FIXTURES` has.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use ribflow::ml::data::decode::decode;
use ribflow::ml::data::resize::Filter;
use ribflow::ml::models::{Config, Model, Network, Pass, Role};
use ribflow::ml::ops::{Precision, Tape, Value};
use ribflow::ml::train::method::Method;
use ribflow::ml::train::optimiser::Rule as Update;
use ribflow::ml::train::trainer::{BatchInput, Objective, Trainer};
use safetensors::SafeTensors;
use serde_json::Value as Json;

use crate::{fixtures, rule};

fn folder() -> PathBuf {
    fixtures::folder().join("parity/models")
}

/// The models whose numbers lie in the folder.
fn names() -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder()).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        match name.strip_suffix(".safetensors") {
            Some("lowvar") | None => {}
            Some(name) => names.push(name.to_string()),
        }
    }
    names.sort();
    names
}

fn json(name: &str) -> Json {
    serde_json::from_slice(&fs::read(folder().join(name)).unwrap()).unwrap()
}

/// f32 arrays by name.
fn arrays(name: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = fs::read(folder().join(format!("{name}.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8]| {
        let (chunks, _) = data.as_chunks::<4>();
        chunks.iter().map(|it| f32::from_le_bytes(*it)).collect()
    };
    let pair =
        |(name, view): (String, safetensors::tensor::TensorView)| (name, floats(view.data()));
    tensors.tensors().into_iter().map(pair).collect()
}

fn filled(config: &Config) -> Model {
    let tensors = config.tensors().into_iter().map(|spec| {
        let values = rule::tensor(&spec.name, &spec.shape);
        let tensor = match spec.name.ends_with("num_batches_tracked") {
            true => Tensor::zeros((), DType::I64, &Device::Cpu).unwrap(),
            false => Tensor::from_vec(values, spec.shape, &Device::Cpu).unwrap(),
        };
        (spec.name, tensor)
    });
    Model::from_tensors(config.clone(), tensors.collect()).unwrap()
}

/// torchvision's names have no tag, timm's may.
fn config(name: &str) -> Config {
    Config::named(name, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn rule_image(fixture: &Json) -> Vec<f32> {
    let image = &fixture["input"]["image0"];
    let shape: Vec<usize> = serde_json::from_value(image["shape"].clone()).unwrap();
    rule::values(
        image["rule_name"].as_str().unwrap(),
        shape.iter().product(),
        image["offset"].as_f64().unwrap(),
        image["scale"].as_f64().unwrap(),
    )
}

/// The photograph, normalised as the fixture says; `None` where it isn't there.
fn photograph(fixture: &Json) -> Option<Vec<f32>> {
    let image = &fixture["input"]["image1"];
    let path = image["png"].as_str()?.split_once('/')?.1;
    let bytes = fs::read(fixtures::folder().join("parity").join(path)).ok()?;
    let picture = decode(&bytes).unwrap();
    let number = |of: &str, channel: usize| image[of][channel].as_f64().unwrap() as f32;
    let mut values = Vec::new();
    for channel in 0..3 {
        let (mean, std) = (number("mean", channel), number("std", channel));
        let bytes = picture.pixels.iter().skip(channel).step_by(3);
        values.extend(bytes.map(|byte| (f32::from(*byte) / 255.0 - mean) / std));
    }
    Some(values)
}

fn images(values: Vec<f32>, size: usize) -> Tensor {
    let count = values.len() / (3 * size * size);
    Tensor::from_vec(values, (count, 3, size, size), &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn length(values: &[f32]) -> f64 {
    let squares = values.iter().map(|value| f64::from(*value).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Relative L2.
fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(a, b)| a - b);
    length(&differences.collect::<Vec<f32>>()) / length(expected)
}

fn close(place: &str, found: f64, expected: f64, relative: f64) {
    let error = (found / expected - 1.0).abs();
    assert!(error < relative, "{place}: {found} for {expected}");
}

#[test]
fn parity_models() {
    let names = names();
    if names.is_empty() && fixtures::folder() != fixtures::copies() {
        eprintln!("{}: no models, nothing compared", folder().display());
        return;
    }
    assert!(!names.is_empty());
    for name in names {
        let fixture = json(&format!("{name}.json"));
        let config = config(&name);
        let model = filled(&config);
        compare_state_dict(&name, &fixture, &model);
        let expected = arrays(&name);
        let size = config.input.size;
        let own = images(rule_image(&fixture), size);
        let compare = |images: &Tensor, row: usize| {
            for (what, found) in [
                ("logits", model.logits(images)),
                ("pooled", model.features(images)),
            ] {
                let found = flat(&found.unwrap());
                let all = &expected[what];
                let error = difference(&found, &all[row * found.len()..(row + 1) * found.len()]);
                assert!(
                    error < 1e-5,
                    "{name}: {what} of image {row} differ by {error:e}"
                );
            }
        };
        compare(&own, 0);
        let Some(photograph) = photograph(&fixture) else {
            continue;
        };
        let photograph = images(photograph, size);
        compare(&photograph, 1);
        let both = Tensor::cat(&[own, photograph], 0).unwrap();
        compare_gradients(&name, &fixture, &model, &both, &expected);
    }
}

fn compare_state_dict(name: &str, fixture: &Json, model: &Model) {
    let expected = fixture["state_dict"].as_object().unwrap();
    let own: Vec<&String> = model.tensors().keys().collect();
    let mut theirs: Vec<&String> = expected.keys().collect();
    theirs.sort();
    assert_eq!(own, theirs, "{name}: names");
    for (tensor, expected) in expected {
        let shape: Vec<usize> = serde_json::from_value(expected["shape"].clone()).unwrap();
        let found = &model.tensors()[tensor];
        assert_eq!(found.dims(), shape, "{name}: {tensor}");
        if found.dtype() == DType::F32 {
            let bits = rule::bitsum(&flat(found));
            assert_eq!(Some(bits), expected["bitsum"].as_u64(), "{name}: {tensor}");
        }
    }
    let parameters: usize = (model.config().tensors().iter())
        .filter(|spec| spec.role == Role::Parameter)
        .map(|spec| spec.shape.iter().product::<usize>())
        .sum();
    if let Some(expected) = fixture["params"].as_u64() {
        assert_eq!(parameters as u64, expected, "{name}: parameters");
    }
}

/// Everything trains; batch norms run in the given mode.
struct Everything {
    training: bool,
}

impl Method for Everything {
    fn training_mode(&self) -> bool {
        self.training
    }
}

/// What a step is made with, and what should come out.
struct Case<'a> {
    labels: &'a Json,
    classes: Option<Vec<u32>>,
    /// Batch norms take the batch's statistics.
    training: bool,
    expected: &'a Json,
    slices: &'a BTreeMap<String, Vec<f32>>,
    /// Of the names of `slices` before those of tensors.
    prefix: &'a str,
}

/// One step's loss and gradients against `case.expected`; returns the model with what its batch
/// norms recorded.
fn step(place: &str, model: &Model, images: &Tensor, case: Case) -> Model {
    let Case {
        labels,
        classes,
        training,
        expected,
        slices,
        prefix,
    } = case;
    let labels: Vec<u32> = serde_json::from_value(labels.clone()).unwrap();
    let objective = Objective {
        rule: Update::Sgd { momentum: 0.0 },
        weight_decay: 0.0,
        smoothing: 0.0,
        clip: None,
        classes,
        precision: Precision::F32,
        seed: 0,
    };
    let method = Everything { training };
    let mut trainer = Trainer::new(model.clone(), &method, &objective).unwrap();
    let batch = BatchInput::Images(images.clone()).into();
    let (report, gradients) = trainer.gradients(&batch, &labels).unwrap();
    close(
        &format!("{place}: loss"),
        report.loss,
        expected["loss"].as_f64().unwrap(),
        1e-5,
    );
    // Rounding flips rectifiers and pools, so PyTorch's own f32 gradients differ from its f64 ones:
    // for the given ResNet-50 by up to 1.9e-4 a tensor, where ours (another order of sums) are
    // nearer to f64 than they; with batch statistics by up to 3.6e-3, and 5e-4 over all tensors.
    let residual = matches!(model.config().network, Network::Resnet(_));
    let (overall, tolerance) = match (residual, training) {
        (false, _) => (1e-4, 1e-4),
        (true, false) => (1e-4, 5e-4),
        (true, true) => (1e-3, 5e-3),
    };
    let lengths = gradients
        .by_name
        .values()
        .map(|it| length(&flat(it)).powi(2));
    let global = lengths.sum::<f64>().sqrt();
    let exact = expected["global_norm"].as_f64().unwrap();
    close(&format!("{place}: gradient"), global, exact, overall);
    for (tensor, exact) in expected["per_tensor"].as_object().into_iter().flatten() {
        let found = length(&flat(&gradients.by_name[tensor]));
        let exact = exact.as_f64().unwrap();
        let place = format!("{place}: gradient of {tensor}");
        close(&place, found, exact, tolerance);
    }
    for (name, slice) in slices {
        let Some(tensor) = name.strip_prefix(prefix) else {
            continue;
        };
        let found = flat(&gradients.by_name[tensor]);
        let error = difference(&found[..slice.len()], slice);
        assert!(
            error < 10.0 * tolerance,
            "{place}: {name} differs by {error:e}"
        );
    }
    trainer.apply(gradients, 0.0).unwrap();
    trainer.finish().unwrap()
}

fn compare_gradients(
    name: &str,
    fixture: &Json,
    model: &Model,
    images: &Tensor,
    expected: &BTreeMap<String, Vec<f32>>,
) {
    let case = |labels: &'static str, part: &'static str, prefix: &'static str| Case {
        labels: &fixture[labels],
        classes: None,
        training: false,
        expected: &fixture[part],
        slices: expected,
        prefix,
    };
    if fixture["grad_eval"].is_object() {
        let case = case("labels", "grad_eval", "grad_eval.");
        step(name, model, images, case);
    }
    if fixture["grad_masked_r"].is_object() {
        let case = Case {
            classes: Some(fixtures::imagenet_r()),
            ..case("labels_masked", "grad_masked_r", "grad_masked_r.")
        };
        step(&format!("{name}, 200 classes"), model, images, case);
    }
    if !fixture["grad_train"].is_object() {
        return;
    }
    let place = format!("{name}, training");
    let case = Case {
        training: true,
        ..case("labels", "grad_train", "grad_train.")
    };
    let moved = step(&place, model, images, case);
    for (tensor, exact) in fixture["bn_after_one_train_forward"].as_object().unwrap() {
        let found = flat(&moved.tensors()[tensor]);
        let sum: f64 = found.iter().map(|value| f64::from(*value)).sum();
        let exact_sum = exact["sum"].as_f64().unwrap();
        assert!(
            (sum - exact_sum).abs() < 1e-4 * length(&found) * (found.len() as f64).sqrt().max(1.0),
            "{place}: {tensor} sums to {sum}, not {exact_sum}"
        );
        for (found, exact) in found.iter().zip(exact["first4"].as_array().unwrap()) {
            let exact = exact.as_f64().unwrap();
            let error = (f64::from(*found) - exact).abs();
            assert!(
                error < 1e-5 * (1.0 + exact.abs()),
                "{place}: {tensor}: {found} for {exact}"
            );
        }
    }
    let tape = Tape::new();
    let pass = Pass::new(&tape, model, true);
    let config = model.config();
    let features = config
        .features_of(&pass, &Value::constant(images.clone()))
        .unwrap();
    let logits = config.classify(&pass, &features).unwrap();
    for (what, found) in [("train.pooled", features), ("train.logits", logits)] {
        let error = difference(&flat(found.tensor()), &expected[what]);
        // PyTorch's own differ by up to 8.5e-6 from its f64 ones.
        assert!(error < 2e-5, "{name}: {what} differ by {error:e}");
    }
}

#[test]
fn parity_catalogue_is_timms() {
    let path = fixtures::copies().join("parity/models/timm_configs.json");
    let given = folder().join("timm_configs.json");
    let path = if given.exists() { given } else { path };
    let table: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (name, expected) in table["models"].as_object().unwrap() {
        let wrong = catalogue_differences(&config(name), expected);
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
    }
}

/// The fields in which a model of the catalogue differs from what timm says of it.
fn catalogue_differences(config: &Config, expected: &Json) -> Vec<&'static str> {
    let Network::Vit(vit) = &config.network else {
        return vec!["it is no transformer"];
    };
    let is = |field: &str, found: f64| expected[field].as_f64() == Some(found);
    let are = |field: &str, found: [f64; 3]| expected[field] == serde_json::json!(found);
    let tensors = config.tensors();
    let parameters = tensors.iter();
    let parameters = parameters.map(|spec| spec.shape.iter().product::<usize>());
    let filter = serde_json::to_value(config.input.interpolation).unwrap();
    let fields = [
        ("num_classes", is("num_classes", config.outputs() as f64)),
        ("input", is("input", config.input.size as f64)),
        ("mean", are("mean", config.input.mean)),
        ("std", are("std", config.input.std)),
        ("crop_pct", is("crop_pct", config.input.crop)),
        ("interpolation", filter == expected["interpolation"]),
        ("params", is("params", parameters.sum::<usize>() as f64)),
        ("norm_eps", is("norm_eps", vit.norm_eps)),
        (
            "act",
            vit.quick_gelu == (expected["act_repr"] == "QuickGELU()"),
        ),
        (
            "norm_pre",
            vit.norm_pre == (expected["norm_pre"] == "LayerNorm"),
        ),
    ];
    let wrong = fields.into_iter().filter(|(_, equal)| !equal);
    wrong.map(|(field, _)| field).collect()
}

/// With embeddings a hundredth of the rule's, the first norm meets variances near its ε: logits
/// then tell a wrong ε or activation by percents.
#[test]
fn parity_lowvar() {
    let path = folder().join("lowvar.json");
    if !path.exists() && fixtures::folder() != fixtures::copies() {
        eprintln!("{}: not there, nothing compared", path.display());
        return;
    }
    let expected = arrays("lowvar");
    let cases = json("lowvar.json");
    for name in cases.as_object().unwrap().keys() {
        let error = lowvar_error(name, &config(name), &expected[name]);
        assert!(error < 1e-5, "{name}: logits differ by {error:e}");
    }
}

/// How far the logits of `config` are from those expected of `name`.
fn lowvar_error(name: &str, config: &Config, expected: &[f32]) -> f64 {
    let embeddings = ["cls_token", "pos_embed", "patch_embed."];
    let small = |name: &str| embeddings.iter().any(|start| name.starts_with(start));
    let tensors = filled(config).into_tensors().into_iter();
    let tensors = tensors.map(|(name, tensor)| {
        let tensor = match small(&name) {
            true => (tensor * 0.01).unwrap(),
            false => tensor,
        };
        (name, tensor)
    });
    let model = Model::from_tensors(config.clone(), tensors.collect()).unwrap();
    let size = config.input.size;
    let input = format!("input.shared.{name}");
    let image = images(rule::values(&input, 3 * size * size, 0.0, 2.0), size);
    difference(&flat(&model.logits(&image).unwrap()), expected)
}

/// What a wrong ε does to the logits must not pass for rounding.
#[test]
fn planted_errors_of_models_are_caught() {
    let path = folder().join("lowvar.json");
    if !path.exists() {
        eprintln!("{}: not there, nothing compared", path.display());
        return;
    }
    let expected = arrays("lowvar");
    for (name, expected) in expected.iter().take(2) {
        let mut wrong = config(name);
        let Network::Vit(vit) = &mut wrong.network else {
            panic!("{name} is no transformer");
        };
        vit.norm_eps = if vit.norm_eps < 5e-6 { 1e-5 } else { 1e-6 };
        let error = lowvar_error(name, &wrong, expected);
        assert!(
            error > 1e-3,
            "{name}: a wrong ε moves the logits by {error:e}"
        );
    }
    let path = fixtures::copies().join("parity/models/timm_configs.json");
    let table: Json = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for (name, expected) in table["models"].as_object().unwrap() {
        let right = config(name);
        let plant = |field: &'static str, spoil: &dyn Fn(&mut Config)| {
            let mut wrong = right.clone();
            spoil(&mut wrong);
            assert_eq!(catalogue_differences(&wrong, expected), [field], "{name}");
        };
        plant("crop_pct", &|it| it.input.crop -= 0.025);
        plant("mean", &|it| it.input.mean[2] += 1e-3);
        plant("std", &|it| it.input.std[0] -= 1e-3);
        plant("interpolation", &|it| {
            it.input.interpolation = match it.input.interpolation {
                Filter::Bicubic => Filter::Bilinear,
                _ => Filter::Bicubic,
            };
        });
        plant("norm_eps", &|it| match &mut it.network {
            Network::Vit(vit) => vit.norm_eps *= 10.0,
            Network::Resnet(_) => {}
        });
    }
}
