//! Training a model on a dataset, epoch by epoch.

use std::collections::BTreeSet;

use candle_core::{Device, Tensor};

use super::augment::Augment;
use super::batch::{Normaliser, check_images};
use super::classes::class_columns;
use super::hooks::Method;
use super::infer::{features_of, logits_of};
use super::optimiser::Rule;
use super::schedule::{Schedule, Warmup};
use super::trainer::{Batch, BatchInput, Objective, Trainer};
use crate::data::ImageSet;
use crate::data::pixels::Rows;
use crate::models::Model;
use crate::ops::{Precision, parallel};
use crate::rng::Stream;
use crate::{Error, Observer, Result};

/// The options of a training.
#[derive(Clone, Debug)]
pub struct Plan {
    pub epochs: u64,
    /// Images per step; the last step of an epoch may have fewer.
    pub batch: usize,
    /// The learning rate after the warm-up.
    pub rate: f64,
    pub warmup: Warmup,
    pub rule: Rule,
    pub weight_decay: f64,
    pub smoothing: f64,
    /// The maximum norm of all gradients together.
    pub clip: Option<f64>,
    pub augment: Augment,
    /// Only the classifier trains, on a backbone in evaluation mode, so the features are computed
    /// once. This is the definition of head-only training, not an approximation of it.
    pub frozen_backbone: bool,
    /// The precision of matrix products and convolutions in training.
    pub precision: Precision,
    /// Seeds all random streams of the training: order, augmentation.
    pub seed: u64,
}

/// A trained model and its history.
pub struct Fitted {
    pub model: Model,
    pub epochs: Vec<Epoch>,
    pub steps: u64,
}

/// One pass over the data. Loss and accuracy are those of each step before its update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epoch {
    /// Mean over the images.
    pub loss: f64,
    /// The share of correctly classified images.
    pub accuracy: f64,
    /// The learning rate of the last step.
    pub rate: f64,
}

/// Trains `model` on `set` by `method`. The set's classes are matched with the model's by name, and
/// only they compete in the loss.
///
/// # Errors
/// [`Error::Numerical`] if the loss becomes non-finite.
pub fn fit(
    model: Model,
    set: &ImageSet,
    method: &dyn Method,
    plan: &Plan,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Fitted> {
    fit_with(
        model,
        set,
        method,
        plan,
        Precomputed::default(),
        threads,
        observer,
    )
}

/// Precomputed values of the images, one row each.
#[derive(Clone, Debug, Default)]
pub struct Precomputed {
    /// The pooled features f32 `[count, width]` of the backbone; used if it is frozen.
    pub features: Option<Rows>,
    /// The logits f32 `[count, outputs]` of the method's teacher on the unaugmented images; used if
    /// images are not augmented.
    pub teacher: Option<Rows>,
}

/// As [`fit`], without recomputing `known` values.
pub fn fit_with(
    model: Model,
    set: &ImageSet,
    method: &dyn Method,
    plan: &Plan,
    known: Precomputed,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Fitted> {
    check_images(set, &model.config().input)?;
    let work = || run(model, set, method, plan, known, threads, observer);
    parallel::scope(threads, work)
}

fn run(
    model: Model,
    set: &ImageSet,
    method: &dyn Method,
    plan: &Plan,
    known: Precomputed,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Fitted> {
    let (classes, labels) = competing(&model, set)?;
    let mut feed = BatchLoader::new(&model, set, method, plan, known, threads, observer)?;
    let objective = Objective {
        rule: plan.rule,
        weight_decay: plan.weight_decay,
        smoothing: plan.smoothing,
        classes,
        clip: plan.clip,
        precision: plan.precision,
        seed: plan.seed,
    };
    let mut trainer = Trainer::new(model, method, &objective)?;
    let batch = plan.batch.max(1);
    let total = set.len().div_ceil(batch) as u64 * plan.epochs;
    let schedule = Schedule {
        base: plan.rate,
        warmup: plan.warmup.steps(total),
        total,
    };
    let images = set.len() as u64 * plan.epochs;
    let (mut step, mut seen) = (0, 0);
    let mut epochs = Vec::new();
    for number in 0..plan.epochs {
        let order = Stream::new(plan.seed, &format!("order/{number}")).permutation(set.len());
        feed.start(number);
        let mut epoch = Epoch::default();
        for indices in order.chunks(batch) {
            epoch.rate = schedule.rate(step);
            let chosen: Vec<u32> = indices.iter().map(|index| labels[*index]).collect();
            let report = trainer.step(&feed.batch(indices)?, &chosen, epoch.rate)?;
            step += 1;
            if !report.loss.is_finite() {
                return Err(Error::Numerical(format!(
                    "the loss became {} at step {step} of {total} (epoch {}, learning rate {:.3e}); a lower learning rate or a longer warm-up may help",
                    report.loss,
                    number + 1,
                    epoch.rate
                )));
            }
            epoch.loss += report.loss * indices.len() as f64 / set.len() as f64;
            epoch.accuracy += report.correct as f64 / set.len() as f64;
            seen += indices.len() as u64;
            if !observer.advance(seen, images, "images") {
                return Err(Error::Interrupted);
            }
        }
        observer.log(&format!(
            "epoch {}/{}: loss {:.4}, {:.1} % right while training",
            number + 1,
            plan.epochs,
            epoch.loss,
            100.0 * epoch.accuracy
        ));
        epochs.push(epoch);
    }
    if trainer.skipped() > 0 {
        observer.log(&format!(
            "{} of {total} steps were left out because gradients overflowed f16",
            trainer.skipped()
        ));
    }
    let model = trainer.finish()?;
    check_finite(&model)?;
    Ok(Fitted {
        model,
        epochs,
        steps: step,
    })
}

/// The columns of the logits that compete (`None`: all), and each image's label among them.
fn competing(model: &Model, set: &ImageSet) -> Result<(Option<Vec<u32>>, Vec<u32>)> {
    let columns = class_columns(&model.config().classes, &set.classes)?;
    let sorted: Vec<u32> = BTreeSet::from_iter(columns.concat()).into_iter().collect();
    // Each class is in `sorted`, which was built from the same columns. For a class with several
    // columns, the first one is the target.
    let place = |label: &u32| {
        let column = columns[*label as usize]
            .first()
            .copied()
            .unwrap_or_default();
        sorted.partition_point(|other| *other < column) as u32
    };
    let labels = set.labels.iter().map(place).collect();
    let all = sorted.len() == model.config().classes.len();
    Ok(((!all).then_some(sorted), labels))
}

/// The last update may have produced non-finite parameters, which the last loss does not show.
fn check_finite(model: &Model) -> Result<()> {
    for (name, tensor) in model.tensors() {
        if tensor.dtype() != candle_core::DType::F32 {
            continue;
        }
        let values = tensor.flatten_all()?.to_vec1::<f32>()?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Numerical(format!(
                "training diverged: tensor `{name}` is no longer finite"
            )));
        }
    }
    Ok(())
}

/// Creates batches of images, or of precomputed features.
struct BatchLoader<'a> {
    set: &'a ImageSet<'a>,
    normaliser: Normaliser,
    augment: Augment,
    seed: u64,
    stream: Stream,
    known: Precomputed,
    device: Device,
}

