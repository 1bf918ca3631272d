//! Errors of benchmarks.

use std::path::{Path, PathBuf};

use crate::ml;
use crate::ml::data::decode::DecodeError;
use crate::store::{BlobError, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("there is no benchmark `{name}`")]
    Unknown { name: String, hint: String },
    #[error(transparent)]
    Work(#[from] ml::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("{}: {error}", path.display())]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("{}: {error}", path.display())]
    Image { path: PathBuf, error: DecodeError },
    #[error("there is no JPEG file in {}", .0.display())]
    NoImages(PathBuf),
    #[error("the run that is measured failed: {0}")]
    Run(String),
}

impl BenchError {
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |error| Self::Io { path, error }
    }
}

impl From<candle_core::Error> for BenchError {
    fn from(error: candle_core::Error) -> Self {
        Self::Work(error.into())
    }
}
