//! Bundles: a workflow, its lock, records, signatures and optionally blobs in one file, for labs without
//! a common network. A bundle is a zip archive of uncompressed entries, laid out as a store beside a
//! `workflow/` folder, so it is read and written like any other remote. It trusts nothing in an archive
//! and decides nothing about signatures.

mod archive;
mod landing;
mod names;
mod reader;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use landing::{Landing, LandingError};
pub use names::path_fault;
pub use reader::BundleReader;
pub use writer::BundleWriter;

use crate::digest::Digest;

/// The version of the format that this build writes.
pub const BUNDLE_FORMAT: u32 = 1;
pub(super) const ABOUT: &str = "bundle.json";
pub(super) const WORKFLOW: &str = "workflow/";

/// The description of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub ribflow_bundle: u32,
    /// The workflow file, below `workflow/`.
    pub workflow: String,
    /// The profiles of its records, in order of application.
    pub profiles: Vec<String>,
    /// Each `--set` likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<String>,
    /// The digests of the workflow's files, by path below `workflow/`. Bundles of older versions of
    /// ribflow have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, Digest>,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a bundle: {why}", path.display())]
    Format { path: PathBuf, why: String },
    #[error("{relative:?} can't be in a bundle: {why}")]
    Name { relative: String, why: String },
    #[error("{} has format {found}, but this version of ribflow reads {BUNDLE_FORMAT}", path.display())]
    Later { path: PathBuf, found: u32 },
}
