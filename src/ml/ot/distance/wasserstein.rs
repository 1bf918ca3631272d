//! Exact transport of points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DistanceOptions, Measurement, Sampling, counts, declare};
use crate::declaration::Declaration;
use crate::ot::{Labelled, Power, wasserstein};
use crate::{Observer, Result};

pub(super) const WASSERSTEIN: Declaration<dyn DistanceOptions> =
    declare::<Wasserstein>("wasserstein", "Exact transport of points.");

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Wasserstein {
    /// 1 for W1, 2 for W2.
    #[schemars(range(min = 1, max = 2))]
    power: u32,
}

impl Default for Wasserstein {
    fn default() -> Self {
        Self { power: 2 }
    }
}

impl DistanceOptions for Wasserstein {
    fn takes_weights(&self) -> bool {
        true
    }

    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        observer: &dyn Observer,
    ) -> Result<Measurement> {
        let power = match self.power {
            1 => Power::One,
            _ => Power::Two,
        };
        let sets = sampling.of(a, b)?;
        let [a, b] = &sets;
        let weights = [&a.weights()[..], &b.weights()[..]];
        let found = wasserstein(a.points(), b.points(), Some(weights), power, observer)?;
        Ok(Measurement::of_exact(&found, power, counts(&sets)))
    }
}
