//! The energy distance (Székely and Rizzo 2013).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DistanceOptions, Measurement, Sampling, counts, declare};
use crate::declaration::Declaration;
use crate::ot::{Labelled, energy};
use crate::{Observer, Result};

pub(super) const ENERGY: Declaration<dyn DistanceOptions> =
    declare::<Energy>("energy", "Energy distance.");

#[derive(Default, Serialize, Deserialize, JsonSchema)]
struct Energy {}

impl DistanceOptions for Energy {
    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        _observer: &dyn Observer,
    ) -> Result<Measurement> {
        let sets = sampling.of(a, b)?;
        let distance = energy(sets[0].points(), sets[1].points(), 0.0)?;
        Ok(Measurement::plain(distance, counts(&sets)))
    }
}
