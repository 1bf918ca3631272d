//! Opens a program of the user in the folder of a node, laid out as a run would.

use std::process::ExitStatus;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::EngineError;
use super::device;
use super::execute::Executor;
use super::job::Job;
use super::job_inputs::{self, InputError};
use super::keys::{Keys, Missing};
use super::roots::Roots;
use super::survey::survey;
use crate::digest::Digest;
use crate::stages::command::{Layout, Session, SessionError};
use crate::stages::registry::Registry;
use crate::stages::task::{Progress, TaskError};
use crate::store::derived_cache::Budget;
use crate::store::{Store, StoreError};
use crate::workflow::graph::Graph;

/// Why a node can't be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error(transparent)]
    Inputs(#[from] InputError),
    /// A node that it takes as an input.
    #[error("{0} has no result yet, which is an input")]
    NoResult(String),
    #[error(transparent)]
    Task(#[from] TaskError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

/// Runs `session` in the folder of `node`, a `command`, until its program ends. `show` gets the
/// layout before.
pub fn enter(
    graph: &Graph,
    store: &Arc<Store>,
    registry: &Registry,
    node: NodeIndex,
    threads: usize,
    session: &Session,
    show: impl FnOnce(&Layout),
) -> Result<ExitStatus, EnterError> {
    let at = &graph.dag[node];
    let survey = survey(graph, store, "cpu")?;
    let class = device::class_named("cpu").map_err(EngineError::from)?;
    let mut keys = Keys::new(graph, store, &class);
    for surveyed in &survey.nodes {
        if let Some(record) = &surveyed.record {
            keys.set_record(surveyed.node, Arc::clone(record));
        }
    }
    let members = at.inputs.iter().flat_map(|input| &input.members);
    for member in members {
        if keys.record(member.node).is_none() {
            return Err(EnterError::NoResult(graph.dag[member.node].id.clone()));
        }
    }
    keys.can_run(node)?;
    let scratch = store.scratch()?;
    let inputs = job_inputs::of(graph, &mut keys, &mut Roots::default(), store, node)?;
    let job = Job {
        id: at.id.clone(),
        // It publishes nothing.
        key: Digest::of(b""),
        kind: at.kind.name().to_string(),
        with: (*at.with).clone(),
        inputs,
        threads,
        device: "cpu".to_string(),
        withheld: false,
        grace: at.resources.grace(),
        derived: Budget::NONE,
        scratch: scratch.path().to_path_buf(),
        failed: scratch.path().join("failed"),
        log: scratch.path().join("log"),
    };
    let executor = Executor {
        store,
        registry,
        device: candle_core::Device::Cpu,
        progress: &Silent,
        cancelled: session.cancelled,
    };
    let opened =
        executor.with_context(&job, |context| Ok(session.run(&job.with, context, show)))?;
    Ok(opened?)
}

/// The log of a session is the terminal.
struct Silent;

impl Progress for Silent {
    fn advance(&self, _done: u64, _total: u64, _unit: &'static str) {}

    fn log(&self, _line: &str) {}
}
