//! Where the nodes of a shared run ran, how long they waited, and what each worker did: from the
//! journals of all its processes. Times of several machines are compared as their clocks give them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use petgraph::Direction;
use petgraph::graph::NodeIndex;

use super::crew::crew_of;
use super::lines::{JournalStart, Lines};
use super::read::{by_change, has_workers, is_alive, journal_of, workers_in};
use super::{Entry, JOURNAL, WorkflowIdentity};
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::fsx::Locks;
use crate::store::Store;
use crate::workflow::graph::Graph;

/// What the journals of a shared run tell of its machines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Machines {
    /// Processes of the run itself that have run nodes, then its workers by name.
    pub workers: Vec<WorkerFacts>,
    /// The last execution of each node, by id.
    executions: BTreeMap<String, Execution>,
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

/// What has become of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Here,
    Left,
    Died,
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

#[derive(Clone, Debug, PartialEq)]
struct Execution {
    worker: Option<String>,
    host: Option<String>,
    /// Seconds since 1970, UTC.
    started: f64,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Failed(f64),
    Running,
    Finished(f64),
}

/// The machines of `run`; `None` if no worker has joined it.
pub fn machines(store: &Store, run: &str) -> Result<Option<Machines>, EngineError> {
    let folder = store.runs().join(run);
    let crew = crew_of(&folder);
    let workers = workers_in(&crew);
    if workers.is_empty() {
        return Ok(None);
    }
    let mut machines = Machines::default();
    machines.take(store.locks(), &crew, None)?;
    if crew != folder {
        machines.take(store.locks(), &folder, None)?;
    }
    for worker in workers {
        let name = worker.file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        machines.take(store.locks(), &worker, Some(name))?;
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
        let is_it = header.is_like(graph)
            && (!workers_in(&crew_of(folder)).is_empty() || entries.any(started));
        is_it.then(|| {
            folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
        })?
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
        let execution = self.executions.get(&graph.dag[node].id)?;
        let inputs = graph.dag.neighbors_directed(node, Direction::Incoming);
        let done = inputs.filter_map(|input| self.done.get(&graph.dag[input].id));
        let ready = done.copied().chain(self.begun).fold(0.0, f64::max);
        Some(Stay {
            worker: execution.worker.clone(),
            host: execution.host.clone(),
            waited_s: (execution.started - ready).max(0.0),
            seconds: match execution.end {
                End::Running => None,
                End::Failed(seconds) | End::Finished(seconds) => Some(seconds),
            },
        })
    }

    /// Reads the journal in `folder`: of the worker `name`, or of a process of the run itself.
    fn take(
        &mut self,
        locks: &Locks,
        folder: &Path,
        name: Option<String>,
    ) -> Result<(), EngineError> {
        let Ok(JournalStart::Journal(_, lines)) = Lines::begin(&folder.join(JOURNAL)) else {
            return Ok(());
        };
        let mut reading = Reading::of(name);
        for Entry { at, what } in lines.values() {
            self.take_event(&mut reading, at, what);
        }
        let Reading {
            mut facts,
            running,
            spans,
        } = reading;
        if facts.presence == Presence::Died && is_alive(locks, folder)? {
            facts.presence = Presence::Here;
        }
        if facts.presence == Presence::Here {
            for (id, started) in running {
                self.add(id, &facts, started, End::Running);
            }
        }
        facts.busy_s = covered(spans);
        if facts.name.is_some() || facts.ran + facts.failed > 0 {
            self.workers.push(facts);
        }
        Ok(())
    }

    fn take_event(&mut self, reading: &mut Reading, at: f64, what: Event) {
        match what {
            Event::RunStarted { threads, host, .. } => {
                reading.facts.cores = threads;
                reading.facts.host = host;
                if reading.facts.name.is_none() {
                    self.begun = Some(self.begun.map_or(at, |begun| begun.min(at)));
                }
            }
            Event::NodeStarted { id, worker, .. } => match worker {
                None => drop(reading.running.insert(id, at)),
                // Its worker has noted that, too.
                Some(_) => drop(reading.running.remove(&id)),
            },
            Event::NodeReused { id, .. } => self.is_done(&id, at),
            Event::NodeFinished { id, wall_s, .. } => {
                self.is_done(&id, at);
                if let Some(started) = reading.ended(&id, at) {
                    reading.facts.ran += 1;
                    self.add(id, &reading.facts, started, End::Finished(wall_s));
                }
            }
            Event::NodeFailed { id, .. } => {
                if let Some(started) = reading.ended(&id, at) {
                    reading.facts.failed += 1;
                    let end = End::Failed((at - started).max(0.0));
                    self.add(id, &reading.facts, started, end);
                }
            }
            Event::Summary(_) => reading.facts.presence = Presence::Left,
            _ => {}
        }
    }

    fn is_done(&mut self, id: &str, at: f64) {
        match self.done.get_mut(id) {
            Some(done) => *done = done.min(at),
            None => drop(self.done.insert(id.to_string(), at)),
        }
    }

    /// A finished execution counts before one that goes on, and that before a failed one; of two, the later.
    fn add(&mut self, id: String, by: &WorkerFacts, started: f64, end: End) {
        let rank = |end: End, started: f64| match end {
            End::Failed(_) => (0, started),
            End::Running => (1, started),
            End::Finished(_) => (2, started),
        };
        let known = self.executions.get(&id);
        if known.is_some_and(|known| rank(known.end, known.started) > rank(end, started)) {
            return;
        }
        let execution = Execution {
            worker: by.name.clone(),
            host: by.host.clone(),
            started,
            end,
        };
        self.executions.insert(id, execution);
    }
}

/// The journal of a process, as far as it has been read.
struct Reading {
    facts: WorkerFacts,
    /// When each node that it runs was started.
    running: HashMap<String, f64>,
    /// From the start to the end of each node that has ended.
    spans: Vec<(f64, f64)>,
}

impl Reading {
    fn of(name: Option<String>) -> Self {
        Self {
            facts: WorkerFacts {
                name,
                host: None,
                cores: 0,
                presence: Presence::Died,
                ran: 0,
                failed: 0,
                busy_s: 0.0,
            },
            running: HashMap::new(),
            spans: Vec::new(),
        }
    }

    /// When a node of this process that has ended was started.
    fn ended(&mut self, id: &str, at: f64) -> Option<f64> {
        let started = self.running.remove(id)?;
        self.spans.push((started, at));
        Some(started)
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
