//! Distances between the Gaussians fitted to two sets.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DistanceOptions, Measurement, Sampling, counts, declare};
use crate::declaration::Declaration;
use crate::ot::{Gaussian, Labelled, frechet};
use crate::{Observer, Result};

pub(super) const FRECHET: Declaration<dyn DistanceOptions> =
    declare::<Frechet>("frechet", "Distance between Gaussians fitted to the sets.");

pub(super) const BURES: Declaration<dyn DistanceOptions> = declare::<Bures>(
    "bures",
    "Distance between the covariances of these Gaussians only.",
);

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Frechet {}

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Bures {}

impl DistanceOptions for Frechet {
    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        _observer: &dyn Observer,
    ) -> Result<Measurement> {
        let sets = sampling.of(a, b)?;
        let square = frechet(sets[0].points(), sets[1].points())?;
        Ok(Measurement::of_square(square, counts(&sets)))
    }
}

impl DistanceOptions for Bures {
    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        _observer: &dyn Observer,
    ) -> Result<Measurement> {
        let sets = sampling.of(a, b)?;
        let [a, b] = &sets;
        let (a, b) = (Gaussian::fit(a.points())?, Gaussian::fit(b.points())?);
        Ok(Measurement::of_square(
            a.covariance_distance(&b)?,
            counts(&sets),
        ))
    }
}
