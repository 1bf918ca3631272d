//! The journal of runs: one folder a run under the store's `runs/`.
//!
//! ```text
//! runs/<id>/journal.jsonl   what happened, with times; the first line names the workflow
//!           plan.json       nodes and edges; only where something had to run
//!           recipes.jsonl   the recipe of each node that was started, before it was
//!           logs/<node>.log what the node printed
//!           lock            held while the run lives
//! ```
//!
//! Ids begin with the time, so their order is that of the runs; but a run that finds all as an
//! earlier one left it makes the journal of that one young again ([`renew`]). Nothing here is flushed to the
//! disk: after a crash of the machine a journal may end early, and readers take what is there.

mod name;
mod read;
mod renew;
mod uses;
mod write;

pub use read::{LastRun, NodeStatus, latest};
pub(super) use read::{Past, folders};
pub use renew::renew;
pub use uses::{SeenRun, each_event, seen, uses};
pub(super) use write::Journal;

use serde::{Deserialize, Serialize};

use super::event::Event;

/// The version of the journal's format that this build writes.
pub const JOURNAL_FORMAT: u32 = 1;

const JOURNAL: &str = "journal.jsonl";
const RECIPES: &str = "recipes.jsonl";
const PLAN: &str = "plan.json";
const LOGS: &str = "logs";
const LOCK: &str = "lock";

/// The first line of a journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    pub format: u32,
    pub workflow: String,
    pub profiles: Vec<String>,
    pub overrides: Vec<String>,
    pub goals: usize,
}

/// Every further line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970, UTC.
    pub at: f64,
    pub what: Event,
}

/// One line of `recipes.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Started {
    pub id: String,
    pub recipe: crate::workflow::recipe::Recipe,
}
