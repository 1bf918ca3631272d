//! Training and using models: batches, schedules, optimisers, fine-tuning methods, evaluation.
//! Knows models and images in memory; reads and writes no files.

pub mod augment;
pub mod batch;
pub mod classes;
pub mod clip;
pub mod evaluate;
pub mod fisher;
pub mod fit;
pub mod hooks;
pub mod infer;
pub mod method;
pub mod optimiser;
pub mod scaler;
pub mod schedule;
#[cfg(test)]
mod tests;
pub mod trainer;

pub use evaluate::{Evaluation, evaluate};
pub use fit::{Fitted, Plan, fit};
