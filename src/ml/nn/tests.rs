//! Compares the bridge with our own training loop, on the same numbers.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use candle_nn::{ModuleT, Optimizer, VarBuilder};

use super::*;
use crate::models::{Config, Model, Role};
use crate::ops::Precision;
use crate::rng::Stream;
use crate::train::method::{Anchored, Lora, Lwf, Method, Part, Plain, Prompt};
use crate::train::optimiser::{Optimiser, Parameter, Rule};
use crate::train::trainer::{BatchInput, Objective, Trainer};

const LABELS: [u32; 4] = [0, 1, 2, 1];

fn config(arch: &str) -> Config {
    let classes = ["cat", "dog", "fox"].map(str::to_string);
    Config::named(arch, &classes).unwrap()
}

fn images(config: &Config) -> Tensor {
    let size = config.input.size;
    let mut stream = Stream::new(3, "images");
    let values: Vec<f32> = (0..LABELS.len() * 3 * size * size)
        .map(|_| stream.normal() as f32)
        .collect();
    Tensor::from_vec(values, (LABELS.len(), 3, size, size), &Device::Cpu).unwrap()
}

fn objective(rule: Rule) -> Objective {
    Objective {
        rule,
        weight_decay: 0.0,
        smoothing: 0.0,
        classes: None,
        clip: None,
        precision: Precision::F32,
        seed: 0,
    }
}

fn loss(logits: &Tensor) -> Tensor {
    let labels = Tensor::new(&LABELS, &Device::Cpu).unwrap();
    candle_nn::loss::cross_entropy(logits, &labels).unwrap()
}

fn largest(tensor: &Tensor) -> f64 {
    let values = tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    let values = values.to_vec1::<f64>().unwrap();
    values.iter().fold(0.0, |top, value| value.abs().max(top))
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    values.iter().map(|value| value.to_bits()).collect()
}

/// Logits are bit-equal; every parameter has the gradient of our own loop; running statistics are
/// updated equally; a second backward pass through the same graph gives the same gradients.
#[test]
fn gradients_are_those_of_our_own_loop() {
    for arch in ["vit_mini", "resnet_mini"] {
        let config = config(arch);
        let images = images(&config);
        let start = Model::new(config.clone(), 1, &Device::Cpu).unwrap();
        let vars = variables(&start).unwrap();
        let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let model = NnModel::load(config.clone(), builder).unwrap();
        let evaluated = candle_nn::Module::forward(&model.evaluation(), &images).unwrap();
        assert_eq!(bits(&evaluated), bits(&start.logits(&images).unwrap()));

        let logits = model.forward_t(&images, true).unwrap();
        let loss = loss(&logits);
        let found = loss.backward().unwrap();
        let again = loss.backward().unwrap();

        let method = Plain { part: Part::All };
        let objective = objective(Rule::Sgd { momentum: 0.9 });
        let trainer = Trainer::new(start, &method, &objective);
        let mut trainer = trainer.unwrap();
        let (_, own) = trainer
            .gradients(&BatchInput::Images(images).into(), &LABELS)
            .unwrap();
        let data = vars.data().lock().unwrap().clone();
        for spec in config.tensors() {
            if spec.role == Role::Buffer {
                continue;
            }
            let gradient = found.get(&data[&spec.name]).expect(&spec.name);
            let repeated = again.get(&data[&spec.name]).unwrap();
            assert_eq!(bits(gradient), bits(repeated), "{arch}: {}", spec.name);
            let expected = &own.by_name[&spec.name];
            // The losses differ in their last bits: Candle composes the cross-entropy.
            let error = largest(&(gradient - expected).unwrap()) / largest(expected).max(1e-6);
            assert!(error < 1e-4, "{arch}: {} is off by {error}", spec.name);
        }
        let moved = model.to_model().unwrap();
        trainer.apply(own, 0.0).unwrap();
        let expected = trainer.finish().unwrap();
        for spec in config.tensors() {
            if spec.name.contains("running") {
                let (found, expected) = (
                    &moved.tensors()[&spec.name],
                    &expected.tensors()[&spec.name],
                );
                assert_eq!(bits(found), bits(expected), "{}", spec.name);
            }
        }
    }
}

