//! Shared code of the kinds that train: outputs, steps, and the warm-up.

use std::collections::BTreeMap;
use std::time::Instant;

use serde_json::json;

use super::model;
use super::price::ShortTraining;
use super::task::{Context, Outputs, TaskError};
use crate::contract::port::{OutputSpec, PortType};
use crate::ml::train::fit::{Epoch, Fitted, Plan};
use crate::store::artifact::{Artifact, Better, Metric, Metrics, Table};
use crate::workflow::kind::ParameterProblem;

/// The most passes over the data.
pub(super) const MOST_EPOCHS: u64 = 1_000_000;

/// The most pixels that an image is shifted by.
pub(super) const MOST_SHIFT: usize = 1024;

/// `model`, the last epoch's `metrics`, and the `history` of all epochs.
pub(super) fn outputs() -> Vec<OutputSpec> {
    vec![
        OutputSpec::new("model", PortType::Model),
        OutputSpec::metrics("metrics", &["loss", "train_accuracy", "images", "steps"]),
        OutputSpec::new("history", PortType::Table),
    ]
}

/// Records a training, for its outputs.
pub(super) struct TrainingRecorder<'a> {
    context: &'a Context<'a>,
    /// The number of images processed, over all epochs.
    images: u64,
    started: Instant,
}

impl<'a> TrainingRecorder<'a> {
    pub(super) fn start(context: &'a Context<'a>, epochs: u64, images: usize) -> Self {
        Self {
            context,
            images: epochs * images as u64,
            started: Instant::now(),
        }
    }

    pub(super) fn finish(self, fitted: Fitted) -> Result<Outputs, TaskError> {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (self.images as f64 / seconds.max(1e-9)).round();
        let last = fitted.epochs.last().copied().unwrap_or_default();
        let metrics = metrics(last, self.images, fitted.steps);
        let model = model::write(self.context, &fitted.model)?;
        Ok(Outputs::one("model", model)
            .and("metrics", Artifact::Metrics(metrics))
            .and("history", Artifact::Table(history(&fitted.epochs)))
            .note("images_per_second", rate))
    }
}

fn metrics(last: Epoch, images: u64, steps: u64) -> Metrics {
    let toward = |metric: Metric, better: Better| Metric {
        better: Some(better),
        ..metric
    };
    let loss = toward(Metric::new(last.loss, "nats"), Better::Lower);
    let accuracy = Metric::new(100.0 * last.accuracy, "percent");
    let values = BTreeMap::from([
        ("loss".to_string(), loss),
        (
            "train_accuracy".to_string(),
            toward(accuracy, Better::Higher),
        ),
        ("images".to_string(), Metric::new(images as f64, "images")),
        ("steps".to_string(), Metric::new(steps as f64, "steps")),
    ]);
    Metrics { values }
}

fn history(epochs: &[Epoch]) -> Table {
    let row = |(index, epoch): (usize, &Epoch)| {
        vec![
            json!(index + 1),
            json!(epoch.loss),
            json!(100.0 * epoch.accuracy),
            json!(epoch.rate),
        ]
    };
    Table {
        columns: ["epoch", "loss", "train_accuracy", "lr"]
            .map(String::from)
            .to_vec(),
        rows: epochs.iter().enumerate().map(row).collect(),
    }
}

/// The number of steps of a training on `images` images.
pub(super) fn steps(plan: &Plan, images: u64) -> u64 {
    let batches = images.div_ceil(plan.batch.max(1) as u64);
    plan.epochs.saturating_mul(batches)
}

/// Whether a training on `images` images ends before the end of its warm-up.
pub(super) fn short(plan: &Plan, images: u64) -> Option<ShortTraining> {
    let steps = steps(plan, images);
    let warmup = plan.warmup.steps(steps);
    // Without images, the training itself fails.
    (steps > 0 && steps < warmup).then_some(ShortTraining { steps, warmup })
}

/// Checks that `warmup` is a share below 1 or a whole number.
pub(super) fn check_warmup(value: f64) -> Option<ParameterProblem> {
    let fits = value < 1.0 || value.fract() == 0.0;
    let message = "`warmup` must be a share below 1 or a whole number of steps";
    (!fits).then(|| ParameterProblem::value("warmup", message))
}
