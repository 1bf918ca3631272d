//! The distances available in workflows: each declares its name, its documentation and its options,
//! and measures two sets of labelled points. [`DISTANCES`] lists them all.

mod energy;
mod entropic;
mod gaussian;
mod measurement;
mod mmd;
mod otdd;
mod sliced;
mod wasserstein;

use std::sync::LazyLock;

use super::Labelled;
use crate::declaration::{self, Declaration, Declarations, Declared, OptionProblem, Options};
use crate::{Observer, Result};

pub use measurement::Measurement;

/// Every distance; the first one is the default.
pub static DISTANCES: LazyLock<Declarations<dyn DistanceOptions>> = LazyLock::new(|| {
    Declarations::new(vec![
        otdd::OTDD,
        entropic::SINKHORN_DIVERGENCE,
        entropic::SINKHORN,
        wasserstein::WASSERSTEIN,
        gaussian::FRECHET,
        gaussian::BURES,
        mmd::MMD,
        energy::ENERGY,
        sliced::SLICED,
        sliced::S_OTDD,
    ])
});

impl Declared for dyn DistanceOptions {
    const TITLE: &'static str = "Distance";
    const DESCRIPTION: Option<&'static str> = None;

    fn list() -> &'static Declarations<Self> {
        &DISTANCES
    }
}

/// Declares the distance `name` with the options `O`.
const fn declare<O: DistanceOptions + Options + 'static>(
    name: &'static str,
    summary: &'static str,
) -> Declaration<dyn DistanceOptions> {
    Declaration {
        name,
        summary,
        schema: O::json_schema,
        parse: |given| Ok(Box::new(declaration::parse::<O>(given)?)),
        complete: declaration::complete::<O>,
    }
}

/// The options of a distance, and the distance itself.
pub trait DistanceOptions: Send + Sync {
    /// Values that are out of range or contradict each other.
    fn problems(&self) -> Vec<OptionProblem> {
        Vec::new()
    }

    /// Whether points may have weights.
    fn takes_weights(&self) -> bool {
        false
    }

    /// Whether the result has [`Measurement::classes`].
    fn has_classes(&self) -> bool {
        false
    }

    /// Measures the distance between `a` and `b`.
    ///
    /// # Errors
    /// The sets do not fit each other or the distance; no convergence; interruption.
    fn measure(
        &self,
        a: &Labelled,
        b: &Labelled,
        sampling: Sampling,
        observer: &dyn Observer,
    ) -> Result<Measurement>;
}

/// How points of each set are sampled.
#[derive(Clone, Copy, Debug)]
pub struct Sampling {
    /// The maximum number of points of each set.
    pub samples: usize,
    /// Seeds the sampling of points, and of projections of sliced distances.
    pub seed: u64,
    /// Whether every class keeps its share.
    pub stratified: bool,
}

impl Sampling {
    fn draw(&self, set: &Labelled, name: &str) -> Result<Labelled> {
        let purpose = format!("ot sample {name}");
        set.select(&set.sample(self.samples, self.seed, &purpose, self.stratified))
    }

    /// The points of both sets.
    fn of(&self, a: &Labelled, b: &Labelled) -> Result<[Labelled; 2]> {
        Ok([self.draw(a, "a")?, self.draw(b, "b")?])
    }
}

/// The number of points of both sets.
fn counts([a, b]: &[Labelled; 2]) -> [usize; 2] {
    [a.points().count(), b.points().count()]
}

/// Reports that `option` has no effect with `with`, if it is given.
fn conflict(given: bool, option: &'static str, with: &str) -> Option<OptionProblem> {
    given.then(|| OptionProblem::new(option, format!("`{option}` has no effect with `{with}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a workflow file, an option has the same meaning for every distance.
    #[test]
    fn distances_share_an_option_only_with_the_same_declaration() {
        declaration::tests::shared_options_agree::<dyn DistanceOptions>();
    }
}
