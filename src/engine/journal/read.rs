//! Reads the folders of earlier runs, and of the current one. Missing or torn content is skipped: a
//! journal may end in the middle of a line.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::crew::crew_of;
use super::lines::{JournalStart, Lines};
use super::name::{log_name, name_of};
use super::{
    Entry, FAILED, Header, JOURNAL, LOCK, LOGS, RECIPES, StartedNode, WORKERS, WorkflowIdentity,
};
use crate::contract::recipe::Recipe;
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::event::{Event, RunState, Summary};
use crate::fsx::calls;
use crate::fsx::{self, LockState, Locks};
use crate::store::Store;
use crate::workflow::graph::Graph;

/// The state of the newest run of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct LastRun {
    pub id: String,
    pub header: Header,
    /// Its process is alive.
    pub running: bool,
    /// By node id; without nodes that it has not reached.
    pub nodes: BTreeMap<String, NodeStatus>,
    /// The last news of its workers and their places, and the last warning of a shared run.
    pub news: Option<String>,
    is_shared: bool,
    /// How it ended, if it has.
    pub summary: Option<Summary>,
}

/// The last status of a node in a run.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    pub state: RunState,
    /// Seconds since 1970, UTC.
    pub since: f64,
    pub why: String,
    /// The worker that runs it or has run it; `None`: the run's own process.
    pub worker: Option<String>,
}

/// The newest run of a workflow in `store`.
pub fn latest(store: &Store, workflow: &WorkflowIdentity) -> Result<Option<LastRun>, EngineError> {
    latest_where(store, workflow, |_| true)
}

/// The newest run of a workflow in `store` with the profiles and values of `graph`.
pub fn latest_like(
    store: &Store,
    workflow: &WorkflowIdentity,
    graph: &Graph,
) -> Result<Option<LastRun>, EngineError> {
    latest_where(store, workflow, |header| header.is_like(graph))
}

fn latest_where(
    store: &Store,
    workflow: &WorkflowIdentity,
    wanted: impl Fn(&Header) -> bool,
) -> Result<Option<LastRun>, EngineError> {
    let newest = by_change(store).into_iter().rev().find_map(|folder| {
        let (header, lines) = journal_of(&folder, workflow)?;
        wanted(&header).then_some((folder, header, lines))
    });
    let Some((folder, header, lines)) = newest else {
        return Ok(None);
    };
    let mut run = LastRun {
        id: name_of(&folder),
        header,
        running: is_running(store.locks(), &folder)?,
        nodes: BTreeMap::new(),
        news: None,
        is_shared: false,
        summary: None,
    };
    for entry in lines.values::<Entry>() {
        if let Some((id, status)) = run.status(entry) {
            run.nodes.insert(id, status);
        }
    }
    if !is_alive(store.locks(), &folder)? {
        close(&mut run.nodes);
    }
    for worker in workers(&folder) {
        let name = name_of(&worker);
        let mut nodes = statuses_of(&worker, &name);
        if !is_alive(store.locks(), &worker)? {
            close(&mut nodes);
            run.close_at(&name);
        }
        run.merge(nodes);
    }
    Ok(Some(run))
}

/// The statuses that the journal of the worker `name` in `folder` gives.
fn statuses_of(folder: &Path, name: &str) -> BTreeMap<String, NodeStatus> {
    let mut nodes = BTreeMap::new();
    let Ok(JournalStart::Journal(_, lines)) = Lines::begin(&folder.join(JOURNAL)) else {
        return nodes;
    };
    for entry in lines.values::<Entry>() {
        nodes.extend(NodeStatus::of(entry).map(|(id, status)| {
            let worker = Some(name.to_string());
            (id, NodeStatus { worker, ..status })
        }));
    }
    nodes
}

/// Nothing is running in a journal whose process has ended.
fn close(nodes: &mut BTreeMap<String, NodeStatus>) {
    for status in nodes.values_mut() {
        if matches!(status.state, RunState::Running | RunState::Waiting) {
            status.state = RunState::Waiting;
            status.why = "the run ended before it did".to_string();
        }
    }
}

impl LastRun {
    /// The status that an entry gives a node; keeps the summary and the news.
    fn status(&mut self, entry: Entry) -> Option<(String, NodeStatus)> {
        match entry.what {
            Event::Summary(summary) => {
                self.summary = Some(summary);
                None
            }
            Event::RunStarted { host, .. } => {
                self.is_shared = host.is_some();
                None
            }
            Event::Machines { message } => {
                self.news = Some(message);
                None
            }
            // A refusal of the scheduler, a worker that has died.
            Event::Warning { message } if self.is_shared => {
                self.news = Some(message);
                None
            }
            _ => NodeStatus::of(entry),
        }
    }

    /// Nothing is running at a worker that has ended, whatever the run's own journal says.
    fn close_at(&mut self, worker: &str) {
        for status in self.nodes.values_mut() {
            if status.state == RunState::Running && status.worker.as_deref() == Some(worker) {
                status.state = RunState::Waiting;
                status.why = format!("worker {worker} ended before it did");
            }
        }
    }

