//! Mean transport over one-dimensional projections: of points, and of labelled points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DistanceOptions, Measurement, Sampling, counts, declare};
use crate::declaration::Declaration;
use crate::ot::{LabelProjections, Labelled, directions, s_otdd, sliced_weighted};
use crate::rng::Stream;
use crate::{Observer, Result};

pub(super) const SLICED: Declaration<dyn DistanceOptions> =
    declare::<Sliced>("sliced", "Mean transport over one-dimensional projections.");

pub(super) const S_OTDD: Declaration<dyn DistanceOptions> =
    declare::<SOtdd>("s_otdd", "The same for labelled points.");

/// Moments beyond this order overflow for anything but small features.
const LARGEST_ORDER: u32 = 8;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Sliced {
    /// Number of projections.
    #[schemars(range(min = 1))]
    projections: usize,
}

impl Default for Sliced {
    fn default() -> Self {
        Self { projections: 1_000 }
    }
}

impl DistanceOptions for Sliced {
    fn takes_weights(&self) -> bool {
        true
    }

    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        _observer: &dyn Observer,
    ) -> Result<Measurement> {
        let sets = sampling.of(a, b)?;
        let [a, b] = &sets;
        let mut stream = Stream::new(sampling.seed, "ot projections");
        let directions = directions(self.projections, a.points().dimension(), &mut stream);
        let weights = [&a.weights()[..], &b.weights()[..]];
        let found = sliced_weighted((a.points(), b.points()), weights, &directions)?;
        Ok(Measurement::of_projections(&found, counts(&sets)))
    }
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct SOtdd {
    /// Number of projections.
    #[schemars(range(min = 1))]
    projections: usize,
    /// Number of moments that distinguish classes.
    moments: usize,
}

impl Default for SOtdd {
    fn default() -> Self {
        Self {
            projections: 1_000,
            moments: 5,
        }
    }
}

impl DistanceOptions for SOtdd {
    fn takes_weights(&self) -> bool {
        true
    }

    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        _observer: &dyn Observer,
    ) -> Result<Measurement> {
        let sets = sampling.of(a, b)?;
        let [a, b] = &sets;
        let (count, dimension) = (self.projections, a.points().dimension());
        let draws =
            LabelProjections::draw(count, dimension, self.moments, LARGEST_ORDER, sampling.seed);
        Ok(Measurement::of_projections(
            &s_otdd(a, b, &draws)?,
            counts(&sets),
        ))
    }
}
