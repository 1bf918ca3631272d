//! Features and logits of a frozen model on a dataset, computed once for all nodes that need them.

use std::ops::Range;
use std::sync::Arc;

use super::{Work, features, logits};
use crate::ml;
use crate::ml::data::ImageSet;
use crate::ml::data::pixels::{Rows, Shard};
use crate::ml::models::Model;
use crate::ml::train::infer::{features_of, logits_of};
use crate::stages::task::{Context, TaskError, TaskInput};
use crate::stages::{images, model};
use crate::store::artifact::{Dataset, Tensors};

/// A frozen model with the artifact that it was read from, and the images to evaluate.
pub struct Frozen<'a> {
    model: &'a Model,
    tensors: &'a Tensors,
    data: &'a Dataset,
    set: &'a ImageSet<'a>,
}

/// The maximum size of logits to keep in memory if the cache is full. Above it, running the model
/// again for every batch is better than running out of memory.
const MOST_LOGITS: u64 = 1 << 30;

impl<'a> Frozen<'a> {
    /// The model read from `given`, for the images `set` of `data`.
    pub fn of(
        model: &'a Model,
        given: &'a TaskInput,
        data: &'a TaskInput,
        set: &'a ImageSet<'a>,
    ) -> Result<Self, TaskError> {
        Ok(Self {
            model,
            tensors: model::tensors(given)?,
            data: images::dataset(data)?,
            set,
        })
    }

    /// The pooled features of all images, shared with other nodes.
    pub fn features(&self, context: &Context) -> Result<Rows, TaskError> {
        let class = &context.derived.device_class;
        let work = features(self.tensors, self.model.config(), self.data, class);
        let compute = |range| features_of(self.model, self.set, range, context.threads, context);
        let pieces = pieces(context, &work, compute)?;
        filled(&work, pieces, compute)
    }

    /// The logits of all images, shared likewise; `None` if they are too large.
    pub fn logits(&self, context: &Context) -> Result<Option<Rows>, TaskError> {
        let work = self.logits_work(context);
        let compute = |range| logits_of(self.model, self.set, range, context.threads, context);
        let pieces = pieces(context, &work, compute)?;
        let missing = pieces
            .iter()
            .enumerate()
            .filter(|(_, shard)| shard.is_none());
        let missing: usize = missing.map(|(piece, _)| work.range(piece).len()).sum();
        match (missing * work.width) as u64 {
            missing if missing > MOST_LOGITS => Ok(None),
            _ => filled(&work, pieces, compute).map(Some),
        }
    }

    /// The logits, if all of them have been computed already.
    pub fn logits_if_there(&self, context: &Context) -> Result<Option<Rows>, TaskError> {
        let work = self.logits_work(context);
        match &context.derived.shelf {
            Some(shelf) if work.is_there(shelf) => self.logits(context),
            _ => Ok(None),
        }
    }

    fn logits_work(&self, context: &Context) -> Work {
        let class = &context.derived.device_class;
        logits(self.tensors, self.model.config(), self.data, class)
    }
}

fn pieces(
    context: &Context,
    work: &Work,
    compute: impl Fn(Range<usize>) -> ml::Result<Vec<f32>>,
) -> Result<Vec<Option<Shard>>, TaskError> {
    let mut make = |range: Range<usize>| bytes(&compute, range);
    context.derived.pieces(context, work, &mut make)
}

/// All rows. Those that do not fit in the cache are in memory.
fn filled(
    work: &Work,
    pieces: Vec<Option<Shard>>,
    compute: impl Fn(Range<usize>) -> ml::Result<Vec<f32>>,
) -> Result<Rows, TaskError> {
    let shards = pieces.into_iter().enumerate().map(|(piece, shard)| {
        Ok(match shard {
            Some(shard) => shard,
            None => Arc::new(bytes(&compute, work.range(piece))?) as Shard,
        })
    });
    let shards: Result<Vec<Shard>, TaskError> = shards.collect();
    Ok(Rows::new(work.width, work.each, shards?))
}

fn bytes(
    compute: &impl Fn(Range<usize>) -> ml::Result<Vec<f32>>,
    range: Range<usize>,
) -> Result<Vec<u8>, TaskError> {
    let values = compute(range)?;
    Ok(values.iter().flat_map(|it| it.to_le_bytes()).collect())
}
