//! Writing a run's folder.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::json;

use super::name::{log_name, run_id};
use super::{Header, JOURNAL, JOURNAL_FORMAT, LOCK, LOGS, PLAN, RECIPES, Started};
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::fsx::{self, Lock};
use crate::store::Store;
use crate::workflow::graph::Graph;
use crate::workflow::recipe::Recipe;

/// The folder of the run that is going on.
pub struct Journal {
    id: String,
    folder: PathBuf,
    events: BufWriter<File>,
    recipes: Option<BufWriter<File>>,
    _lock: Lock,
}

/// An [`Entry`](super::Entry) that is only written.
#[derive(Serialize)]
struct Noted<'a> {
    at: f64,
    what: &'a Event,
}

impl Journal {
    /// Starts the folder of a new run of `graph`.
    pub fn create(store: &Store, graph: &Graph) -> Result<Self, EngineError> {
        let id = run_id(SystemTime::now());
        let folder = store.runs().join(&id);
        let open = || -> io::Result<(Lock, File)> {
            fsx::make_folders(&folder)?;
            let lock = Lock::acquire(&folder.join(LOCK))?;
            Ok((lock, fsx::create_shared(&folder.join(JOURNAL))?))
        };
        let (lock, file) = open().map_err(|source| EngineError::Journal {
            path: folder.clone(),
            source,
        })?;
        let mut journal = Self {
            id,
            folder,
            events: BufWriter::with_capacity(1 << 16, file),
            recipes: None,
            _lock: lock,
        };
        let header = Header {
            format: JOURNAL_FORMAT,
            workflow: graph.name.clone(),
            profiles: graph.profiles.clone(),
            overrides: graph.overrides.clone(),
            goals: graph.goals.len(),
        };
        let written = line(&mut journal.events, &header);
        journal.check(JOURNAL, written)?;
        Ok(journal)
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// Notes an event. Progress is not kept.
    pub fn note(&mut self, event: &Event) -> Result<(), EngineError> {
        if matches!(event, Event::NodeProgress { .. }) {
            return Ok(());
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let entry = Noted {
            at: since.unwrap_or_default().as_millis() as f64 / 1000.0,
            what: event,
        };
        let written = line(&mut self.events, &entry);
        self.check(JOURNAL, written)
    }

    /// Lets other processes see what was noted.
    pub fn flush(&mut self) -> Result<(), EngineError> {
        let mut flushed = self.events.flush();
        if let Some(recipes) = &mut self.recipes {
            flushed = flushed.and(recipes.flush());
        }
        self.check(JOURNAL, flushed)
    }

    /// Notes that a node is about to start; the first time, also what the whole run is about.
    pub fn starts(&mut self, graph: &Graph, id: &str, recipe: &Recipe) -> Result<(), EngineError> {
        if self.recipes.is_none() {
            let begun = self.write_plan(graph);
            self.check(PLAN, begun)?;
        }
        let Some(file) = &mut self.recipes else {
            return Ok(());
        };
        let started = Started {
            id: id.to_string(),
            recipe: recipe.clone(),
        };
        let written = line(file, &started);
        self.check(RECIPES, written)
    }

    fn write_plan(&mut self, graph: &Graph) -> io::Result<()> {
        fsx::make_folders(&self.folder.join(LOGS))?;
        let nodes = graph.order.iter().map(|&index| {
            let node = &graph.dag[index];
            let needs = node.inputs.iter().map(|input| {
                let members = input.members.iter().map(
                    |member| json!({ "node": graph.dag[member.node].id, "port": member.port }),
                );
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
        let mut file = fsx::create_shared(&self.folder.join(PLAN))?;
        file.write_all(format!("{plan}\n").as_bytes())?;
        let recipes = fsx::create_shared(&self.folder.join(RECIPES))?;
        self.recipes = Some(BufWriter::new(recipes));
        Ok(())
    }

    /// The log of node `id`: absolute, and as it is shown, from the store's folder.
    pub fn log(&self, id: &str) -> (PathBuf, String) {
        let name = log_name(id);
        let shown = format!("runs/{}/{LOGS}/{name}", self.id);
        (self.folder.join(LOGS).join(name), shown)
    }

    /// Where workers write before they have a job.
    pub fn worker_log(&self) -> PathBuf {
        self.folder.join(LOGS).join("workers.txt")
    }

    fn check<T>(&self, file: &str, result: io::Result<T>) -> Result<T, EngineError> {
        result.map_err(|source| EngineError::Journal {
            path: self.folder.join(Path::new(file)),
            source,
        })
    }
}

fn line(file: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *file, value)?;
    file.write_all(b"\n")
}
