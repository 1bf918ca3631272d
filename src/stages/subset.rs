//! A random subset of a list, determined by a seed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::task::TaskError;
use crate::ml::rng::Stream;

/// `count` images or a `share` of them, without replacement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Subset {
    #[schemars(range(min = 1))]
    pub count: Option<usize>,
    /// The share of the images; the resulting number is rounded, and at least 1.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub share: Option<f64>,
    pub seed: u64,
}

impl Subset {
    pub fn problem(&self) -> Option<&'static str> {
        match (self.count, self.share) {
            (Some(_), None) | (None, Some(_)) => None,
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
