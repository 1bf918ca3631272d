//! Metrics computed from accuracies and distances: robustness improvement, means with intervals,
//! correlations. Takes and returns plain numbers; randomness is seeded.

pub mod correlation;
pub mod embedding;
pub mod estimate;
pub mod mcnemar;
pub mod rib;
mod scale;
mod student;
