//! Adapters between a task's context and the machine-learning library: errors and the observer.

use std::sync::atomic::Ordering;

use super::task::{Context, TaskError};
use crate::ml;

impl From<ml::Error> for TaskError {
    fn from(error: ml::Error) -> Self {
        match error {
            ml::Error::Invalid(message) => Self::Input(message),
            ml::Error::Numerical(message) => Self::Failed(message),
            ml::Error::Interrupted => Self::Cancelled,
            ml::Error::Tensor(error) => Self::Tensor(error),
            ml::Error::Images(error) => match error.downcast::<Self>() {
                Ok(own) => *own,
                Err(error) => Self::Input(error.to_string()),
            },
        }
    }
}

/// Observes the library's work: forwards progress, and cancels with the run.
impl ml::Observer for Context<'_> {
    fn advance(&self, done: u64, total: u64, unit: &'static str) -> bool {
        self.progress.advance(done, total, unit);
        !self.cancelled.load(Ordering::Relaxed)
    }

    fn log(&self, line: &str) {
        self.progress.log(line);
    }
}
