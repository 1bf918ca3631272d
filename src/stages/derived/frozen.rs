//! What a frozen model says of a dataset, made once for all nodes that need it.

use std::ops::Range;
use std::sync::Arc;

use super::{Work, features, logits};
use crate::ml;
use crate::ml::data::ImageSet;
use crate::ml::data::pixels::{Rows, Shard};
use crate::ml::models::Model;
use crate::ml::train::infer::{features_of, logits_of};
use crate::stages::task::{Context, TaskError};
use crate::store::artifact::{Dataset, Tensors};

/// A frozen model beside the artifact it was read from, and the images it is shown.
pub struct Frozen<'a> {
    pub model: &'a Model,
    pub tensors: &'a Tensors,
    pub data: &'a Dataset,
    pub set: &'a ImageSet<'a>,
}

impl Frozen<'_> {
    /// The pooled features of all images, shared with whoever needs the same.
    pub fn features(&self, context: &Context) -> Result<Rows, TaskError> {
        let class = &context.derived.device_class;
        let work = features(self.tensors, self.model.config(), self.data, class);
        self.rows(context, &work, |range| {
            features_of(self.model, self.set, range, context.threads, context)
        })
    }

    /// The logits of all images, likewise.
    pub fn logits(&self, context: &Context) -> Result<Rows, TaskError> {
        self.rows(context, &self.logits_work(context), |range| {
            logits_of(self.model, self.set, range, context.threads, context)
        })
    }

    /// The logits if all of them have been made already.
    pub fn logits_if_there(&self, context: &Context) -> Result<Option<Rows>, TaskError> {
        let work = self.logits_work(context);
        match &context.derived.shelf {
            Some(shelf) if work.is_there(shelf) => self.logits(context).map(Some),
            _ => Ok(None),
        }
    }

    fn logits_work(&self, context: &Context) -> Work {
        let class = &context.derived.device_class;
        logits(self.tensors, self.model.config(), self.data, class)
    }

    fn rows(
        &self,
        context: &Context,
        work: &Work,
        compute: impl Fn(Range<usize>) -> ml::Result<Vec<f32>>,
    ) -> Result<Rows, TaskError> {
        let mut make = |range: Range<usize>| -> Result<Vec<u8>, TaskError> {
            let values = compute(range)?;
            Ok(values.iter().flat_map(|it| it.to_le_bytes()).collect())
        };
        let pieces = context.derived.pieces(context, work, &mut make)?;
        let mut shards: Vec<Shard> = Vec::with_capacity(pieces.len());
        for (piece, shard) in pieces.into_iter().enumerate() {
            shards.push(match shard {
                Some(shard) => shard,
                None => Arc::new(make(work.range(piece))?),
            });
        }
        Ok(Rows::new(work.width, work.each, shards))
    }
}
