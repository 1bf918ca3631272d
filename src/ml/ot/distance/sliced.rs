//! Mean transport over one-dimensional projections: of points, and of labelled points.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DistanceOptions, Measurement, Sampling, counts, declare};
use crate::declaration::Declaration;
use crate::ot::{LabelProjections, Labelled, directions, s_otdd, sliced_weighted};
use crate::rng::Stream;
use crate::{Error, Observer, Result};

pub(super) const SLICED: Declaration<dyn DistanceOptions> =
    declare::<Sliced>("sliced", "Mean transport over one-dimensional projections.");

pub(super) const S_OTDD: Declaration<dyn DistanceOptions> =
    declare::<SOtdd>("s_otdd", "The same for labelled points.");

/// Moments beyond this order overflow for anything but small features.
const LARGEST_ORDER: u32 = 8;

/// The error of a mean over projections falls with the root of their number.
const MOST_PROJECTIONS: usize = 100_000;

/// The order of a moment is random and at most [`LARGEST_ORDER`]: more moments repeat the others.
const MOST_MOMENTS: usize = 100;

/// The most numbers in the directions of all projections: 8 GiB.
const MOST_NUMBERS: usize = 1 << 30;

/// Refuses directions that take too much memory.
fn check_size(projections: usize, dimension: usize) -> Result<()> {
    if projections.saturating_mul(dimension) <= MOST_NUMBERS {
        return Ok(());
    }
    Err(Error::Invalid(format!(
        "{projections} projections of {dimension} coordinates take more than 8 GiB; at most {} are \
         possible, or use the features of a model instead of pixels",
        MOST_NUMBERS / dimension.max(1)
    )))
}

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Sliced {
    /// Number of projections.
    #[schemars(range(min = 1, max = MOST_PROJECTIONS))]
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
        check_size(self.projections, a.points().dimension())?;
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
    #[schemars(range(min = 1, max = MOST_PROJECTIONS))]
    projections: usize,
    /// Number of moments that distinguish classes.
    #[schemars(range(max = MOST_MOMENTS))]
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
        check_size(count, dimension)?;
        let draws =
            LabelProjections::draw(count, dimension, self.moments, LARGEST_ORDER, sampling.seed);
        Ok(Measurement::of_projections(
            &s_otdd(a, b, &draws)?,
            counts(&sets),
        ))
    }
}