/// The gradient of an image, which adversarial attacks follow, against central differences.
#[test]
fn images_have_a_gradient() {
    let config = config("vit_mini");
    let start = Model::new(config.clone(), 1, &Device::Cpu).unwrap();
    let builder = VarBuilder::from_tensors(
        start.tensors().clone().into_iter().collect(),
        DType::F32,
        &Device::Cpu,
    );
    let model = NnModel::load(config.clone(), builder).unwrap();
    let images = candle_core::Var::from_tensor(&images(&config)).unwrap();
    let loss_of = |images: &Tensor| loss(&model.forward_t(images, false).unwrap());
    let found = loss_of(&images).backward().unwrap();
    let gradient = found.get(&images).unwrap();
    let direction = gradient.sign().unwrap();
    let moved = |by: f64| {
        let images = (images.as_detached_tensor() + (&direction * by).unwrap()).unwrap();
        f64::from(loss_of(&images).to_scalar::<f32>().unwrap())
    };
    let step = 1e-3;
    let slope = (moved(step) - moved(-step)) / (2.0 * step);
    let expected = f64::from(
        gradient
            .abs()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap(),
    );
    assert!((slope / expected - 1.0).abs() < 0.02, "{slope} {expected}");
}

/// The optimiser is bit-equal to that of our own loop, and learns.
#[test]
fn updates_are_those_of_our_own_loop() {
    for rule in [Rule::Sgd { momentum: 0.9 }, Rule::ADAMW] {
        let config = config("vit_mini");
        let images = images(&config);
        let start = Model::new(config.clone(), 1, &Device::Cpu).unwrap();
        let vars = variables(&start).unwrap();
        let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
        let model = NnModel::load(config.clone(), builder).unwrap();
        let settings = Settings {
            rule,
            rate: 0.003,
            weight_decay: 0.05,
        };
        let mut updates = Updates::of_model(&config, &vars, settings);
        let mut own = Optimiser::new(rule, 0.05);
        let mut parameters = BTreeMap::new();
        for spec in config.tensors() {
            let tensor = start.tensors()[&spec.name].copy().unwrap();
            let decays = !matches!(rule, Rule::AdamW { .. }) || spec.is_matrix();
            parameters.insert(spec.name, Parameter { tensor, decays });
        }
        let data = vars.data().lock().unwrap().clone();
        let mut losses = Vec::new();
        for _ in 0..12 {
            let loss = loss(&model.forward_t(&images, true).unwrap());
            losses.push(loss.to_scalar::<f32>().unwrap());
            let found = loss.backward().unwrap();
            let named = |(name, var): (&String, &candle_core::Var)| {
                (name.clone(), found.get(var).unwrap().contiguous().unwrap())
            };
            let gradients: BTreeMap<String, Tensor> = data.iter().map(named).collect();
            own.step(0.003, &mut parameters, &gradients).unwrap();
            updates.step(&found).unwrap();
        }
        assert!(losses[11] < 0.5 * losses[0], "{losses:?}");
        for (name, parameter) in &parameters {
            assert_eq!(bits(&data[name]), bits(&parameter.tensor), "{name}");
        }
    }
}

/// docs/candle.md lists these operations of candle-nn, which drop the gradient without an error. If
/// this fails, Candle has improved, and the page changes.
#[test]
fn operations_of_candle_without_a_gradient() {
    let device = Device::Cpu;
    let mut stream = Stream::new(4, "input");
    let values: Vec<f32> = (0..192).map(|_| stream.normal() as f32).collect();
    let values = Tensor::from_vec(values, (2, 3, 4, 8), &device).unwrap();
    let input = candle_core::Var::from_tensor(&values).unwrap();
    let (weight, bias) = (
        Tensor::ones(8, DType::F32, &device).unwrap(),
        Tensor::zeros(8, DType::F32, &device).unwrap(),
    );
    let angles = Tensor::zeros((4, 4), DType::F32, &device).unwrap();
    let gets = |output: Tensor| {
        let loss = output.sqr().unwrap().sum_all().unwrap();
        loss.backward().unwrap().get(&input).is_some()
    };
    let x = input.as_tensor();
    let rope = candle_nn::rotary_emb::rope(x, &angles, &angles);
    let interleaved = candle_nn::rotary_emb::rope_i(x, &angles, &angles);
    let norm = candle_nn::LayerNorm::new(weight.clone(), bias.clone(), 1e-6);
    let silent = [
        ("layer_norm", candle_nn::Module::forward(&norm, x)),
        ("rms_norm", candle_nn::ops::rms_norm(x, &weight, 1e-6)),
        ("softmax_last_dim", candle_nn::ops::softmax_last_dim(x)),
        ("rope", rope),
        ("rope_i", interleaved),
    ];
    for (name, output) in silent {
        assert!(!gets(output.unwrap()), "{name} has a gradient now");
    }
    let heard = [
        candle_nn::ops::layer_norm_slow(x, &weight, &bias, 1e-6),
        candle_nn::ops::rms_norm_slow(x, &weight, 1e-6),
        candle_nn::ops::softmax(x, candle_core::D::Minus1),
        candle_nn::rotary_emb::rope_slow(x, &angles, &angles),
        candle_nn::rotary_emb::rope_i_slow(x, &angles, &angles),
    ];
    for output in heard {
        assert!(gets(output.unwrap()));
    }
}

