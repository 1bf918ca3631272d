//! The diagonal of the Fisher information (Kirkpatrick et al. 2017): how much each parameter of a
//! model affects its predictions on some images.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::batch::{Normaliser, check_images};
use super::hooks::Method;
use super::optimiser::Rule;
use super::trainer::{BatchInput, Objective, Trainer};
use crate::data::ImageSet;
use crate::models::Model;
use crate::ops::{Precision, parallel};
use crate::rng::Stream;
use crate::{Error, Observer, Result};

/// For each parameter of `model`, the mean over `samples` images of `set`, sampled with `seed`, of
/// the squared gradient of log p(label | image), where the label is sampled from the model's own
/// predictions; in evaluation mode. f32, with the parameters' shapes.
pub fn diagonal(
    model: &Model,
    set: &ImageSet,
    samples: usize,
    seed: u64,
    threads: usize,
    observer: &dyn Observer,
) -> Result<BTreeMap<String, Tensor>> {
    check_images(set, &model.config().input)?;
    parallel::scope(threads, || sum(model, set, samples, seed, observer))
}

fn sum(
    model: &Model,
    set: &ImageSet,
    samples: usize,
    seed: u64,
    observer: &dyn Observer,
) -> Result<BTreeMap<String, Tensor>> {
    let order = Stream::new(seed, "fisher/order").permutation(set.len());
    let chosen = &order[..samples.min(set.len())];
    let mut labels = Stream::new(seed, "fisher/labels");
    let normaliser = Normaliser::new(&model.config().input, &model.device());
    let objective = Objective {
        rule: Rule::Sgd { momentum: 0.0 },
        weight_decay: 0.0,
        smoothing: 0.0,
        clip: None,
        classes: None,
        precision: Precision::F32,
        seed,
    };
    let trainer = Trainer::new(model.clone(), &Everything, &objective)?;
    let mut sums: BTreeMap<String, Tensor> = BTreeMap::new();
    for (done, image) in chosen.iter().enumerate() {
        let images = normaliser.batch(set, &[*image])?;
        let logits = model.logits(&images)?.flatten_all()?.to_vec1::<f32>()?;
        let label = draw(&logits, labels.range(0.0, 1.0));
        let (_, gradients) = trainer.gradients(&BatchInput::Images(images).into(), &[label])?;
        for (name, gradient) in gradients.by_name {
            let square = gradient.sqr()?;
            let sum = match sums.remove(&name) {
                Some(sum) => (sum + square)?,
                None => square,
            };
            sums.insert(name, sum);
        }
        if !observer.advance(done as u64 + 1, chosen.len() as u64, "Fisher samples") {
            return Err(Error::Interrupted);
        }
    }
    let share = 1.0 / chosen.len().max(1) as f64;
    let mean = |(name, sum): (String, Tensor)| Ok((name, (sum * share)?));
    sums.into_iter().map(mean).collect()
}

/// The column of softmax(logits) that a uniform `at` in [0, 1) selects.
fn draw(logits: &[f32], at: f64) -> u32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| libm::exp(f64::from(*logit) - f64::from(largest));
    let total: f64 = logits.iter().map(weight).sum();
    let mut left = at * total;
    for (column, logit) in logits.iter().enumerate() {
        left -= weight(logit);
        if left < 0.0 {
            return column as u32;
        }
    }
    logits.len().saturating_sub(1) as u32
}

/// All parameters train, in evaluation mode.
struct Everything;

impl Method for Everything {
    fn training_mode(&self) -> bool {
        false
    }
}