    /// Adds what a worker's journal says: of several statuses of a node the furthest counts.
    fn merge(&mut self, nodes: BTreeMap<String, NodeStatus>) {
        for (id, status) in nodes {
            match self.nodes.get(&id) {
                Some(known) if known.progress() > status.progress() => {}
                _ => {
                    self.nodes.insert(id, status);
                }
            }
        }
    }
}

impl NodeStatus {
    fn progress(&self) -> u8 {
        match self.state {
            RunState::Waiting | RunState::Skipped => 0,
            RunState::Running => 1,
            RunState::Failed => 2,
            RunState::Done => 3,
        }
    }

    fn of(Entry { at, what }: Entry) -> Option<(String, Self)> {
        let worker = match &what {
            Event::NodeStarted { worker, .. } => worker.clone(),
            _ => None,
        };
        let (id, state, why) = match what {
            Event::NodeReused { id, .. } => (id, RunState::Done, "reused".to_string()),
            Event::NodeFinished { id, wall_s, .. } => {
                (id, RunState::Done, format!("ran for {wall_s:.1} s"))
            }
            Event::NodeStarted { id, why, .. } => (id, RunState::Running, why),
            Event::NodeWaiting { id, .. } => (
                id,
                RunState::Waiting,
                "waits for another process".to_string(),
            ),
            Event::NodeFailed { id, message, .. } => (id, RunState::Failed, message),
            Event::NodeSkipped { id, why } => (id, RunState::Skipped, why),
            Event::RunStarted { .. }
            | Event::NodeProgress { .. }
            | Event::DerivedMade { .. }
            | Event::Warning { .. }
            | Event::Machines { .. }
            | Event::Summary(_) => return None,
        };
        let since = at;
        let status = Self {
            state,
            since,
            why,
            worker,
        };
        Some((id, status))
    }
}

/// The first line of the journal in `folder`, if it can be read.
pub fn header_of(folder: &Path) -> Option<Header> {
    match Lines::begin(&folder.join(JOURNAL)).ok()? {
        JournalStart::Journal(header, _) => Some(*header),
        JournalStart::Nothing | JournalStart::Newer(_) => None,
    }
}

/// The folders of the workers that serve the run in `folder`, by name.
pub(super) fn workers(folder: &Path) -> Vec<PathBuf> {
    workers_in(&crew_of(folder))
}

/// The folders of the workers that have joined the run in `folder` itself.
pub(super) fn workers_in(folder: &Path) -> Vec<PathBuf> {
    fsx::folders(&folder.join(WORKERS)).unwrap_or_default()
}

/// Whether a worker has ever joined the run in `folder`.
pub fn has_workers(folder: &Path) -> bool {
    !workers_in(folder).is_empty()
}

