//! Whole models: a forward pass in evaluation mode, and a step of training.

use candle_core::{Device, Tensor};

use super::gemm::{positive, precision};
use super::measure::Throughput;
use super::{Family, Prepare, Result, Setting, Work, numbers};
use crate::ml::models::config::{Block, Config, Network, ResNet};
use crate::ml::models::{Model, Pass, Vit, catalogue};
use crate::ml::ops::{Precision, Tape, Value};
use crate::ml::train::method::{Part, Plain};
use crate::ml::train::optimiser::Rule;
use crate::ml::train::trainer::{Batch, BatchInput, Objective, Trainer};

pub(super) const FAMILY: Family = Family {
    form: "model/ARCHITECTURE/forward|train/bBATCH[/f32|bf16|f16]",
    about: "logits, or a step of SGD with momentum: any architecture of `ribflow models`, or \
            `vit_tiny_d6_p4_32` and `resnet20_32`, the small ones of 32 pixels",
    names,
    usual: &[
        "model/vit_tiny_d6_p4_32/forward/b128/f32",
        "model/vit_tiny_d6_p4_32/train/b128/f32",
        "model/resnet20_32/train/b128/f32",
        "model/vit_small_patch16_224/forward/b16/f32",
        "model/resnet18/forward/b16/f32",
    ],
    find,
};

/// The models that are listed, with their batch sizes.
const LISTED: &[(&str, usize)] = &[
    (TINY_VIT, 128),
    (SMALL_RESNET, 128),
    ("vit_small_patch16_224", 16),
    ("vit_base_patch16_224", 16),
    ("resnet18", 16),
    ("resnet50", 16),
];

/// Width 192, 6 blocks, 3 heads, patches of 4 pixels.
const TINY_VIT: &str = "vit_tiny_d6_p4_32";
/// Three stages of three blocks, 16 channels at first.
const SMALL_RESNET: &str = "resnet20_32";

static WHOLE: Plain = Plain { part: Part::All };

#[derive(Clone, Copy)]
enum Direction {
    Forward,
    Train,
}

fn names() -> Vec<String> {
    let mut names = Vec::new();
    for (arch, batch) in LISTED {
        for work in ["forward", "train"] {
            for precision in ["f32", "bf16"] {
                names.push(format!("model/{arch}/{work}/b{batch}/{precision}"));
            }
        }
    }
    names
}

fn find(parts: &[&str]) -> Option<Prepare> {
    let (arch, work, batch, precision) = match parts {
        [arch, work, batch] => (arch, work, batch, Precision::F32),
        [arch, work, batch, word] => (arch, work, batch, precision(word)?),
        _ => return None,
    };
    let config = config(arch)?;
    let batch = positive(batch.strip_prefix('b')?)?;
    let direction = match *work {
        "forward" => Direction::Forward,
        "train" => Direction::Train,
        _ => return None,
    };
    Some(Box::new(move |setting: &Setting| {
        let model = numbers::model(config, &setting.device)?;
        let side = model.config().input.size;
        let images = numbers::tensor(&[batch, 3, side, side], 1.0, &setting.device)?;
        match direction {
            Direction::Forward => forward(model, images, precision),
            Direction::Train => train(model, images, precision),
        }
    }))
}

fn config(arch: &str) -> Option<Config> {
    match arch {
        TINY_VIT => tiny_vit(),
        SMALL_RESNET => small_resnet(),
        _ => {
            let found = catalogue::find(arch)?;
            let classes = match found.outputs {
                Some(_) => Vec::new(),
                None => ten_classes(),
            };
            Some(found.config(&classes))
        }
    }
}

fn ten_classes() -> Vec<String> {
    (0..10).map(|class| class.to_string()).collect()
}

/// Another network for 32-pixel images, with the input of the built-in ones.
fn small(arch: &str, like: &str, network: impl FnOnce(Network) -> Network) -> Option<Config> {
    let config = catalogue::find(like)?.config(&ten_classes());
    Some(Config {
        arch: arch.to_string(),
        network: network(config.network.clone()),
        ..config
    })
}

fn tiny_vit() -> Option<Config> {
    small(TINY_VIT, "vit_mini", |network| match network {
        Network::Vit(vit) => Network::Vit(Vit {
            width: 192,
            depth: 6,
            heads: 3,
            hidden: 4 * 192,
            ..vit
        }),
        other => other,
    })
}

fn small_resnet() -> Option<Config> {
    small(SMALL_RESNET, "resnet_mini", |_| {
        Network::Resnet(ResNet {
            block: Block::Basic,
            stages: vec![3, 3, 3],
            width: 16,
            small_stem: true,
        })
    })
}

fn forward(model: Model, images: Tensor, precision: Precision) -> Result<Work> {
    let amount = amount(&images)?;
    Ok(Work::new(amount, move || {
        let logits = match precision {
            Precision::F32 => model.logits(&images)?,
            _ => logits_in(precision, &model, &images)?,
        };
        finished(&logits)
    }))
}

fn logits_in(precision: Precision, model: &Model, images: &Tensor) -> Result<Tensor> {
    let tape = Tape::with_precision(precision);
    let pass = Pass::new(&tape, model, false);
    let images = Value::constant(images.clone());
    let features = model.config().features_of(&pass, &images)?;
    Ok(model.config().classify(&pass, &features)?.into_tensor())
}

/// Waits for an asynchronous device.
fn finished(tensor: &Tensor) -> Result<()> {
    tensor.to_device(&Device::Cpu)?;
    Ok(())
}

fn train(model: Model, images: Tensor, precision: Precision) -> Result<Work> {
    let amount = amount(&images)?;
    let outputs = model.config().outputs() as u32;
    let labels: Vec<u32> = (0..images.dim(0)? as u32).map(|it| it % outputs).collect();
    let objective = Objective {
        rule: Rule::Sgd { momentum: 0.9 },
        weight_decay: 0.0,
        smoothing: 0.0,
        clip: None,
        classes: None,
        precision,
        seed: 0,
    };
    let mut trainer = Trainer::new(model, &WHOLE, &objective)?;
    let device = images.device().clone();
    let batch = Batch::from(BatchInput::Images(images));
    Ok(Work::new(amount, move || {
        // A learning rate so small that the loss always stays finite.
        trainer.step(&batch, &labels, 1e-4)?;
        // The parameters may still be being updated.
        Ok(device.synchronize()?)
    }))
}

fn amount(images: &Tensor) -> Result<Throughput> {
    Ok(Throughput::of(images.dim(0)?, "images", "images/s"))
}
