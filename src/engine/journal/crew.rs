//! What processes of one run tell each other apart from their journals: that it is to stop, and whose
//! workers serve it.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::bell::Bell;
use super::lines::{JournalStart, Lines};
use super::{Entry, JOURNAL};
use crate::digest::Digest;
use crate::engine::EngineError;
use crate::engine::event::Event;
use crate::fsx::{self, calls};
use crate::store::Store;

/// In the folder of a run: its workers start no node any more.
const STOP: &str = "stop";
/// In the folder of a run: nothing is left to run, though its first process has not noted that.
const OVER: &str = "over";
/// In the folder of a run that resumes another one: the id of the run whose workers serve both.
pub(super) const CREW: &str = "crew";

/// In the folder of a run: a file for each node that has failed, by its key. A process looks here once
/// it has claimed a node, since the journal of the one that failed may not have been read yet.
const FAILURES: &str = "failures";
/// The size limit of such a file.
const MOST_FAILURE: u64 = 1 << 20;

/// How a node failed in a process of a shared run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedFailure {
    pub message: String,
    pub log: Option<String>,
}

/// Tells the other processes of `run` that the node of `key` has failed.
pub fn note_failure(
    store: &Store,
    run: &str,
    key: &Digest,
    failure: &SharedFailure,
) -> Result<(), EngineError> {
    let folder = store.runs().join(run).join(FAILURES);
    let path = folder.join(key.to_hex());
    let written = serde_json::to_vec(failure).map_err(io::Error::from);
    let written = written.and_then(|bytes| {
        fsx::make_folders(&folder)?;
        let scratch = store.scratch().map_err(io::Error::other)?;
        fsx::replace(&path, scratch.path(), fsx::SHARED, &bytes)
    });
    written.map_err(|source| EngineError::Journal { path, source })
}

/// How the node of `key` has failed in another process of `run`, if it has.
pub fn failure_of(store: &Store, run: &str, key: &Digest) -> Option<SharedFailure> {
    let path = store.runs().join(run).join(FAILURES).join(key.to_hex());
    let mut bytes = Vec::new();
    let file = fsx::open_plain(&path).ok()?;
    file.take(MOST_FAILURE).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Whether any node of the run in `folder` has failed.
pub fn has_failures(folder: &Path) -> bool {
    calls::symlink_metadata(folder.join(FAILURES)).is_ok()
}

/// Asks the workers of `run` to leave once the nodes that they run have ended.
pub fn stop(store: &Store, run: &str) -> Result<(), EngineError> {
    let path = store.runs().join(run).join(STOP);
    let made = fsx::create_shared(&path);
    let _ = Bell::of(&store.runs().join(run), store.locks()).ring();
    match made {
        Ok(_) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(source) => Err(EngineError::Journal { path, source }),
    }
}

/// Takes back what [`stop`] has asked for and [`note_over`] has noted.
pub fn go_on(store: &Store, run: &str) -> Result<(), EngineError> {
    for name in [STOP, OVER] {
        let path = store.runs().join(run).join(name);
        match calls::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(EngineError::Journal { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the workers of `run` are asked to leave.
pub fn is_stopped(store: &Store, run: &str) -> bool {
    calls::symlink_metadata(store.runs().join(run).join(STOP)).is_ok()
}

/// Notes that nothing is left to run in the run in `folder`, whose first process may be dead.
pub fn note_over(folder: &Path) -> Result<(), EngineError> {
    let path = folder.join(OVER);
    match fsx::create_shared(&path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            Err(EngineError::Journal { path, source })
        }
        _ => Ok(()),
    }
}

/// Whether the process that began the run in `folder` has noted its end, or another one that nothing is
/// left to run.
pub fn has_ended(folder: &Path) -> bool {
    is_over(folder) || has_noted_end(folder)
}

/// Whether a process of the run in `folder` has noted that nothing is left to run.
pub fn is_over(folder: &Path) -> bool {
    calls::symlink_metadata(folder.join(OVER)).is_ok()
}

fn has_noted_end(folder: &Path) -> bool {
    let Ok(JournalStart::Journal(_, lines)) = Lines::begin(&folder.join(JOURNAL)) else {
        return false;
    };
    let mut entries = lines.values::<Entry>();
    entries.any(|entry| matches!(entry.what, Event::Summary(_)))
}

/// The folder of the run whose workers serve the run in `folder`: mostly the same.
pub(super) fn crew_of(folder: &Path) -> PathBuf {
    let crew = fsx::read_plain(&folder.join(CREW)).ok();
    let crew = crew.and_then(|crew| String::from_utf8(crew).ok());
    let is_id = |id: &String| !id.is_empty() && id.bytes().all(is_plain);
    match (crew.filter(is_id), folder.parent()) {
        (Some(crew), Some(runs)) => runs.join(crew),
        _ => folder.to_path_buf(),
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}
