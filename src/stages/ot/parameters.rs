//! The types of `ot`'s parameters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// Equal weights, or the array `weights` if there is one.
    #[default]
    Points,
    /// Equal weights for all classes, shared evenly by their points.
    Classes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// The classes that both sets have.
    Common,
}

/// Measures the distance repeatedly on resampled points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Interval {
    pub by: Resampling,
    /// The number of repeats.
    #[schemars(range(min = 20, max = 10_000))]
    pub repeats: usize,
    /// With `subsample`: the share of every class to keep.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub share: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resampling {
    /// A subsample of the points, without replacement.
    #[default]
    Subsample,
    /// A bootstrap sample: the same number of points of every class, with replacement.
    Bootstrap,
}

impl Default for Interval {
    fn default() -> Self {
        Self {
            by: Resampling::default(),
            repeats: 50,
            share: 0.5,
        }
    }
}
