//! The bridge to candle-nn: our models as its modules, our update rules as its optimisers, and its
//! modules in our evaluation.
//!
//! Our own training loop uses the tape directly, which is faster; this bridge gives the same
//! numbers. A forward pass is one operation of Candle's graph, whose backward pass is that of our
//! tape ([`crate::ops`]), so every parameter receives a gradient. Candle limits an operation to
//! three arguments; all parameters are therefore joined into one, which costs a copy of them and of
//! their gradients in each step.
//!
//! Knows no fine-tuning methods or datasets.

mod bridge;
mod evaluated;
mod model;
mod optimiser;

pub use evaluated::Evaluated;
pub use model::{EvaluationMode, NnModel, variables};
pub use optimiser::{Settings, Updates};

#[cfg(test)]
mod tests;
