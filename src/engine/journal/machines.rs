//! Where the nodes of a shared run ran, how long they waited, and what each worker did: from the
//! journals of all its processes. Times of several machines are compared as their clocks give them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use super::name::name_of;
use super::read::{by_change, has_workers, journal_of, workers};
use super::timeline::{Execution, ExecutionEnd, Presence, ProcessTimeline, timeline_of};
use super::{Entry, WorkflowIdentity};
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::store::Store;
use crate::workflow::graph::Graph;

/// What the journals of a shared run tell of its machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machines {
    /// Processes of the run itself that have run nodes, then its workers by name.
    pub workers: Vec<WorkerFacts>,
    /// The last execution of each node, by id.
    executions: BTreeMap<String, LastExecution>,
    /// When the run began.
    begun: Option<f64>,
    /// When each node first had a result in this run.
    done: HashMap<String, f64>,
}

/// What a worker has done.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerFacts {
    /// `None`: the process of the run itself.
    pub name: Option<String>,
    /// `None`: the run was begun by a process that does not share it.
    pub host: Option<String>,
    pub cores: usize,
    pub presence: Presence,
    pub ran: usize,
    pub failed: usize,
    /// Seconds in which it has run at least one node, of those that have ended.
    pub busy_s: f64,
}

/// Where a node ran, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Stay {
    /// `None`: the process of the run itself.
    pub worker: Option<String>,
    pub host: Option<String>,
    /// Seconds between its start and the time when its inputs were there and the run had begun.
    pub waited_s: f64,
    /// `None`: it has not ended.
    pub seconds: Option<f64>,
}

/// The last execution of a node, and where it was.
#[derive(Clone, Debug, PartialEq)]
struct LastExecution {
    worker: Option<String>,
    host: Option<String>,
    execution: Execution,
}

/// The machines of `run`; `None` if no worker has joined it.
pub fn machines(store: &Store, run: &str) -> Result<Option<Machines>, EngineError> {
    let folder = store.runs().join(run);
    if workers(&folder).is_empty() {
        return Ok(None);
    }
    let mut machines = Machines::default();
    for process in timeline_of(store.locks(), &folder)?.processes {
        machines.add(process);
    }
    Ok(Some(machines))
}

/// The machines of the newest run with the profiles and values of `graph` that has started a node;
/// `None` if no worker has joined that run.
pub fn last_machines(store: &Store, graph: &Graph) -> Result<Option<Machines>, EngineError> {
    let whose = WorkflowIdentity::of(graph, store);
    let has_run = |folder: &Path| {
        let (header, lines) = journal_of(folder, &whose)?;
        let mut entries = lines.values::<Entry>();
        let started = |entry: Entry| matches!(entry.what, Event::NodeStarted { .. });
        let is_it = header.is_like(graph) && (!workers(folder).is_empty() || entries.any(started));
        is_it.then(|| name_of(folder))
    };
    let folders = by_change(store);
    // Most stores have no run with workers: their journals need not be read.
    if !folders.iter().any(|folder| has_workers(folder)) {
        return Ok(None);
    }
    match folders.iter().rev().find_map(|folder| has_run(folder)) {
        Some(run) => machines(store, &run),
        None => Ok(None),
    }
}

impl Machines {
    /// Where a node ran last; `None` if it did not run in this run.
    pub fn stay(&self, graph: &Graph, node: NodeIndex) -> Option<Stay> {
        let last = self.executions.get(&graph.dag[node].id)?;
        let inputs = graph.dag.neighbors_directed(node, Direction::Incoming);
        let done = inputs.filter_map(|input| self.done.get(&graph.dag[input].id));
        let ready = done.copied().chain(self.begun).fold(0.0, f64::max);
        Some(Stay {
            worker: last.worker.clone(),
            host: last.host.clone(),
            waited_s: (last.execution.started - ready).max(0.0),
            seconds: (last.execution.end != ExecutionEnd::Running).then_some(last.execution.wall_s),
        })
    }

    /// Adds what a process of the run did.
    fn add(&mut self, process: ProcessTimeline) {
        if process.name.is_none() {
            let begun = self.begun.unwrap_or(f64::INFINITY);
            self.begun = Some(begun.min(process.began));
        }
        let ends = |end| process.executions.iter().filter(move |one| one.end == end);
        let ended = ends(ExecutionEnd::Finished).chain(ends(ExecutionEnd::Failed));
        let facts = WorkerFacts {
            name: process.name.clone(),
            host: process.host.clone(),
            cores: process.cores,
            presence: process.presence,
            ran: ends(ExecutionEnd::Finished).count(),
            failed: ends(ExecutionEnd::Failed).count(),
            busy_s: covered(ended.map(|one| (one.started, one.ended)).collect()),
        };
        for reuse in &process.reused {
            self.is_done(&reuse.node, reuse.at);
        }
        for execution in process.executions {
            if execution.end == ExecutionEnd::Finished {
                self.is_done(&execution.node, execution.ended);
            }
            self.add_execution(execution, &facts);
        }
        if facts.name.is_some() || facts.ran + facts.failed > 0 {
            self.workers.push(facts);
        }
    }

    fn is_done(&mut self, id: &str, at: f64) {
        match self.done.get_mut(id) {
            Some(done) => *done = done.min(at),
            None => drop(self.done.insert(id.to_string(), at)),
        }
    }

    /// A finished execution counts before one that goes on, and that before a failed one; of two, the
    /// later. One that was lost does not count.
    fn add_execution(&mut self, execution: Execution, by: &WorkerFacts) {
        let rank = |execution: &Execution| {
            let end = match execution.end {
                ExecutionEnd::Lost => return None,
                ExecutionEnd::Failed => 0,
                ExecutionEnd::Running => 1,
                ExecutionEnd::Finished => 2,
            };
            Some((end, execution.started))
        };
        let known = self.executions.get(&execution.node);
        let known = known.and_then(|known| rank(&known.execution));
        if rank(&execution).is_none_or(|rank| known.is_some_and(|known| known > rank)) {
            return;
        }
        let last = LastExecution {
            worker: by.name.clone(),
            host: by.host.clone(),
            execution,
        };
        self.executions.insert(last.execution.node.clone(), last);
    }
}

/// The length of the union of some intervals.
fn covered(mut spans: Vec<(f64, f64)>) -> f64 {
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut until = f64::NEG_INFINITY;
    let mut sum = 0.0;
    for (start, end) in spans {
        sum += (end - start.max(until)).max(0.0);
        until = until.max(end);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_which_several_nodes_ran_counts_once() {
        assert_eq!(covered(vec![]), 0.0);
        assert_eq!(covered(vec![(5.0, 6.0), (0.0, 3.0), (1.0, 2.0)]), 4.0);
        // A clock that was set back.
        assert_eq!(covered(vec![(2.0, 1.0), (1.5, 4.0)]), 2.5);
    }
}
