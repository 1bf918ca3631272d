//! A vision transformer of ribflow trained from plain Candle code, without a workflow:
//! `cargo run --release --example candle_training`.
//!
//! The model is a candle-nn module with its tensors in a `VarMap`, the loss is Candle's, and the
//! optimiser is any `candle_nn::Optimizer`: here ribflow's AdamW, which decays as timm does.

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use candle_nn::{ModuleT, Optimizer, VarBuilder, loss};
use ribflow::ml::Unobserved;
use ribflow::ml::data::ImageSet;
use ribflow::ml::data::mini_rib::{Collection, Split, render};
use ribflow::ml::models::{Config, Model};
use ribflow::ml::nn::{NnModel, Settings, Updates, variables};
use ribflow::ml::train::batch::Normaliser;
use ribflow::ml::train::evaluate::evaluate;
use ribflow::ml::train::optimiser::Rule;
use ribflow::rng::Stream;

const IMAGES: usize = 600;
const BATCH: usize = 20;
const EPOCHS: u64 = 5;

pub fn main() -> Result<(), Box<dyn Error>> {
    let device = Device::Cpu;
    let train = render(Collection::Narrow, Split::Train, IMAGES, 0);
    let test = render(Collection::Narrow, Split::Test, IMAGES, 0);
    let config = Config::named("vit_mini", &train.classes)?;

    // A start that is the same on every machine; `VarMap::new()` in its place draws from Candle's
    // generator.
    let start = Model::new(config.clone(), 0, &device)?;
    let vars = variables(&start)?;
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &device);
    let model = NnModel::load(config.clone(), builder)?;
    let settings = Settings {
        rule: Rule::ADAMW,
        rate: 0.002,
        ..Settings::default()
    };
    let mut optimiser = Updates::of_model(&config, &vars, settings);

    let before = accuracy(&start, &test)?;
    let normaliser = Normaliser::new(&config.input, &device);
    for epoch in 0..EPOCHS {
        let order = Stream::new(0, &format!("order/{epoch}")).permutation(train.len());
        let mut sum = 0.0;
        for indices in order.chunks(BATCH) {
            let images = normaliser.batch(&train, indices)?;
            let labels: Vec<u32> = indices.iter().map(|index| train.labels[*index]).collect();
            let labels = Tensor::new(labels, &device)?;
            let loss = loss::cross_entropy(&model.forward_t(&images, true)?, &labels)?;
            optimiser.backward_step(&loss)?;
            sum += f64::from(loss.to_scalar::<f32>()?) * indices.len() as f64;
        }
        println!("epoch {}: loss {:.3}", epoch + 1, sum / train.len() as f64);
    }

    // A copy of the tensors as they are now; `vars.save("model.safetensors")` writes a file that
    // timm loads.
    let after = accuracy(&model.to_model()?, &test)?;
    println!("top-1 before {before:.1} %, after {after:.1} %");
    assert!(after > before + 10.0);
    Ok(())
}

fn accuracy(model: &Model, set: &ImageSet) -> Result<f64, ribflow::ml::Error> {
    let found = evaluate(model, set, true, 2, &Unobserved)?;
    let right: u64 = found.parts.iter().map(|part| part.top1).sum();
    Ok(100.0 * right as f64 / set.len() as f64)
}
