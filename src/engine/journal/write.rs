//! Writes a run's folder.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;

use super::crew::CREW;
use super::name::{log_name, run_id};
use super::read::remove_failed;
use super::{
    FAILED, Header, JOURNAL, JOURNAL_FORMAT, LOCK, LOGS, PLAN, RECIPES, StartedNode, WORKERS,
    WorkflowIdentity,
};
use crate::contract::recipe::Recipe;
use crate::digest::check;
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::fsx::calls::{self, File};
use crate::fsx::{self, HeldLock, Locks};
use crate::store::Store;
use crate::workflow::graph::Graph;

/// The journal of the current run. If the store can't be written, nothing is recorded: such a run
/// can only reuse results.
pub struct Journal {
    /// The run that it belongs to.
    id: String,
    folder: PathBuf,
    /// The folder, relative to the store.
    shown: String,
    workflow: WorkflowIdentity,
    locks: Locks,
    /// Whether workers may have joined.
    is_open: bool,
    kept: JournalSink,
}

enum JournalSink {
    Files(Box<Files>),
    /// The reason, as text.
    Nothing(String),
}

/// The files of a run's folder.
struct Files {
    events: BufWriter<File>,
    recipes: Option<BufWriter<File>>,
    /// `None`: it was lost, and is not held again yet.
    lock: Option<HeldLock>,
}

/// An [`Entry`](super::Entry) by reference, for writing.
#[derive(Serialize)]
struct EntryRef<'a> {
    at: f64,
    what: &'a Event,
}

impl Journal {
    /// Starts the folder of a new run of `graph`.
    pub fn create(store: &Store, graph: &Graph) -> Self {
        let id = run_id(SystemTime::now());
        let mut journal = Self {
            folder: store.runs().join(&id),
            shown: format!("runs/{id}"),
            id,
            workflow: WorkflowIdentity::of(graph, store),
            locks: store.locks().clone(),
            is_open: false,
            kept: JournalSink::Nothing(String::new()),
        };
        match fsx::make_folders(&journal.folder).and_then(|()| journal.begin(store, graph)) {
            Ok(files) => journal.kept = JournalSink::Files(Box::new(files)),
            Err(error) => journal.give_up(&error),
        }
        journal
    }

    /// Starts the folder of a worker that joins the run `id` of `graph`.
    ///
    /// # Errors
    /// A worker of this name has joined before, or the store can't be written.
    pub fn join(store: &Store, graph: &Graph, id: &str, worker: &str) -> Result<Self, EngineError> {
        let workers = store.runs().join(id).join(WORKERS);
        let mut journal = Self {
            folder: workers.join(worker),
            shown: format!("runs/{id}/{WORKERS}/{worker}"),
            id: id.to_string(),
            workflow: WorkflowIdentity::of(graph, store),
            locks: store.locks().clone(),
            // Others follow it.
            is_open: true,
            kept: JournalSink::Nothing(String::new()),
        };
        let files = fsx::make_folders(&workers)
            .and_then(|()| calls::create_dir(&journal.folder))
            .and_then(|()| journal.begin(store, graph));
        match files {
            Ok(files) => journal.kept = JournalSink::Files(Box::new(files)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(EngineError::Joined {
                    run: id.to_string(),
                    worker: worker.to_string(),
                });
            }
            Err(source) => {
                return Err(EngineError::Journal {
                    path: journal.folder,
                    source,
                });
            }
        }
        Ok(journal)
    }

    fn begin(&self, store: &Store, graph: &Graph) -> io::Result<Files> {
        let lock = self.locks.acquire(&self.folder.join(LOCK))?;
        store.confirm_locks().map_err(io::Error::other)?;
        let file = fsx::create_shared(&self.folder.join(JOURNAL))?;
        let mut events = BufWriter::with_capacity(1 << 16, file);
        let header = Header {
            format: JOURNAL_FORMAT,
            workflow: graph.name.clone(),
            profiles: graph.profiles.clone(),
            overrides: graph.overrides.clone(),
            goals: graph.goals.len(),
            place: super::place(&graph.file, store),
        };
        line(&mut events, &header)?;
        // Flushed now, so that a full disk is noticed.
        events.flush()?;
        Ok(Files {
            events,
            recipes: None,
            lock: Some(lock),
        })
    }

    /// Stops recording. Removes what was begun, as far as possible.
    fn give_up(&mut self, why: &io::Error) {
        self.kept = JournalSink::Nothing(why.to_string());
        let _ = fsx::remove_tree(&self.folder);
    }

    /// From now on, workers may join: their journals are in the folder of this one.
    pub fn opens(&mut self) {
        self.is_open = true;
    }

    /// Why nothing is recorded, if so.
    pub fn lost(&self) -> Option<&str> {
        match &self.kept {
            JournalSink::Files(_) => None,
            JournalSink::Nothing(why) => Some(why),
        }
    }

