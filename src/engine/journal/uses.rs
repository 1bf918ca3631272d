//! Which runs there are and which keys they name: what the cleaning of a store goes by.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::read::{Lines, folders, is_running, last_change};
use super::{Entry, JOURNAL, JOURNAL_FORMAT, RECIPES, Started};
use crate::digest::Digest;
use crate::engine::event::Event;
use crate::store::gc::Use;
use crate::store::{Store, StoreError};

/// A run of any workflow, going on or over.
#[derive(Clone, Debug)]
pub struct SeenRun {
    pub folder: PathBuf,
    /// Empty where its journal has not begun.
    pub workflow: String,
    pub running: bool,
    /// When it last did something.
    pub last: SystemTime,
    /// Of its nodes that were keyed, by their ids.
    pub keys: BTreeMap<String, Digest>,
    /// Of all that it has named, also under another id.
    pub all_keys: Vec<Digest>,
}

impl SeenRun {
    /// The id of the run: its folder's name.
    pub fn id(&self) -> String {
        let name = self.folder.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}

/// Every run of the store, newest last.
///
/// # Errors
/// A journal of a newer format, since what it names can't be told.
pub fn seen(store: &Store) -> Result<Vec<SeenRun>, StoreError> {
    let folders = folders(store).into_iter().filter(|path| path.is_dir());
    let mut runs: Vec<SeenRun> = folders.map(read).collect::<Result<_, _>>()?;
    runs.sort_by_key(|run| run.last);
    Ok(runs)
}

/// What `runs` use. The newest `keep` of each workflow stay, and those that go on.
pub fn uses(runs: &[SeenRun], keep: usize) -> Vec<Use> {
    let mut newer: BTreeMap<&str, usize> = BTreeMap::new();
    let mut uses = Vec::with_capacity(runs.len());
    for run in runs.iter().rev() {
        let newer = newer.entry(&run.workflow).or_default();
        uses.push(Use {
            folder: run.folder.clone(),
            keys: run.all_keys.clone(),
            last: run.last,
            stays: run.running || (*newer < keep && !run.workflow.is_empty()),
        });
        *newer += 1;
    }
    uses
}

fn read(folder: PathBuf) -> Result<SeenRun, StoreError> {
    let journal = folder.join(JOURNAL);
    check_format(&journal)?;
    check_format(&folder.join(RECIPES))?;
    let mut run = SeenRun {
        workflow: String::new(),
        // What can't be told counts as going on.
        running: is_running(&folder).unwrap_or(true),
        last: last_change(&folder),
        keys: BTreeMap::new(),
        all_keys: Vec::new(),
        folder,
    };
    if let Some((header, lines)) = Lines::open(&journal).and_then(Lines::header) {
        run.workflow = header.workflow;
        for entry in lines.values::<Entry>() {
            if let Event::NodeReused { id, key }
            | Event::NodeStarted { id, key, .. }
            | Event::NodeWaiting { id, key }
            | Event::NodeFinished { id, key, .. } = entry.what
            {
                run.all_keys.push(key);
                run.keys.insert(id, key);
            }
        }
    }
    let started = Lines::open(&run.folder.join(RECIPES));
    for Started { recipe, .. } in started.into_iter().flat_map(Lines::values) {
        run.all_keys.push(recipe.key());
    }
    run.all_keys.sort_unstable();
    run.all_keys.dedup();
    Ok(run)
}

/// What can't be read may name anything, so it must not pass for naming nothing.
fn check_format(journal: &Path) -> Result<(), StoreError> {
    let file = match File::open(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.map_err(unreadable(journal))?,
    };
    let mut line = Vec::new();
    let mut start = BufReader::new(file);
    start
        .read_until(b'\n', &mut line)
        .map_err(unreadable(journal))?;
    // One that was cut off in its first line names nothing.
    let header: serde_json::Value = serde_json::from_slice(&line).unwrap_or_default();
    match header["format"].as_u64() {
        Some(found) if found > u64::from(JOURNAL_FORMAT) => Err(StoreError::NewerRecord {
            path: journal.to_path_buf(),
            found,
        }),
        _ => Ok(()),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> StoreError + '_ {
    |source| StoreError::Io {
        path: path.to_path_buf(),
        source,
    }
}

/// Goes through all that the runs of the store have noted.
pub fn each_event(store: &Store, mut look: impl FnMut(&Event)) {
    for folder in folders(store) {
        let journal = Lines::open(&folder.join(JOURNAL)).and_then(Lines::header);
        for entry in journal
            .into_iter()
            .flat_map(|(_, lines)| lines.values::<Entry>())
        {
            look(&entry.what);
        }
    }
}
