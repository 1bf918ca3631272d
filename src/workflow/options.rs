//! Inputs of a load besides the file: profiles, overrides, targets, limits. Plain data: each step
//! enforces its own limit.

use std::collections::BTreeMap;

use crate::yaml;

/// Options of `load`.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Left to right.
    pub profiles: Vec<String>,
    /// `PATH=VALUE`, after the profiles, left to right.
    pub sets: Vec<String>,
    /// Patterns of the requested nodes; empty: the goals of the file.
    pub targets: Vec<String>,
    /// Include every stage, regardless of a profile's goals.
    pub whole: bool,
    /// Report files of the workflow that are missing.
    pub check_files: bool,
    /// The variables that `${env.…}` may read.
    pub environment: BTreeMap<String, String>,
    pub limits: Limits,
}

/// Limits on the size of a workflow.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The size of the file.
    pub bytes: u64,
    /// The depth of nested lists and maps.
    pub depth: usize,
    /// The number of points of all stages together, before any is skipped.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let yaml::Limits { bytes, depth } = yaml::Limits::default();
        Self {
            bytes,
            depth,
            nodes: 1_000_000,
        }
    }
}

impl Limits {
    /// The limits that apply to the text alone.
    pub fn of_text(&self) -> yaml::Limits {
        yaml::Limits {
            bytes: self.bytes,
            depth: self.depth,
        }
    }
}
