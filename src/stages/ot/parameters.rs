//! The words of `ot`'s parameters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// Every point the same, or what an array `weights` says.
    #[default]
    Points,
    /// Every class the same, its points sharing evenly.
    Classes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mask {
    /// Classes that both sets have.
    Common,
}

/// Measures the distance again and again on points drawn anew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Interval {
    pub by: Resampling,
    /// How often; at least 20.
    pub repeats: usize,
    /// The share of every class that a subsample keeps (subsample).
    pub share: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Resampling {
    /// Fewer points, none twice.
    #[default]
    Subsample,
    /// As many points of every class, with replacement.
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
