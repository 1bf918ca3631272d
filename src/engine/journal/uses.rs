//! Which runs exist and which keys they use: the basis for cleaning a store.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::lines::{JournalStart, LineError, Lines};
use super::name::name_of;
use super::read::{all_folders, folders, is_running, last_change, workers};
use super::{Entry, Header, JOURNAL, RECIPES, StartedNode};
use crate::contract::recipe::Recipe;
use crate::digest::Digest;
use crate::engine::event::Event;
use crate::fsx::Locks;
use crate::store::gc::RunUse;
use crate::store::{Store, StoreError};

/// A run of any workflow, current or past.
#[derive(Clone, Debug)]
pub struct SeenRun {
    pub folder: PathBuf,
    /// Empty if its journal is empty.
    pub workflow: String,
    /// `None`: its journal is empty.
    pub header: Option<Header>,
    pub running: bool,
    /// It reached all its nodes.
    pub complete: bool,
    /// When it was last active.
    pub last: SystemTime,
    /// Keys by node id, of the nodes that were keyed.
    pub keys: BTreeMap<String, Digest>,
    /// All keys that it has named, including earlier keys of a node.
    pub all_keys: Vec<Digest>,
    /// A file that can't be read completely, and why.
    pub unsound: Option<(PathBuf, String)>,
}

impl SeenRun {
    /// The id of the run: its folder's name.
    pub fn id(&self) -> String {
        name_of(&self.folder)
    }

    /// The workflow with its profiles and overrides, as on the command line.
    pub fn title(&self) -> String {
        let mut title = self.workflow.clone();
        if let Some(header) = &self.header {
            let profiles = header.profiles.iter().map(|name| ("--profile", name));
            let overrides = header.overrides.iter().map(|set| ("--set", set));
            for (option, value) in profiles.chain(overrides) {
                title += &format!(" {option} {value}");
            }
        }
        title
    }

    /// Identifies the file, profiles and overrides; `None` if the journal does not identify the
    /// file.
    pub fn identity(&self) -> Option<(Digest, &[String], &[String])> {
        let header = self.header.as_ref()?;
        Some((header.place?, &header.profiles, &header.overrides))
    }
}

/// Every run of the store, newest last.
///
/// # Errors
/// A journal has a newer format, so its keys can't be determined.
pub fn seen(store: &Store) -> Result<Vec<SeenRun>, StoreError> {
    let folders = all_folders(store).map_err(unreadable(&store.runs()))?;
    let mut runs: Vec<SeenRun> = folders
        .into_iter()
        .map(|folder| read(store.locks(), folder))
        .collect::<Result<_, _>>()?;
    runs.sort_by_key(|run| run.last);
    Ok(runs)
}

/// The keys that `runs` use. Keeps the newest `keep` runs of each workflow, and running ones. A
/// workflow is a file with its profiles and overrides, or, if a journal does not identify the file,
/// a name. A run that did not reach all its nodes does not replace earlier ones.
///
/// # Errors
/// A journal is damaged or can't be read, so its keys can't be determined.
pub fn uses(runs: &[SeenRun], keep: usize) -> Result<Vec<RunUse>, StoreError> {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_identity: BTreeMap<_, usize> = BTreeMap::new();
    let mut uses = Vec::with_capacity(runs.len());
    for run in runs.iter().rev() {
        if let Some((path, why)) = &run.unsound {
            return Err(StoreError::Damaged {
                path: path.clone(),
                remedy: format!(
                    "{why}; the keys of this run are unknown, so nothing is cleaned; without the \
                     folder {} it has none",
                    run.folder.display()
                ),
            });
        }
        let of_name = by_name.entry(&run.workflow).or_default();
        let newer = match run.identity() {
            None => of_name.to_owned(),
            Some(identity) => by_identity.get(&identity).copied().unwrap_or_default(),
        };
        uses.push(RunUse {
            folder: run.folder.clone(),
            keys: run.all_keys.clone(),
            last: run.last,
            stays: run.running || (newer < keep && run.header.is_some()),
        });
        if run.complete {
            *of_name += 1;
            if let Some(identity) = run.identity() {
                *by_identity.entry(identity).or_default() += 1;
            }
        }
    }
    Ok(uses)
}