    /// # Errors
    /// The journal can't be found any more: its folder was removed.
    pub fn check_presence(&self) -> Result<(), EngineError> {
        let path = self.folder.join(JOURNAL);
        match self.kept {
            JournalSink::Files(_) => match calls::metadata(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let source = io::Error::new(error.kind(), "removed while the run goes on");
                    Err(EngineError::Journal { path, source })
                }
                _ => Ok(()),
            },
            JournalSink::Nothing(_) => Ok(()),
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Notes that the workers of the run `crew` serve this run.
    pub fn serves_with(&self, crew: &str) -> Result<(), EngineError> {
        let path = self.folder.join(CREW);
        let written = fsx::create_shared(&path);
        let written = written.and_then(|mut file| file.write_all(crew.as_bytes()));
        written.map_err(|source| EngineError::Journal { path, source })
    }

    /// The folder that this journal is in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Records an event. Progress is not recorded.
    pub fn note(&mut self, event: &Event) -> Result<(), EngineError> {
        if matches!(event, Event::NodeProgress { .. }) {
            return Ok(());
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let entry = EntryRef {
            at: since.unwrap_or_default().as_millis() as f64 / 1000.0,
            what: event,
        };
        let written = match &mut self.kept {
            JournalSink::Files(files) => line(&mut files.events, &entry),
            JournalSink::Nothing(_) => Ok(()),
        };
        self.check(JOURNAL, written)
    }

    /// Makes the recorded events visible to other processes.
    pub fn flush(&mut self) -> Result<(), EngineError> {
        let JournalSink::Files(files) = &mut self.kept else {
            return Ok(());
        };
        if !files.lock.as_ref().is_some_and(HeldLock::is_held) {
            // Others took a process that was suspended for long for dead. What is left of the old lock goes
            // first: a process does not take what it holds.
            files.lock = None;
            let lock = self.locks.try_acquire(&self.folder.join(LOCK));
            files.lock = lock.ok().flatten();
        }
        let mut flushed = files.events.flush();
        if self.locks.reach_other_hosts() {
            // A file server gets what is written only now.
            flushed = flushed.and_then(|()| files.events.get_ref().sync_data());
        }
        if let Some(recipes) = &mut files.recipes {
            flushed = flushed.and(recipes.flush());
        }
        self.check(JOURNAL, flushed)
    }

    /// Records that a node is about to start; the first time, also the plan of the run.
    pub fn starts(&mut self, graph: &Graph, id: &str, recipe: &Recipe) -> Result<(), EngineError> {
        let started = StartedNode {
            id: id.to_string(),
            recipe: recipe.clone(),
        };
        let (folder, JournalSink::Files(files)) = (&self.folder, &mut self.kept) else {
            return Ok(());
        };
        let recipes = match &mut files.recipes {
            Some(recipes) => Ok(recipes),
            none => {
                remove_failed(&self.locks, folder.parent(), &self.workflow);
                write_plan(folder, graph).map(|recipes| none.insert(recipes))
            }
        };
        let written = recipes.and_then(|recipes| line(recipes, &started));
        self.check(RECIPES, written)
    }

    /// Whether any node has started.
    fn has_started(&self) -> bool {
        matches!(&self.kept, JournalSink::Files(files) if files.recipes.is_some())
    }

    /// The log of node `id`: its absolute path, and the path to display, relative to the store.
    pub fn log(&self, id: &str) -> (PathBuf, String) {
        let name = log_name(id);
        let shown = format!("{}/{LOGS}/{name}", self.shown);
        (self.folder.join(LOGS).join(name), shown)
    }

    /// Where the folder of node `id` is kept if it fails.
    pub fn failed(&self, id: &str) -> PathBuf {
        let name = log_name(id);
        self.folder.join(FAILED).join(name.trim_end_matches(".log"))
    }

    /// Receives the output of workers before they have a job.
    pub fn worker_log(&self) -> PathBuf {
        self.folder.join(LOGS).join("workers.txt")
    }

    fn check(&mut self, file: &str, result: io::Result<()>) -> Result<(), EngineError> {
        match result {
            Err(error) => self.give_up_early(&self.folder.join(file), error),
            Ok(()) => Ok(()),
        }
    }

    /// Gives up the journal because `path` in the store can't be used, as long as nothing has run and
    /// nobody has joined: a run that reuses everything needs none. Later it is an error.
    pub fn give_up_early(&mut self, path: &Path, source: io::Error) -> Result<(), EngineError> {
        if self.has_started() || self.is_open {
            let path = path.to_path_buf();
            return Err(EngineError::Journal { path, source });
        }
        self.give_up(&source);
        Ok(())
    }
}

/// Writes the plan of the run, and creates the file of recipes.
fn write_plan(folder: &Path, graph: &Graph) -> io::Result<BufWriter<File>> {
    fsx::make_folders(&folder.join(LOGS))?;
    let nodes = graph.order.iter().map(|&index| {
        let node = &graph.dag[index];
        let needs = node.inputs.iter().map(|input| {
            let members = input
                .members
                .iter()
                .map(|member| json!({ "node": graph.dag[member.node].id, "port": member.port }));
            (input.name.clone(), members.collect())
        });
        json!({
            "id": node.id,
            "stage": node.stage,
            "kind": node.kind.name(),
            "needs": needs.collect::<serde_json::Map<_, _>>(),
        })
    });
    let plan = json!({
        "format": JOURNAL_FORMAT,
        "workflow": graph.name,
        "nodes": nodes.collect::<Vec<_>>(),
    });
    let mut file = fsx::create_shared(&folder.join(PLAN))?;
    file.write_all(format!("{plan}\n").as_bytes())?;
    let recipes = fsx::create_shared(&folder.join(RECIPES))?;
    Ok(BufWriter::new(recipes))
}

fn line(file: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    file.write_all(&check::line(value)?)
}
