//! Training and using models: batches, schedules, optimisers, methods of fine-tuning, evaluation.

pub mod batch;
pub mod evaluate;
pub mod infer;

pub use evaluate::{Evaluation, evaluate};
pub use infer::{Features, features};
