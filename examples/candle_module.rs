//! A network of candle-nn's layers in ribflow's evaluation:
//! `cargo run --release --example candle_module`.
//!
//! The small convolutional network below trains with candle-nn's own AdamW, and is then evaluated
//! as a stage `evaluate` evaluates: top-1, top-5, loss and the confusion matrix, per part of the
//! dataset.

use std::error::Error;

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{
    AdamW, Conv2d, Conv2dConfig, Linear, Optimizer, ParamsAdamW, VarBuilder, VarMap, conv2d,
    linear, loss,
};
use ribflow::ml::Unobserved;
use ribflow::ml::data::mini_rib::{Collection, Split, render};
use ribflow::ml::models::Config;
use ribflow::ml::nn::Evaluated;
use ribflow::ml::train::batch::Normaliser;
use ribflow::ml::train::evaluate::evaluate;
use ribflow::rng::Stream;

const IMAGES: usize = 300;

/// Two convolutions of stride 2 and a classifier over the means of the channels.
struct Small {
    first: Conv2d,
    second: Conv2d,
    classifier: Linear,
}

impl Small {
    fn new(classes: usize, builder: VarBuilder) -> Result<Self> {
        let halving = Conv2dConfig {
            padding: 1,
            stride: 2,
            ..Conv2dConfig::default()
        };
        Ok(Self {
            first: conv2d(3, 16, 3, halving, builder.pp("first"))?,
            second: conv2d(16, 32, 3, halving, builder.pp("second"))?,
            classifier: linear(32, classes, builder.pp("classifier"))?,
        })
    }
}

impl Module for Small {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.first.forward(images)?.relu()?;
        let x = self.second.forward(&x)?.relu()?;
        self.classifier.forward(&x.mean((2, 3))?)
    }
}

pub fn main() -> std::result::Result<(), Box<dyn Error>> {
    let device = Device::Cpu;
    let train = render(Collection::Narrow, Split::Train, IMAGES, 0);
    let test = render(Collection::Narrow, Split::Test, IMAGES, 0);
    let input = Config::named("vit_mini", &train.classes)?.input;

    let vars = VarMap::new();
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &device);
    let module = Small::new(train.classes.len(), builder)?;
    let settings = ParamsAdamW {
        lr: 0.01,
        ..ParamsAdamW::default()
    };
    let mut optimiser = AdamW::new(vars.all_vars(), settings)?;
    let normaliser = Normaliser::new(&input, &device);
    let order = Stream::new(0, "order").permutation(train.len());
    for indices in order.chunks(10) {
        let images = normaliser.batch(&train, indices)?;
        let labels: Vec<u32> = indices.iter().map(|index| train.labels[*index]).collect();
        let logits = module.forward(&images)?;
        optimiser.backward_step(&loss::cross_entropy(
            &logits,
            &Tensor::new(labels, &device)?,
        )?)?;
    }

    let model = Evaluated {
        module,
        input,
        classes: train.classes.clone(),
        device,
    };
    let found = evaluate(&model, &test, true, 2, &Unobserved)?;
    for part in &found.parts {
        let percent = |hits: u64| 100.0 * hits as f64 / part.images as f64;
        println!(
            "{} images: top-1 {:.1} %, top-5 {:.1} %, loss {:.3}",
            part.images,
            percent(part.top1),
            percent(part.top5),
            part.loss / part.images as f64
        );
    }
    assert_eq!(found.confusion.len(), found.classes.len().pow(2));
    Ok(())
}
