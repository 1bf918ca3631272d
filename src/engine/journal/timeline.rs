//! When each node of a run ran, in which process: from the journals of all its processes. Times of
//! several machines are compared as their clocks give them.

use std::collections::HashMap;
use std::path::Path;

use super::crew::crew_of;
use super::lines::{JournalStart, Lines};
use super::name::name_of;
use super::read::{by_change, folders, is_alive, workers_in};
use super::{Entry, JOURNAL};
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::event::{Event, stage_of};
use crate::fsx::Locks;
use crate::store::Store;

/// The executions of a run. All times are in seconds since 1970, UTC.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    pub workflow: String,
    pub run: String,
    /// The process that began the run, then its workers by name.
    pub processes: Vec<ProcessTimeline>,
}

/// What a process of the run did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProcessTimeline {
    /// `None`: the process of the run itself.
    pub name: Option<String>,
    pub host: Option<String>,
    pub cores: usize,
    pub device: String,
    pub presence: Presence,
    pub began: f64,
    pub ended: f64,
    /// In the order of their ends.
    pub executions: Vec<Execution>,
    /// The results that it found, in the order of their times.
    pub reused: Vec<Reuse>,
}

/// What has become of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    Here,
    Left,
    #[default]
    Died,
}

/// A node whose result was there.
#[derive(Clone, Debug, PartialEq)]
pub struct Reuse {
    pub node: String,
    pub key: Digest,
    pub at: f64,
}

/// A node that ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    pub node: String,
    pub key: Digest,
    pub threads: usize,
    /// How it differs from the newest record of this node.
    pub why: String,
    pub started: f64,
    pub ended: f64,
    pub end: ExecutionEnd,
    /// Seconds; of one that has finished without the publication of its result.
    pub wall_s: f64,
    /// What it cached for other nodes.
    pub derived: Vec<Derivation>,
}

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExecutionEnd {
    Finished,
    Failed,
    /// It goes on.
    Running,
    /// Its process ended before it did.
    Lost,
}

impl Execution {
    /// How long it ran.
    pub fn seconds(&self) -> f64 {
        (self.ended - self.started).max(0.0)
    }

    /// The stage of the node.
    pub fn stage(&self) -> &str {
        stage_of(&self.node)
    }
}

impl Reuse {
    /// The stage of the node.
    pub fn stage(&self) -> &str {
        stage_of(&self.node)
    }
}

/// Derived work: decoded pixels, features, logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Derivation {
    pub what: String,
    pub bytes: u64,
    pub started: f64,
    pub ended: f64,
}

/// The timeline of `run`; of the newest run of the store if that is `None`. `None`: there is no such
/// run.
///
/// # Errors
/// Whether a process lives can't be found out.
pub fn timeline(store: &Store, run: Option<&str>) -> Result<Option<Timeline>, EngineError> {
    let folder = match run {
        None => by_change(store).pop(),
        Some(run) => {
            let mut folders = folders(store).into_iter();
            folders.find(|folder| name_of(folder) == run)
        }
    };
    let folder = folder.map(|folder| timeline_of(store.locks(), &folder));
    folder.transpose()
}

/// The timeline of the run in `folder`.
pub(super) fn timeline_of(locks: &Locks, folder: &Path) -> Result<Timeline, EngineError> {
    let mut timeline = Timeline {
        run: name_of(folder),
        ..Timeline::default()
    };
    // A run that resumes another one shares its workers.
    let crew = crew_of(folder);
    timeline.take(locks, &crew, None)?;
    if crew != *folder {
        timeline.take(locks, folder, None)?;
    }
    for worker in workers_in(&crew) {
        let name = name_of(&worker);
        timeline.take(locks, &worker, Some(name))?;
    }
    Ok(timeline)
}

impl Timeline {
    /// When the first process began; 0 if none did.
    pub fn began(&self) -> f64 {
        let began = self.processes.iter().map(|process| process.began);
        began.reduce(f64::min).unwrap_or_default()
    }

