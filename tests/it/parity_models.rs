//! Every model of the fixtures' folder, its weights by the rule, against timm and torchvision.
//!
//! A fresh clone compares logits and features of the rule's image; loss, gradients and what
//! batch norms record need the photograph, which only `RIBFLOW_FIXTURES` has.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use ribflow::ml::data::decode::decode;
use ribflow::ml::models::config::Block;
use ribflow::ml::models::{Config, Model, Network, Pass, Role};
use ribflow::ml::ops::{Precision, Tape, Value};
use ribflow::ml::train::method::Method;
use ribflow::ml::train::optimiser::Rule as Update;
use ribflow::ml::train::trainer::{BatchInput, Objective, Trainer};
use safetensors::SafeTensors;
use serde_json::Value as Json;

use crate::{fixtures, rule};

pub fn folder() -> PathBuf {
    fixtures::folder().join("parity/models")
}

/// The files of models: those that state the tensors of one.
fn files() -> Vec<(String, Json)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder()).into_iter().flatten() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(stem) = name.strip_suffix(".safetensors") else {
            continue;
        };
        let fixture = json(&format!("{stem}.json"));
        if fixture["state_dict"].is_object() {
            files.push((stem.to_string(), fixture));
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

pub fn json(name: &str) -> Json {
    serde_json::from_slice(&fs::read(folder().join(name)).unwrap()).unwrap()
}

/// f32 arrays by name.
pub fn arrays(name: &str) -> BTreeMap<String, Vec<f32>> {
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

pub fn filled(config: &Config) -> Model {
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
pub fn config(name: &str) -> Config {
    Config::named(name, &[]).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// One image of the batch, `[1, 3, height, width]`; `None` where its photograph is not there.
fn image(stated: &Json, size: usize) -> Option<Tensor> {
    if stated["png"].is_string() {
        return photograph(stated).map(|values| images(values, size));
    }
    let shape: Vec<usize> = serde_json::from_value(stated["shape"].clone()).unwrap();
    let values = rule::values(
        stated["rule_name"].as_str().unwrap(),
        shape.iter().product(),
        stated["offset"].as_f64().unwrap(),
        stated["scale"].as_f64().unwrap(),
    );
    let shape = [&[1], shape.as_slice()].concat();
    Some(Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
}

/// The photograph, normalised as the fixture says; `None` where it isn't there.
fn photograph(stated: &Json) -> Option<Vec<f32>> {
    let path = stated["png"].as_str()?.split_once('/')?.1;
    let bytes = fs::read(fixtures::folder().join("parity").join(path)).ok()?;
    let picture = decode(&bytes).unwrap();
    let number = |of: &str, channel: usize| stated[of][channel].as_f64().unwrap() as f32;
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

pub fn flat(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn length(values: &[f32]) -> f64 {
    let squares = values.iter().map(|value| f64::from(*value).powi(2));
    squares.sum::<f64>().sqrt()
}

/// Relative L2.
pub fn difference(found: &[f32], expected: &[f32]) -> f64 {
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
    let files = files();
    if files.is_empty() && fixtures::folder() != fixtures::copies() {
        eprintln!("{}: no models, nothing compared", folder().display());
        return;
    }
    assert!(!files.is_empty());
    for (file, fixture) in files {
        let name = fixture["model"].as_str().unwrap();
        let config = config(name);
        let model = filled(&config);
        compare_state_dict(name, &fixture, &model);
        let expected = arrays(&file);
        let batch = fixture["input"]["batch"].as_u64().unwrap() as usize;
        let stated = |row: usize| &fixture["input"][format!("image{row}")];
        let rows = (0..batch).map(|row| image(stated(row), config.input.size));
        let rows: Vec<Option<Tensor>> = rows.collect();
        assert!(rows.iter().any(Option::is_some), "{name}: no image");
        for (row, image) in rows.iter().enumerate() {
            if let Some(image) = image {
                compare_outputs(
                    &format!("{name}, image {row}"),
                    &model,
                    image,
                    row,
                    &expected,
                );
            }
        }
        if let Some(all) = rows.into_iter().collect::<Option<Vec<Tensor>>>() {
            let images = Tensor::cat(&all, 0).unwrap();
            compare_gradients(name, &fixture, &model, &images, &expected);
        }
    }
}

/// Logits and features of the image of one row of the batch.
fn compare_outputs(
    place: &str,
    model: &Model,
    image: &Tensor,
    row: usize,
    expected: &BTreeMap<String, Vec<f32>>,
) {
    for (what, found) in [
        ("logits", model.logits(image)),
        ("pooled", model.features(image)),
    ] {
        let found = flat(&found.unwrap());
        let all = &expected[what];
        let error = difference(&found, &all[row * found.len()..(row + 1) * found.len()]);
        assert!(error < 1e-5, "{place}: {what} differ by {error:e}");
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
    // A bound below what rounding of the images does to the gradients says nothing.
    let rounded = training.then(|| {
        let images = (images * (1.0 + 1e-7)).unwrap();
        let batch = BatchInput::Images(images).into();
        trainer.gradients(&batch, &labels).unwrap().1.by_name
    });
    let moves = |tensor: &str| {
        let (found, rounded) = (&gradients.by_name[tensor], rounded.as_ref()?.get(tensor)?);
        Some((length(&flat(rounded)) / length(&flat(found)) - 1.0).abs())
    };
    let stated = expected["per_tensor"].as_object();
    let most = stated
        .into_iter()
        .flatten()
        .filter_map(|(name, _)| moves(name));
    let most = most.fold(0.0, f64::max);
    let steady = stated.filter(|_| most < tolerance / 2.0);
    if steady.is_none() && most > 0.0 {
        eprintln!("{place}: rounding moves gradients by {most:e}, not compared by tensor");
    }
    for (tensor, exact) in steady.into_iter().flatten() {
        let found = length(&flat(&gradients.by_name[tensor]));
        let exact = exact.as_f64().unwrap();
        let place = format!("{place}: gradient of {tensor}");
        close(&place, found, exact, tolerance);
    }
    if let Some(exact) = expected["head_norm"].as_f64() {
        let head = model.config().head();
        let named = gradients.by_name.iter();
        let of_head = named.filter(|(name, _)| name.starts_with(head));
        let squares = of_head.map(|(_, gradient)| length(&flat(gradient)).powi(2));
        let place = format!("{place}: gradient of the head");
        close(&place, squares.sum::<f64>().sqrt(), exact, tolerance);
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
    for part in fixture.as_object().unwrap().keys() {
        let masked = part.strip_prefix("grad_masked_");
        if part != "grad_eval" && masked.is_none() {
            continue;
        }
        let classes = masked.map(|list| fixtures::listed(&format!("imagenet_{list}")));
        let case = Case {
            labels: &fixture[match masked {
                Some(_) => "labels_masked",
                None => "labels",
            }],
            classes,
            training: false,
            expected: &fixture[part],
            slices: expected,
            prefix: &format!("{part}."),
        };
        step(&format!("{name}, {part}"), model, images, case);
    }
    if fixture["grad_train"].is_object() && !is_chaotic(&model.config().network) {
        compare_training(name, fixture, model, images, expected);
    }
}

/// Whether batch statistics amplify rounding to more than the tolerances: those of deep residual
/// networks with the rule's weights do. PyTorch's own f32 is then as far from its f64.
fn is_chaotic(network: &Network) -> bool {
    let Network::Resnet(network) = network else {
        return false;
    };
    let convolutions = match network.block {
        Block::Basic => 2,
        Block::Bottleneck => 3,
    };
    let blocks: usize = network.stages.iter().sum();
    // The stem and the head are layers too: ResNet-50 has fifty.
    blocks * convolutions + 2 > 50
}

/// One step with batch statistics: gradients, what batch norms record, and outputs.
fn compare_training(
    name: &str,
    fixture: &Json,
    model: &Model,
    images: &Tensor,
    expected: &BTreeMap<String, Vec<f32>>,
) {
    let place = format!("{name}, training");
    let case = Case {
        labels: &fixture["labels"],
        classes: None,
        training: true,
        expected: &fixture["grad_train"],
        slices: expected,
        prefix: "grad_train.",
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
