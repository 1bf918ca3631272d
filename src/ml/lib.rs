//! The machine-learning library: data, models, training, optimal transport, metrics.
//! It knows nothing of workflows, stores or stages, and can be used on its own.

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

/// What can go wrong in the library.
#[derive(Debug, Error)]
pub enum Error {
    /// A value, shape or configuration that does not fit.
    #[error("{0}")]
    Invalid(String),
    /// NaN or infinity, divergence, no convergence.
    #[error("{0}")]
    Numerical(String),
    /// Stopped by the caller's observer.
    #[error("interrupted")]
    Interrupted,
    /// What gives the images failed, in its own words.
    #[error(transparent)]
    Images(Box<dyn std::error::Error + Send + Sync>),
    #[error("{}", told(.0))]
    Tensor(#[from] candle_core::Error),
}

/// What Candle says; where the memory of a GPU was not enough, what to do about it.
fn told(error: &candle_core::Error) -> String {
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

/// Watches long work: told how far it is, asked whether to go on.
pub trait Observer: Send + Sync {
    /// `done` of `total`; returns false to stop with [`Error::Interrupted`].
    fn advance(&self, done: u64, total: u64, unit: &'static str) -> bool;
    /// A line worth keeping: a loss, a learning rate, an iteration.
    fn log(&self, line: &str);
}

/// An [`Observer`] that never stops and keeps nothing.
pub struct Unobserved;

impl Observer for Unobserved {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) -> bool {
        true
    }

    fn log(&self, _line: &str) {}
}
