//! Running a model over a dataset without gradients.

use candle_core::Tensor;

use super::batch::{Normaliser, check_images};
use crate::ml::data::ImageSet;
use crate::ml::models::Model;
use crate::ml::ops::parallel;
use crate::ml::{Error, Observer, Result};

/// Images in one forward pass. Part of the results' bits, as matrix products are cut by shape.
const BATCH: usize = 64;

/// Pooled features of a dataset.
#[derive(Clone, Debug)]
pub struct Features {
    /// Row-major `[count, width]`.
    pub values: Vec<f32>,
    pub width: usize,
    pub labels: Vec<u32>,
}

/// The features of every image of `set` before the classifier of `model`, in evaluation mode.
pub fn features(
    model: &Model,
    set: &ImageSet,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Features> {
    let width = model.config().features();
    let run = |images: &Tensor| model.features(images);
    Ok(Features {
        values: sweep(model, set, threads, observer, width, run)?,
        width,
        labels: set.labels.clone(),
    })
}

/// The logits of every image of `set`, row-major `[count, classes]`.
pub(super) fn logits(
    model: &Model,
    set: &ImageSet,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Vec<f32>> {
    let outputs = model.config().outputs();
    let run = |images: &Tensor| model.logits(images);
    sweep(model, set, threads, observer, outputs, run)
}

/// Applies `run` to normalised batches and joins its rows of `width` values.
fn sweep(
    model: &Model,
    set: &ImageSet,
    threads: usize,
    observer: &dyn Observer,
    width: usize,
    run: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync,
) -> Result<Vec<f32>> {
    check_images(set, &model.config().input)?;
    let normaliser = Normaliser::new(&model.config().input, &model.device());
    let indices: Vec<usize> = (0..set.len()).collect();
    let mut values = Vec::with_capacity(set.len() * width);
    parallel::scope(threads, || {
        for batch in indices.chunks(BATCH) {
            let rows = run(&normaliser.batch(set, batch)?)?;
            values.extend(rows.flatten_all()?.to_vec1::<f32>()?);
            let done = (values.len() / width.max(1)) as u64;
            if !observer.advance(done, set.len() as u64, "images") {
                return Err(Error::Interrupted);
            }
        }
        Ok(values)
    })
}
