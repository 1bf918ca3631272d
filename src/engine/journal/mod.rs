//! The journal of runs: one folder for each run in the store's `runs/`.
//!
//! ```text
//! runs/<id>/journal.jsonl   what happened, with times; the first line names the workflow
//!           plan.json       nodes and edges; only where something had to run
//!           recipes.jsonl   the recipe of each node that was started, before it was
//!           logs/<node>.log what the node printed
//!           failed/<node>/  the folder of a command that failed, until the workflow's next run
//!           lock            held while the run lives
//!           join.json       what a worker needs to take part in the run
//!           workers/<name>/ the same files of each worker that has joined the run
//!           bell            changes when one of them has noted something
//!           stop            asks these workers to leave
//!           over            nothing is left to run; written by workers, since the first process may be dead
//!           failures/<key>  the nodes that have failed, for the other processes
//!           crew            the id of the run whose workers serve this one, if it resumes that one
//! ```
//!
//! Ids begin with the time, so their order is that of the runs; but a run that finds all results of
//! an earlier one unchanged updates the time of that journal instead ([`renew`]). Nothing here is
//! flushed to disk: after a crash of the machine a journal may end early, and readers use the part
//! that exists. Each line has a checksum, because a cleaning relies on the keys in it.

mod bell;
mod crew;
mod durations;
mod follow;
mod lines;
mod machines;
mod name;
mod read;
mod renew;
mod timeline;
mod uses;
mod write;

pub(super) use bell::Bell;
pub use crew::{SharedFailure, failure_of, go_on, is_stopped, stop};
pub(super) use crew::{has_ended, has_failures, is_over, note_failure, note_over};
pub(super) use durations::stage_seconds;
pub(super) use follow::{Follower, Noted};
pub use machines::{Machines, Stay, WorkerFacts, last_machines, machines};
pub use read::{LastRun, NodeLog, NodeStatus, has_workers, latest, latest_like, log_of};
pub(super) use read::{PastRun, Unfinished, folders, header_of, is_running};
pub use renew::renew;
pub use timeline::{Execution, ExecutionEnd, Presence, ProcessTimeline, Timeline, timeline};
pub use uses::{SeenRun, each_event, seen, uses};
pub(super) use write::Journal;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::event::Event;
use crate::digest::Digest;
use crate::store::Store;
use crate::workflow::graph::Graph;

/// The version of the journal's format that this build writes.
pub const JOURNAL_FORMAT: u32 = 1;

const JOURNAL: &str = "journal.jsonl";
const RECIPES: &str = "recipes.jsonl";
const PLAN: &str = "plan.json";
const LOGS: &str = "logs";
const FAILED: &str = "failed";
const LOCK: &str = "lock";
const WORKERS: &str = "workers";

/// The first line of a journal. A new field requires a new format version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: u32,
    pub workflow: String,
    pub profiles: Vec<String>,
    pub overrides: Vec<String>,
    pub goals: usize,
    /// Distinguishes the workflow's file from others of the same name. Missing in journals of
    /// earlier versions, and if the store has no identity.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<Digest>,
}

impl Header {
    /// Whether the run had the profiles and values of `graph`.
    pub fn is_like(&self, graph: &Graph) -> bool {
        self.profiles == graph.profiles && self.overrides == graph.overrides
    }
}

/// Identifies the workflow of a journal. Edits keep its identity; another file is another workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowIdentity {
    workflow: String,
    place: Option<Digest>,
}

impl WorkflowIdentity {
    pub fn of(graph: &Graph, store: &Store) -> Self {
        Self {
            workflow: graph.name.clone(),
            place: place(&graph.file, store),
        }
    }

    /// Whether a journal may belong to the workflow: journals of earlier versions have only its
    /// name.
    fn wrote(&self, header: &Header) -> bool {
        let same_place = match (self.place, header.place) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        };
        same_place && header.workflow == self.workflow
    }
}

/// Identifies the workflow file at `path`. The path can't be recovered without the store's
/// identity, because journals may be shared.
pub fn place(path: &Path, store: &Store) -> Option<Digest> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let mut hasher = blake3::Hasher::new_keyed(store.id()?.as_bytes());
    hasher.update(b"place of a workflow\n");
    hasher.update(path.as_os_str().as_encoded_bytes());
    Some(Digest::finish(&hasher))
}

/// Every line after the first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Seconds since 1970, UTC.
    pub at: f64,
    pub what: Event,
}

/// One line of `recipes.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StartedNode {
    pub id: String,
    pub recipe: crate::contract::recipe::Recipe,
}