/// Some operations of Candle silently drop the gradient (docs/candle.md). For every architecture
/// and method, each trained tensor receives a gradient and is updated.
#[test]
fn every_parameter_that_trains_moves() {
    for arch in crate::models::catalogue::names() {
        // A checkpoint of an architecture is the same network.
        if !arch.contains('.') {
            let small = small(&arch);
            moves(&small, &Plain { part: Part::All });
        }
    }
    for arch in ["vit_mini", "resnet_mini"] {
        let config = config(arch);
        let start = Model::new(config.clone(), 1, &Device::Cpu).unwrap();
        moves(&config, &Plain { part: Part::Head });
        moves(
            &config,
            &Plain {
                part: Part::Released,
            },
        );
        moves(&config, &Anchored::new(&start, None, 1.0));
        let teacher = Lwf {
            teacher: start.clone(),
            strength: 1.0,
            temperature: 2.0,
        };
        moves(&config, &teacher);
        moves(&config, &Prompt::new(&start, 4).unwrap());
        if arch == "vit_mini" {
            moves(&config, &Lora::new(&start, 2, 1.0).unwrap());
        }
    }
}

/// The same structure with few blocks, few channels and small images.
fn small(arch: &str) -> Config {
    let mut config = config(arch);
    match &mut config.network {
        crate::models::Network::Vit(vit) => {
            vit.depth = 2;
            vit.heads = 2;
            vit.width = 16;
            vit.hidden = 32;
            config.input.size = 3 * vit.patch;
        }
        crate::models::Network::Resnet(resnet) => {
            resnet.width = 4;
            for blocks in &mut resnet.stages {
                *blocks = 2.min(*blocks);
            }
            config.input.size = 64;
        }
    }
    config
}

fn moves(config: &Config, method: &dyn Method) {
    let arch = &config.arch;
    let images = images(config);
    let start = Model::new(config.clone(), 1, &Device::Cpu).unwrap();
    let expected: Vec<String> = config
        .tensors()
        .into_iter()
        .filter(|spec| spec.role == Role::Parameter && method.trains(spec))
        .chain(method.additions(&start))
        .map(|spec| spec.name)
        .collect();
    assert!(!expected.is_empty(), "{arch}");
    let mut trainer = Trainer::new(start, method, &objective(Rule::Sgd { momentum: 0.0 })).unwrap();
    let mut moved: BTreeMap<String, bool> = expected.into_iter().map(|it| (it, false)).collect();
    // A factor of a low-rank change that starts at 0 leaves the other one unchanged for a step.
    for _ in 0..2 {
        let batch = BatchInput::Images(images.clone()).into();
        let (_, gradients) = trainer.gradients(&batch, &LABELS).unwrap();
        for (name, moved) in &mut moved {
            let gradient = gradients.by_name.get(name);
            let gradient = gradient.unwrap_or_else(|| panic!("{arch}: `{name}` has no gradient"));
            *moved |= largest(gradient) > 0.0;
        }
        trainer.apply(gradients, 0.1).unwrap();
    }
    let still: Vec<&String> = moved.iter().filter(|it| !it.1).map(|it| it.0).collect();
    assert!(still.is_empty(), "{arch}: {still:?} do not move");
}