fn read(locks: &Locks, folder: PathBuf) -> Result<SeenRun, StoreError> {
    let journal = folder.join(JOURNAL);
    let mut run = SeenRun {
        workflow: String::new(),
        header: None,
        // Counts as running if that can't be determined.
        running: is_running(locks, &folder).unwrap_or(true),
        complete: false,
        last: last_change(&folder).map_err(unreadable(&folder))?,
        keys: BTreeMap::new(),
        all_keys: Vec::new(),
        unsound: None,
        folder,
    };
    let (header, lines) = match Lines::begin(&journal) {
        Ok(JournalStart::Nothing) => return Ok(run),
        Ok(JournalStart::Newer(found)) => {
            return Err(StoreError::NewerRecord {
                path: journal,
                found,
            });
        }
        Ok(JournalStart::Journal(header, lines)) => (header, lines),
        Err(why) => {
            run.unsound = Some((journal, why.to_string()));
            return Ok(run);
        }
    };
    run.workflow = header.workflow.clone();
    run.header = Some(*header);
    let mut keys = BTreeSet::new();
    let folder = run.folder.clone();
    run.take_journal(&folder, lines, &mut keys);
    let complete = run.complete;
    for worker in workers(&folder) {
        let journal = worker.join(JOURNAL);
        match Lines::begin(&journal) {
            Ok(JournalStart::Journal(_, lines)) => run.take_journal(&worker, lines, &mut keys),
            Ok(JournalStart::Nothing) => {}
            Ok(JournalStart::Newer(found)) => {
                return Err(StoreError::NewerRecord {
                    path: journal,
                    found,
                });
            }
            Err(why) => run.unsound = Some((journal, why.to_string())),
        }
    }
    run.complete = complete;
    run.all_keys = keys.into_iter().collect();
    Ok(run)
}

impl SeenRun {
    /// Adds the keys of the journal in `folder`: of the run itself, or of a worker.
    fn take_journal(&mut self, folder: &Path, lines: Lines, keys: &mut BTreeSet<Digest>) {
        let recipes = folder.join(RECIPES);
        let checked = lines.are_checked();
        let events = lines.each(|entry: Entry| self.take(entry.what, keys));
        let events = events.map_err(|why| (folder.join(JOURNAL), why));
        let started = each_recipe(&recipes, checked, |recipe| {
            keys.insert(recipe.key());
        });
        let started = started.map_err(|why| (recipes, why));
        if let Err((path, why)) = events.and(started) {
            self.unsound = Some((path, why.to_string()));
        }
    }

    fn take(&mut self, event: Event, keys: &mut BTreeSet<Digest>) {
        match event {
            Event::NodeReused { id, key }
            | Event::NodeStarted { id, key, .. }
            | Event::NodeWaiting { id, key }
            | Event::NodeFinished { id, key, .. } => {
                keys.insert(key);
                self.keys.insert(id, key);
            }
            Event::Summary(summary) => {
                // A run is complete even if a failure has skipped nodes.
                let all = summary.skipped == 0 || summary.failed > 0;
                self.complete = all && !summary.interrupted;
            }
            _ => {}
        }
    }
}

fn each_recipe(path: &Path, checked: bool, mut look: impl FnMut(Recipe)) -> Result<(), LineError> {
    match Lines::open(path, checked)? {
        None => Ok(()),
        Some(lines) => lines.each(|started: StartedNode| look(started.recipe)),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(std::io::Error) -> StoreError + '_ {
    |source| StoreError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// Visits all readable events in the journals of the store.
pub fn each_event(store: &Store, mut look: impl FnMut(&Event)) {
    for folder in folders(store)
        .into_iter()
        .flat_map(|run| workers(&run).into_iter().chain([run]))
    {
        if let Ok(JournalStart::Journal(_, lines)) = Lines::begin(&folder.join(JOURNAL)) {
            lines.values().for_each(|entry: Entry| look(&entry.what));
        }
    }
}
