//! What a load takes besides the file: profiles, overrides, targets, limits. Plain data: each step
//! enforces its own limit.

use std::collections::BTreeMap;

use crate::yaml;

/// What `load` may be asked for beside the file.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Left to right.
    pub profiles: Vec<String>,
    /// `PATH=VALUE`, after the profiles, left to right.
    pub sets: Vec<String>,
    /// Patterns of the nodes that are wanted; empty: the goals of the file.
    pub targets: Vec<String>,
    /// Take every stage, whatever goals a profile has.
    pub whole: bool,
    /// The variables that `${env.…}` may read.
    pub environment: BTreeMap<String, String>,
    pub limits: Limits,
}

/// How large a workflow may be.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Of the file.
    pub bytes: u64,
    /// Of nested lists and maps.
    pub depth: usize,
    /// Points of all stages together, before any is skipped.
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
    /// Of the text alone.
    pub fn of_text(&self) -> yaml::Limits {
        yaml::Limits {
            bytes: self.bytes,
            depth: self.depth,
        }
    }
}