/// The maximum size of a teacher's logits in memory, in bytes; if they are larger and not
/// precomputed, the teacher runs for every batch.
const MOST_LOGITS: usize = 1 << 30;

impl<'a> BatchLoader<'a> {
    fn new(
        model: &Model,
        set: &'a ImageSet,
        method: &dyn Method,
        plan: &Plan,
        mut known: Precomputed,
        threads: usize,
        observer: &dyn Observer,
    ) -> Result<Self> {
        if !plan.frozen_backbone {
            known.features = None;
        } else if known.features.is_none() {
            let found = features_of(model, set, 0..set.len(), threads, observer)?;
            known.features = Some(Rows::of_floats(model.config().features(), &found));
        }
        match method.teacher().filter(|_| plan.augment.is_none()) {
            Some(teacher) if known.teacher.is_none() => {
                known.teacher = taught(teacher, set, threads, observer)?;
            }
            Some(_) => {}
            None => known.teacher = None,
        }
        let device = model.device();
        Ok(Self {
            set,
            normaliser: Normaliser::new(&model.config().input, &device),
            augment: plan.augment,
            seed: plan.seed,
            stream: Stream::new(plan.seed, "augment/0"),
            known,
            device,
        })
    }

    fn start(&mut self, epoch: u64) {
        self.stream = Stream::new(self.seed, &format!("augment/{epoch}"));
    }

    fn batch(&mut self, indices: &[usize]) -> Result<Batch> {
        let rows_of = |rows: &Rows| rows_of(rows, indices, &self.device);
        let teacher = self.known.teacher.as_ref().map(rows_of).transpose()?;
        let fed = match &self.known.features {
            Some(features) => BatchInput::Features(rows_of(features)?),
            None => BatchInput::Images(self.images(indices)?),
        };
        Ok(Batch { fed, teacher })
    }

    fn images(&mut self, indices: &[usize]) -> Result<Tensor> {
        if self.augment.is_none() {
            return self.normaliser.batch(self.set, indices);
        }
        let changed = self.augment.apply(self.set, indices, &mut self.stream)?;
        let images = changed.chunks(self.set.image_bytes().max(1));
        let (height, width) = (self.set.height, self.set.width);
        self.normaliser.images(images, height, width)
    }
}

/// The rows `indices` as f32 `[indices, width]`.
fn rows_of(rows: &Rows, indices: &[usize], device: &Device) -> Result<Tensor> {
    let mut values = Vec::new();
    for index in indices {
        values.extend(rows.floats(*index)?);
    }
    let width = values.len() / indices.len().max(1);
    Ok(Tensor::from_vec(values, (indices.len(), width), device)?)
}

/// The logits of a frozen `teacher` on every image, unless they are too large to keep.
fn taught(
    teacher: &Model,
    set: &ImageSet,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Option<Rows>> {
    let outputs = teacher.config().outputs();
    if set.len().saturating_mul(outputs) > MOST_LOGITS / size_of::<f32>() {
        return Ok(None);
    }
    let values = logits_of(teacher, set, 0..set.len(), threads, observer)?;
    Ok(Some(Rows::of_floats(outputs, &values)))
}
