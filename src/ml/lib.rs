//! The machine-learning library: data, models, training, optimal transport, metrics. Knows nothing
//! about workflows, stores or stages, and can be used on its own.

pub mod data;
pub mod declaration;
pub mod isa;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod ops;
pub mod ot;
pub mod rng;
pub mod train;

use thiserror::Error;

/// Errors of the library.
#[derive(Debug, Error)]
pub enum Error {
    /// A value, shape or configuration is invalid.
    #[error("{0}")]
    Invalid(String),
    /// NaN or infinity, divergence, no convergence.
    #[error("{0}")]
    Numerical(String),
    /// Stopped by the caller's observer.
    #[error("interrupted")]
    Interrupted,
    /// The source of the images failed, with its own error.
    #[error(transparent)]
    Images(Box<dyn std::error::Error + Send + Sync>),
    #[error("{}", device_message(.0))]
    Tensor(#[from] candle_core::Error),
}

/// Candle's message; if GPU memory ran out, with advice.
fn device_message(error: &candle_core::Error) -> String {
    let text = error.to_string();
    match text.contains("OUT_OF_MEMORY") || text.contains("out of memory") {
        true => format!(
            "the GPU has too little memory for this: a smaller `batch` or `precision: bf16` \
             needs less ({text})"
        ),
        false => text,
    }
}

pub type Result<T> = std::result::Result<T, Error>;

/// Observes long computations: receives their progress and can stop them.
pub trait Observer: Send + Sync {
    /// `done` of `total`; return `false` to stop with [`Error::Interrupted`].
    fn advance(&self, done: u64, total: u64, unit: &'static str) -> bool;
    /// A line for the log: a loss, a learning rate, an iteration.
    fn log(&self, line: &str);
}

/// An [`Observer`] that never stops and records nothing.
pub struct Unobserved;

impl Observer for Unobserved {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) -> bool {
        true
    }

    fn log(&self, _line: &str) {}
}
