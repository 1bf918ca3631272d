//! Follows the journals of the other processes of a run: of the run itself, and of the workers that
//! have joined it. Each is read from where the last look ended, so that a look costs one listing and
//! one open file for each process, whatever the length of the journals.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::read::{is_alive, workers_in};
use super::{Entry, JOURNAL, WORKERS};
use crate::digest::check;
use crate::engine::event::Event;
use crate::fsx::{self, Locks};

/// The longest part of a journal that one look reads.
const MOST_AT_ONCE: u64 = 16 << 20;

/// The other processes of a run.
pub struct Follower {
    /// The folder of the run.
    folder: PathBuf,
    /// The folder of this process's own journal.
    own: PathBuf,
    followed: BTreeMap<PathBuf, Followed>,
    has_looked: bool,
    locks: Locks,
}

/// What is known of the journal of another process.
#[derive(Default)]
struct Followed {
    /// The part that has been read.
    read: u64,
    /// Whether its first line, the header, has been read.
    begun: bool,
    /// Its process has noted its end.
    ended: bool,
    /// Its process was found dead, and has noted nothing since.
    dead: bool,
}

/// What another process has noted.
pub struct Noted {
    /// The name of the worker; `None`: the process that began the run.
    pub worker: Option<String>,
    pub what: Event,
    /// It was noted before the first look at the run.
    pub is_old: bool,
}

impl Follower {
    /// Follows the run in `folder`, except for the journal in the folder `own`.
    pub fn new(locks: &Locks, folder: PathBuf, own: &Path) -> Self {
        Self {
            folder,
            own: own.to_path_buf(),
            followed: BTreeMap::new(),
            has_looked: false,
            locks: locks.clone(),
        }
    }

    /// The number of processes that are not known to have ended or died.
    pub fn living(&self) -> usize {
        let all = self.followed.values();
        all.filter(|one| !one.ended && !one.dead).count()
    }

    /// What the others have noted since the last call, each in its order. A journal that can't be
    /// read now is read later.
    pub fn look(&mut self) -> Vec<Noted> {
        for folder in workers_in(&self.folder)
            .into_iter()
            .chain([self.folder.clone()])
        {
            if folder != self.own {
                self.followed.entry(folder).or_default();
            }
        }
        let mut noted = Vec::new();
        for (folder, followed) in &mut self.followed {
            if followed.ended {
                continue;
            }
            let worker = name_of(folder, &self.folder);
            let is_old = !self.has_looked;
            // The first look reads everything: only so it is known what has ended.
            let most = if is_old { u64::MAX } else { MOST_AT_ONCE };
            let rest = followed.rest(&folder.join(JOURNAL), most);
            for what in rest.unwrap_or_default() {
                followed.ended |= matches!(what, Event::Summary(_));
                // It was only suspended for longer than its locks last.
                followed.dead = false;
                noted.push(Noted {
                    worker: worker.clone(),
                    what,
                    is_old,
                });
            }
        }
        self.has_looked = true;
        noted
    }

    /// Whether a process has died: it has ended and has not noted so. It counts as dead until it notes
    /// something.
    pub fn has_died(&mut self, worker: Option<&str>) -> bool {
        let dead = self.is_dead(worker);
        if let Some(followed) = self.followed.get_mut(&self.folder_of(worker)) {
            followed.dead |= dead;
        }
        dead
    }

    /// Whether a process that is followed has died.
    pub fn is_dead(&self, worker: Option<&str>) -> bool {
        let folder = self.folder_of(worker);
        let followed = self.followed.get(&folder);
        // What can't be determined counts as alive.
        followed.is_some_and(|followed| !followed.ended && !followed.dead && followed.begun)
            && matches!(is_alive(&self.locks, &folder), Ok(false))
    }

    fn folder_of(&self, worker: Option<&str>) -> PathBuf {
        match worker {
            Some(name) => self.folder.join(WORKERS).join(name),
            None => self.folder.clone(),
        }
    }
}

fn name_of(folder: &Path, run: &Path) -> Option<String> {
    let name = (folder != run).then(|| folder.file_name()).flatten()?;
    Some(name.to_string_lossy().into_owned())
}

impl Followed {
    /// The events of the lines that are complete and have not been read, of at most `most` bytes.
    fn rest(&mut self, path: &Path, most: u64) -> io::Result<Vec<Event>> {
        let mut file = fsx::open_plain(path)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        self.read += end as u64 + 1;
        let mut lines = bytes[..end].split(|byte| *byte == b'\n');
        if !self.begun {
            self.begun = true;
            lines.next();
        }
        // A damaged line is of no use to a run; a cleaning reports it.
        let entries = lines.filter_map(|line| {
            let (text, _) = check::read_line(line).ok()?;
            let entry: Entry = serde_json::from_slice(&text).ok()?;
            Some(entry.what)
        });
        Ok(entries.collect())
    }
}
