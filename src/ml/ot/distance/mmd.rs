//! Maximum mean discrepancy (Gretton et al. 2012).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DistanceOptions, Measurement, Sampling, counts, declare};
use crate::declaration::Declaration;
use crate::ot::{Labelled, mmd};
use crate::{Observer, Result};

pub(super) const MMD: Declaration<dyn DistanceOptions> = declare::<Mmd>(
    "mmd",
    "Maximum mean discrepancy under a Gaussian kernel, squared and unbiased.",
);

#[derive(Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Mmd {
    /// Squared bandwidth of the kernel; without one the median squared distance.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    bandwidth: Option<f64>,
}

impl DistanceOptions for Mmd {
    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        _observer: &dyn Observer,
    ) -> Result<Measurement> {
        let sets = sampling.of(a, b)?;
        let found = mmd(sets[0].points(), sets[1].points(), self.bandwidth)?;
        Ok(Measurement::plain(found.unbiased, counts(&sets)))
    }
}
