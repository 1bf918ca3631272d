//! Runs that several processes share: the plan that a run leaves for workers, and the part that a
//! process takes in a run.
//!
//! A worker that joins is a coordinator of the same graph with the same store: it computes keys,
//! claims what it can run, and publishes. The store is the truth; the journals of the others only say
//! earlier what the store would say.

mod class;
mod plan;

pub use class::place_class;
pub use plan::{
    Invitation, JoinPlan, PLAN_FILE, PlanError, PlannedSource, is_worker_name, latest, read_plan,
};
pub(super) use plan::{leave_plan, resumable, take_back_plan};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::cluster::{ClusterError, Launcher};

/// The part that this process takes in a run.
#[derive(Clone, Debug, Default)]
pub enum Role {
    /// Runs every node; workers may join.
    #[default]
    Local,
    /// Runs tiny nodes only, and leaves all others to workers that join.
    Coordinator,
    /// A worker of another process's run.
    Worker(Arc<WorkerRole>),
}

/// What a run that workers may join knows from the command line alone.
#[derive(Clone, Debug, Default)]
pub struct Invites {
    /// Patterns of the requested nodes; empty: the goals of the file.
    pub targets: Vec<String>,
    /// The names of remotes.
    pub remotes: Vec<String>,
}

/// What a worker runs, and for how long.
#[derive(Debug)]
pub struct WorkerRole {
    pub plan: JoinPlan,
    /// Distinguishes it from the other workers of the run.
    pub name: String,
    /// Leaves after this long without a node to run.
    pub idle: Duration,
    /// When its time is up.
    pub until: Option<Instant>,
    /// Bytes; `None`: of the machine.
    pub mem: Option<u64>,
    /// `None`: as many as its device has.
    pub gpus: Option<u32>,
    /// The only node that it runs.
    pub only: Option<String>,
    /// Becomes true when it must not start another node.
    pub leave: watch::Receiver<bool>,
}

/// Makes what supplies places for workers, for a run and the folder of their logs.
type MakeLauncher = dyn Fn(&str, PathBuf) -> Result<Box<dyn Launcher>, ClusterError> + Send + Sync;

/// What supplies places for workers.
#[derive(Clone)]
pub struct Places(pub Arc<MakeLauncher>);

impl fmt::Debug for Places {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Places")
    }
}