    /// Seconds from the start of the first process to the last entry of any.
    pub fn seconds(&self) -> f64 {
        let ended = self.processes.iter().map(|process| process.ended);
        ended.fold(self.began(), f64::max) - self.began()
    }

    /// All executions.
    pub fn executions(&self) -> impl Iterator<Item = &Execution> {
        self.processes
            .iter()
            .flat_map(|process| &process.executions)
    }

    /// Reads the journal in `folder`.
    fn take(
        &mut self,
        locks: &Locks,
        folder: &Path,
        name: Option<String>,
    ) -> Result<(), EngineError> {
        let Ok(JournalStart::Journal(header, lines)) = Lines::begin(&folder.join(JOURNAL)) else {
            return Ok(());
        };
        self.workflow.clone_from(&header.workflow);
        let mut reading = Reading::default();
        reading.process.name = name;
        for entry in lines.values() {
            reading.take(entry);
        }
        if reading.process.presence == Presence::Died && is_alive(locks, folder)? {
            reading.process.presence = Presence::Here;
        }
        self.processes.extend(reading.finish());
        Ok(())
    }
}

/// The journal of a process, as far as it has been read.
#[derive(Default)]
struct Reading {
    process: ProcessTimeline,
    has_begun: bool,
    running: HashMap<String, Execution>,
}

impl Reading {
    fn take(&mut self, Entry { at, what }: Entry) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.process.began = at;
        }
        self.process.ended = self.process.ended.max(at);
        match what {
            Event::RunStarted {
                threads,
                device,
                host,
                ..
            } => {
                self.process.cores = threads;
                self.process.device = device;
                self.process.host = host;
            }
            Event::NodeStarted {
                id,
                worker: Some(_),
                ..
            } => {
                // Its worker has noted that, too.
                self.running.remove(&id);
            }
            Event::NodeStarted {
                id,
                key,
                threads,
                why,
                worker: None,
            } => {
                let execution = Execution {
                    node: id.clone(),
                    key,
                    threads,
                    why,
                    started: at,
                    ended: at,
                    end: ExecutionEnd::Running,
                    wall_s: 0.0,
                    derived: Vec::new(),
                };
                self.running.insert(id, execution);
            }
            Event::NodeReused { id, key } => self.process.reused.push(Reuse { node: id, key, at }),
            Event::DerivedMade {
                id,
                kind,
                what,
                bytes,
                wall_s,
                ..
            } => {
                if let Some(execution) = self.running.get_mut(&id) {
                    execution.derived.push(Derivation {
                        what: format!("{kind}: {what}"),
                        bytes,
                        started: (at - wall_s).max(execution.started),
                        ended: at,
                    });
                }
            }
            Event::NodeFinished { id, wall_s, .. } => {
                self.end(&id, at, ExecutionEnd::Finished, Some(wall_s));
            }
            Event::NodeFailed { id, .. } => self.end(&id, at, ExecutionEnd::Failed, None),
            Event::Summary(_) => self.process.presence = Presence::Left,
            _ => {}
        }
    }

    fn end(&mut self, id: &str, at: f64, end: ExecutionEnd, wall_s: Option<f64>) {
        if let Some(execution) = self.running.remove(id) {
            self.process.executions.push(Execution {
                ended: at,
                end,
                wall_s: wall_s.unwrap_or((at - execution.started).max(0.0)),
                ..execution
            });
        }
    }

    /// What has been read; `None` if there was no entry. Nodes that have not ended go on or are lost.
    fn finish(mut self) -> Option<ProcessTimeline> {
        let until = self.process.ended;
        let end = match self.process.presence {
            Presence::Here => ExecutionEnd::Running,
            Presence::Left | Presence::Died => ExecutionEnd::Lost,
        };
        let mut open: Vec<Execution> = self.running.into_values().collect();
        open.sort_by(|one, other| one.started.total_cmp(&other.started));
        let open = open.into_iter().map(|execution| Execution {
            ended: until.max(execution.started),
            end,
            wall_s: (until - execution.started).max(0.0),
            ..execution
        });
        self.process.executions.extend(open);
        self.has_begun.then_some(self.process)
    }
}
