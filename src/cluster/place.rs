//! What the engine asks of a launcher, and what it learns from one.

use std::path::PathBuf;

use super::ClusterError;

/// Workers that are alike: one job array, or one launch line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PlaceClass {
    /// Short, of `[a-z0-9-]`, different for different classes of a run; part of job names.
    pub name: String,
    /// At least 1.
    pub cpus: u32,
    /// Bytes; `None`: whatever the site gives.
    pub mem: Option<u64>,
    pub gpus: u32,
    /// Seconds that the longest node of the class needs. The place is given for at least this time.
    pub time: Option<u64>,
    /// A place for this node alone (`dedicated: true`).
    pub only: Option<String>,
}

/// The work that one class of workers could do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    pub class: PlaceClass,
    /// Nodes without a result whose inputs have results, those that run now included.
    pub ready: usize,
    /// The expected duration of all of them together, in seconds, if it is known.
    pub seconds: Option<f64>,
}

/// A worker that has joined, by the name that its place gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub name: String,
    /// It has claimed at least one node.
    pub claimed: bool,
    pub presence: Presence,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Its heart beats.
    #[default]
    Here,
    /// It has said that it leaves.
    Left,
    /// Its heart stopped before it said so.
    Lost,
}

/// Something that the user should know about the machines of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub kind: NoticeKind,
    /// One line.
    pub message: String,
    /// The worker that it is about, by name.
    pub worker: Option<String>,
}

impl Notice {
    pub(super) fn new(kind: NoticeKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            worker: None,
        }
    }

    pub(super) fn about(mut self, worker: &str) -> Self {
        self.worker = Some(worker.to_string());
        self
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Places were asked for.
    Submitted,
    /// Places that an earlier coordinator of this run asked for were found.
    Found,
    /// The scheduler refused to give places.
    Refused,
    /// Places are granted later, or never, for the reason in the message.
    Waiting,
    /// The scheduler can't be asked now; nothing is concluded from that.
    Unreachable,
    /// The machine took the place away: its time was up, a node failed, it was preempted, cancelled or
    /// forgotten. Never the failure of a node of the workflow.
    Lost,
    /// A worker ended before it claimed anything.
    Died,
    /// A worker that had claimed nodes ended on its own account (out of memory, a crash): the node that
    /// it ran may be the cause.
    Failed,
}

/// Supplies places. Called from one thread, every few seconds; a call may block for as long as the
/// scheduler takes to answer, at most the time limit of a call.
pub trait Launcher: Send {
    /// Asks for places where `demands` need them. `joined` names all workers of the run that have ever
    /// joined.
    ///
    /// # Errors
    /// An error ends the run: places will not come without a change by the user. The notices about what
    /// led to it were returned by the call before.
    fn supply(
        &mut self,
        demands: &[Demand],
        joined: &[Joined],
    ) -> Result<Vec<Notice>, ClusterError>;

    /// Cancels what has not started; with `all`, what runs, too. Failures are ignored: workers without a
    /// run leave by themselves.
    fn close(&mut self, all: bool);
}

/// The command line of a worker, without what depends on the place.
#[derive(Clone, Debug)]
pub struct WorkerLine {
    /// The run, part of job names: of `[A-Za-z0-9._-]`.
    pub run: String,
    /// The program, by a path that the other machines see, and its first arguments:
    /// `/…/ribflow worker --join RUN --store DIR`.
    pub words: Vec<String>,
    /// Where workers begin; it exists on every machine.
    pub folder: PathBuf,
    /// Where their logs go; it exists on every machine.
    pub logs: PathBuf,
}

impl WorkerLine {
    /// The whole line for a place. `time`: the seconds for which the place is given, if they are known.
    pub(super) fn at(&self, class: &PlaceClass, name: &str, time: Option<u64>) -> Vec<String> {
        let mut words = self.words.clone();
        let mut option = |option: &str, value: String| {
            words.push(option.to_string());
            words.push(value);
        };
        option("--name", name.to_string());
        option("--cpus", class.cpus.to_string());
        option("--gpus", class.gpus.to_string());
        if let Some(mem) = class.mem {
            option("--mem", mem.to_string());
        }
        if let Some(time) = time {
            option("--time", time.to_string());
        }
        if let Some(node) = &class.only {
            option("--only", node.clone());
        }
        words
    }

    /// Where the worker `name` writes its log.
    pub(super) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}
