//! Running a model over a dataset without gradients.

use std::ops::Range;

use candle_core::Tensor;

use super::batch::{Normaliser, check_images};
use crate::data::ImageSet;
use crate::models::{Classifier, Model};
use crate::ops::parallel;
use crate::{Error, Observer, Result};

/// Images in one forward pass. Affects the bits of results, because matrix products are divided by
/// shape.
const BATCH: usize = 64;

/// Rows that are computed separately must start at a multiple of this, so that they have the same
/// bits as in a single run.
pub const ROWS_APART: usize = BATCH;

/// The pooled features of some of the images of `set` before the classifier of `model`, in
/// evaluation mode, row-major `[count, width]`; the range starts at a multiple of [`ROWS_APART`].
pub fn features_of(
    model: &Model,
    set: &ImageSet,
    images: Range<usize>,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Vec<f32>> {
    let run = |images: &Tensor| model.features(images);
    gather(model, set, images, threads, observer, run)
}

/// The same for the logits, row-major `[count, classes]`.
pub fn logits_of(
    model: &Model,
    set: &ImageSet,
    images: Range<usize>,
    threads: usize,
    observer: &dyn Observer,
) -> Result<Vec<f32>> {
    let run = |images: &Tensor| model.logits(images);
    gather(model, set, images, threads, observer, run)
}

/// Calls `take` with the logits of each batch of images, `[batch, classes]`, and the index of its
/// first image.
pub(super) fn each_logits(
    model: &dyn Classifier,
    set: &ImageSet,
    threads: usize,
    observer: &dyn Observer,
    take: impl FnMut(usize, &[f32]) -> Result<()> + Send,
) -> Result<()> {
    let run = |images: &Tensor| model.logits(images);
    sweep(model, set, 0..set.len(), threads, observer, run, take)
}

fn gather(
    model: &dyn Classifier,
    set: &ImageSet,
    images: Range<usize>,
    threads: usize,
    observer: &dyn Observer,
    run: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync,
) -> Result<Vec<f32>> {
    let mut values = Vec::new();
    let take = |_: usize, rows: &[f32]| {
        values.extend_from_slice(rows);
        Ok(())
    };
    sweep(model, set, images, threads, observer, run, take)?;
    Ok(values)
}

/// Applies `run` to normalised batches and passes its rows to `take`, in order.
fn sweep(
    model: &dyn Classifier,
    set: &ImageSet,
    images: Range<usize>,
    threads: usize,
    observer: &dyn Observer,
    run: impl Fn(&Tensor) -> Result<Tensor> + Send + Sync,
    mut take: impl FnMut(usize, &[f32]) -> Result<()> + Send,
) -> Result<()> {
    check_images(set, model.input())?;
    debug_assert!(images.start.is_multiple_of(ROWS_APART));
    let normaliser = Normaliser::new(model.input(), &model.device());
    let indices: Vec<usize> = images.collect();
    parallel::scope(threads, || {
        for batch in indices.chunks(BATCH) {
            let rows = run(&normaliser.batch(set, batch)?)?;
            let rows = rows.flatten_all()?.to_vec1::<f32>()?;
            let (first, last) = (batch[0], batch[batch.len() - 1]);
            take(first, &rows)?;
            if !observer.advance(last as u64 + 1, set.len() as u64, "images") {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    })
}
