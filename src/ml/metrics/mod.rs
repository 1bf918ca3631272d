//! What is computed from accuracies and distances: robustness improvement, means with intervals,
//! correlations. Plain numbers in, plain numbers out; seeded where chance enters.

pub mod correlation;
pub mod embedding;
pub mod estimate;
pub mod rib;
mod student;