/// Whether the run in `folder`, or a worker that has joined it, is alive.
pub fn is_running(locks: &Locks, folder: &Path) -> Result<bool, EngineError> {
    if is_alive(locks, folder)? {
        return Ok(true);
    }
    for worker in workers(folder) {
        if is_alive(locks, &worker)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the process that writes the journal in `folder` is alive. One of another host may have
/// died a short time ago.
pub fn is_alive(locks: &Locks, folder: &Path) -> Result<bool, EngineError> {
    let path = folder.join(LOCK);
    // To ask for a lock of one host takes it, which would make its file.
    if !locks.reach_other_hosts() && !path.exists() {
        return Ok(false);
    }
    locks
        .state(&path)
        .map(|state| state != LockState::Free)
        .map_err(|source| EngineError::Journal { path, source })
}

/// The folders of all runs in `store`, newest last, as far as they can be listed.
pub fn folders(store: &Store) -> Vec<PathBuf> {
    all_folders(store).unwrap_or_default()
}

/// The folders of all runs in `store`, the last active one last.
pub(super) fn by_change(store: &Store) -> Vec<PathBuf> {
    let mut folders = folders(store);
    // Asked once for each: other runs write meanwhile.
    folders.sort_by_cached_key(|folder| last_change(folder).unwrap_or(SystemTime::UNIX_EPOCH));
    folders
}

/// The folders of all runs in `store`, newest last.
pub(super) fn all_folders(store: &Store) -> io::Result<Vec<PathBuf>> {
    let mut folders = fsx::entries(&store.runs())?;
    folders.retain(|folder| folder.is_dir());
    Ok(folders)
}

/// When the run in `folder` was last active, or another run found its results unchanged.
pub(super) fn last_change(folder: &Path) -> io::Result<SystemTime> {
    let mut last = last_change_of(folder)?;
    for worker in workers(folder) {
        last = last.max(last_change_of(&worker)?);
    }
    Ok(last)
}

fn last_change_of(folder: &Path) -> io::Result<SystemTime> {
    let journal = calls::symlink_metadata(folder.join(JOURNAL));
    match journal.or_else(|_| calls::symlink_metadata(folder)) {
        // A folder that has disappeared meanwhile is not needed.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SystemTime::UNIX_EPOCH),
        metadata => metadata?.modified(),
    }
}

/// The journal in `folder`, if it belongs to `workflow`.
pub(super) fn journal_of(folder: &Path, workflow: &WorkflowIdentity) -> Option<(Header, Lines)> {
    match Lines::begin(&folder.join(JOURNAL)).ok()? {
        JournalStart::Journal(header, lines) => workflow.wrote(&header).then_some((*header, lines)),
        JournalStart::Nothing | JournalStart::Newer(_) => None,
    }
}

/// Removes the folders of commands that failed in earlier runs of `workflow` in the folder `runs`.
pub(super) fn remove_failed(locks: &Locks, runs: Option<&Path>, workflow: &WorkflowIdentity) {
    let entries = runs.map(fsx::entries).and_then(Result::ok);
    for folder in entries.into_iter().flatten() {
        let mut parts = workers(&folder);
        parts.push(folder.clone());
        let mut failed = parts.iter().map(|part| part.join(FAILED));
        // The check is cheap, and few runs have such a folder.
        if failed.any(|failed| failed.is_dir())
            && journal_of(&folder, workflow).is_some()
            && matches!(is_running(locks, &folder), Ok(false))
        {
            for part in parts {
                // Only disk space is lost.
                let _ = fsx::remove_tree(&part.join(FAILED));
            }
        }
    }
}

/// The log of a node.
pub struct NodeLog {
    pub path: PathBuf,
    /// The id of the run that wrote it.
    pub run: String,
    folder: PathBuf,
    node: String,
    locks: Locks,
}

/// The newest log of the node `id` among the runs of `workflow`.
pub fn log_of(store: &Store, workflow: &WorkflowIdentity, id: &str) -> Option<NodeLog> {
    let name = log_name(id);
    let mut logs = Vec::new();
    for run in folders(store) {
        let parts = std::iter::once(run.clone()).chain(workers(&run));
        logs.extend(parts.filter_map(|part| {
            let path = part.join(LOGS).join(&name);
            path.is_file().then(|| (run.clone(), part, path))
        }));
    }
    let last = |part: &Path| last_change_of(part).unwrap_or(SystemTime::UNIX_EPOCH);
    logs.sort_by_cached_key(|(_, part, _)| last(part));
    let mut newest = logs.into_iter().rev();
    let (run, folder, path) = newest.find(|(run, ..)| journal_of(run, workflow).is_some())?;
    Some(NodeLog {
        path,
        run: name_of(&run),
        folder,
        node: id.to_string(),
        locks: store.locks().clone(),
    })
}

impl NodeLog {
    /// Whether the node still runs.
    pub fn is_growing(&self) -> bool {
        if !matches!(is_alive(&self.locks, &self.folder), Ok(true)) {
            return false;
        }
        let Ok(JournalStart::Journal(_, lines)) = Lines::begin(&self.folder.join(JOURNAL)) else {
            return false;
        };
        let mut is_growing = false;
        for Entry { what, .. } in lines.values() {
            match what {
                Event::NodeStarted { id, .. } if id == self.node => is_growing = true,
                Event::NodeFinished { id, .. } | Event::NodeFailed { id, .. }
                    if id == self.node =>
                {
                    is_growing = false;
                }
                _ => {}
            }
        }
        is_growing
    }
}

/// The keys and recipes of an earlier run.
#[derive(Debug, Default)]
pub struct PastRun {
    /// By node id.
    pub keys: HashMap<String, Digest>,
    /// The recipes of the nodes that it started.
    pub recipes: HashMap<Digest, Recipe>,
    /// The nodes that it started and did not finish, by id.
    pub unfinished: HashMap<String, Unfinished>,
}

/// Why a node that was started has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished {
    Failed,
    Interrupted,
}

impl PastRun {
    /// `None`: not a run of `workflow`.
    pub fn read(folder: &Path, workflow: &WorkflowIdentity) -> Option<Self> {
        let mut past = Self::default();
        let (_, lines) = journal_of(folder, workflow)?;
        past.take(folder, lines);
        for worker in workers(folder) {
            if let Some((_, lines)) = journal_of(&worker, workflow) {
                past.take(&worker, lines);
            }
        }
        Some(past)
    }

    fn take(&mut self, folder: &Path, lines: Lines) {
        let past = self;
        let checked = lines.are_checked();
        for entry in lines.values::<Entry>() {
            match entry.what {
                Event::NodeStarted { id, key, .. } => {
                    past.unfinished.insert(id.clone(), Unfinished::Interrupted);
                    past.keys.insert(id, key);
                }
                Event::NodeReused { id, key } | Event::NodeWaiting { id, key } => {
                    past.keys.insert(id, key);
                }
                Event::NodeFailed { id, .. } => {
                    past.unfinished.insert(id, Unfinished::Failed);
                }
                Event::NodeFinished { id, .. } => {
                    past.unfinished.remove(&id);
                }
                _ => {}
            }
        }
        let started = Lines::open(&folder.join(RECIPES), checked).ok().flatten();
        for StartedNode { recipe, .. } in started.into_iter().flat_map(Lines::values) {
            past.recipes.insert(recipe.key(), recipe);
        }
    }
}
