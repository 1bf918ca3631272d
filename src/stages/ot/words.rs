//! The words of `ot`'s parameters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// Optimal transport of points with labels.
    #[default]
    Otdd,
    /// Entropic transport of points, debiased.
    SinkhornDivergence,
    /// Entropic transport of points, as it is.
    Sinkhorn,
    /// Exact transport of points.
    Wasserstein,
    /// Between the Gaussians fitted to the sets.
    Frechet,
    /// Between the covariances of those Gaussians alone.
    Bures,
    /// Maximum mean discrepancy under a Gaussian kernel, squared and unbiased.
    Mmd,
    /// Energy distance.
    Energy,
    /// Mean transport over projections on the line.
    Sliced,
    /// The same of points with labels.
    SOtdd,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SolverMode {
    /// To `tolerance`, or the node fails.
    #[default]
    Converged,
    /// As microsoft/otdd does by way of geomloss: one walk down a schedule, unconverged.
    Reference,
    /// Without an entropic term (otdd).
    Exact,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Classes {
    /// Between the Gaussians fitted to them.
    #[default]
    Gaussian,
    /// Between those without their correlations.
    Diagonal,
    /// An upper bound of it.
    UpperBound,
    /// Entropic transport of their points.
    Points,
    /// Exact transport of their points.
    Exact,
}

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

impl Distance {
    pub const ALL: [Self; 10] = [
        Self::Otdd,
        Self::SinkhornDivergence,
        Self::Sinkhorn,
        Self::Wasserstein,
        Self::Frechet,
        Self::Bures,
        Self::Mmd,
        Self::Energy,
        Self::Sliced,
        Self::SOtdd,
    ];

    /// As it is written, and what its metric is called among `rivals`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Otdd => "otdd",
            Self::SinkhornDivergence => "sinkhorn_divergence",
            Self::Sinkhorn => "sinkhorn",
            Self::Wasserstein => "wasserstein",
            Self::Frechet => "frechet",
            Self::Bures => "bures",
            Self::Mmd => "mmd",
            Self::Energy => "energy",
            Self::Sliced => "sliced",
            Self::SOtdd => "s_otdd",
        }
    }

    /// Whether points may weigh differently.
    pub fn takes_weights(self) -> bool {
        use Distance::*;
        matches!(
            self,
            Otdd | SinkhornDivergence | Sinkhorn | Wasserstein | Sliced | SOtdd
        )
    }

    /// Those that take weights, in words.
    pub fn weighted() -> String {
        let names = Self::ALL.into_iter().filter(|it| it.takes_weights());
        let names: Vec<String> = names.map(|it| format!("`{}`", it.name())).collect();
        names.join(", ")
    }
}
