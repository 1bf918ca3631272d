//! A random subset of a list, determined by a seed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::task::TaskError;
use crate::ml::rng::Stream;

/// `count` images or a `share` of them, without replacement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Subset {
    pub count: Option<usize>,
    /// Above 0 and at most 1; the resulting number is rounded, and at least 1.
    pub share: Option<f64>,
    pub seed: u64,
}

impl Subset {
    pub fn problem(&self) -> Option<&'static str> {
        match (self.count, self.share) {
            (Some(0), None) => Some("`count` must be at least 1"),
            (Some(_), None) => None,
            (None, Some(share)) if share > 0.0 && share <= 1.0 => None,
            (None, Some(_)) => Some("`share` must be above 0 and at most 1"),
            _ => Some("a subset needs either a `count` or a `share`"),
        }
    }

    /// The number of images to take out of `total`.
    pub fn size(&self, total: usize) -> usize {
        let share = |share: f64| ((share * total as f64).round() as usize).max(1);
        self.count.or(self.share.map(share)).unwrap_or(total)
    }

    pub fn take<T>(&self, images: Vec<T>) -> Result<Vec<T>, TaskError> {
        let total = images.len();
        let count = self.size(total);
        if count > total {
            return Err(TaskError::Input(format!(
                "`subset` asks for {count} images, but there are only {total}"
            )));
        }
        let order = Stream::new(self.seed, "dataset subset").permutation(total);
        let mut chosen = vec![false; total];
        order[..count]
            .iter()
            .for_each(|&index| chosen[index] = true);
        Ok(images
            .into_iter()
            .zip(chosen)
            .filter_map(|(image, kept)| kept.then_some(image))
            .collect())
    }
}
