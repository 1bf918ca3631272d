//! What a run leaves for workers: the text of its workflow and everything else that decides its graph
//! and its keys. It never changes. A worker of the same build makes the same graph of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::contract::source::SourceShape;
use crate::digest::{Digest, check};
use crate::engine::EngineError;
use crate::engine::journal;
use crate::fsx::lease::this_host;
use crate::fsx::{self, Stamp, calls};
use crate::store::Store;

/// The version of the plan's format that this build writes and reads.
const PLAN_FORMAT: u32 = 1;
/// The name of the plan in the folder of a run.
pub const PLAN_FILE: &str = "join.json";
/// The size limit of a plan.
const MOST_BYTES: u64 = 256 << 20;
/// The number of newest runs among which one to resume is looked for.
const MOST_RUNS: usize = 64;
/// The length limit of a worker's name.
const MOST_NAME: usize = 100;

/// The plan of a run, but for what its outside data is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invitation {
    /// The workflow file, absolute. Not read by workers: locations are relative to its folder.
    #[serde(with = "crate::engine::paths")]
    pub workflow: PathBuf,
    pub text: String,
    /// The content of its lock file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    pub profiles: Vec<String>,
    pub overrides: Vec<String>,
    pub targets: Vec<String>,
    /// The variables that the workflow reads; `None`: not set. Never those of `pass`.
    pub environment: BTreeMap<String, Option<String>>,
    /// The requested device.
    pub device: String,
    /// The device class, if it is part of the keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    pub keep_going: bool,
    pub derived_max: u64,
    pub remotes: Vec<String>,
    /// Nodes that may be reused but not run, with the reason.
    pub refused: BTreeMap<String, String>,
}

/// The plan of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinPlan {
    pub format: u32,
    /// The run, and its folder.
    pub run: String,
    /// The digest of the program that runs it.
    pub build: Digest,
    /// Its path and stamp: the same file need not be read again.
    pub program: Digest,
    /// The host of that program.
    pub host: String,
    pub invitation: Invitation,
    /// The digests of outside data, so that workers need not read it for keys.
    pub sources: Vec<PlannedSource>,
}

/// Outside data with its digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedSource {
    #[serde(with = "crate::engine::paths")]
    pub location: PathBuf,
    pub shape: SourceShape,
    pub sealed: bool,
    pub digest: Digest,
}

/// Why a plan can't be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("`{run}` is not the id of a run")]
    NotARun { run: String },
    #[error("run {run} has left no plan for workers in {}", store.display())]
    NoPlan { run: String, store: PathBuf },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is not a plan: {why}", path.display())]
    Damaged { path: PathBuf, why: String },
    #[error("{} has format {found}, but this version of ribflow reads {PLAN_FORMAT}", path.display())]
    Newer { path: PathBuf, found: u64 },
}

/// The plan of the run `run`, and the number of the user who wrote it.
///
/// # Errors
/// There is none, or it can't be read.
pub fn read_plan(store: &Store, run: &str) -> Result<(JoinPlan, u32), PlanError> {
    use std::os::unix::fs::MetadataExt;
    if !is_run_id(run) {
        return Err(PlanError::NotARun {
            run: run.to_string(),
        });
    }
    let path = store.runs().join(run).join(PLAN_FILE);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => PlanError::NoPlan {
            run: run.to_string(),
            store: store.root().to_path_buf(),
        },
        _ => PlanError::Io {
            path: path.clone(),
            source,
        },
    };
    let file = fsx::open_plain(&path).map_err(failed)?;
    let owner = file.metadata().map_err(failed)?.uid();
    let mut bytes = Vec::new();
    let limited = &mut io::Read::take(file, MOST_BYTES + 1);
    io::Read::read_to_end(limited, &mut bytes).map_err(failed)?;
    Ok((parse(&path, &bytes)?, owner))
}

/// Whether `run` can be the name of a run's folder, and leads nowhere else.
fn is_run_id(run: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !run.is_empty() && run.bytes().all(plain)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<JoinPlan, PlanError> {
    let damaged = |why: String| PlanError::Damaged {
        path: path.to_path_buf(),
        why,
    };
    if bytes.len() as u64 > MOST_BYTES {
        return Err(damaged(format!(
            "it has more than {} MiB",
            MOST_BYTES >> 20
        )));
    }
    let (value, checked) = check::read_document(bytes).map_err(|why| damaged(why.to_string()))?;
    match value["format"].as_u64() {
        Some(found) if found > u64::from(PLAN_FORMAT) => {
            return Err(PlanError::Newer {
                path: path.to_path_buf(),
                found,
            });
        }
        _ if !checked => return Err(damaged("it has no checksum".to_string())),
        _ => {}
    }
    serde_json::from_value(value).map_err(|why| damaged(why.to_string()))
}

/// The newest run that has left a plan, has not been stopped, has nodes left, and goes on: a process of it lives, or its
/// first process did not note its end and no later run of the same workflow has ended.
pub fn latest(store: &Store) -> Option<String> {
    let folders = journal::folders(store);
    let mut newest = folders.iter().enumerate().rev();
    newest.find_map(|(at, folder)| {
        let run = folder.file_name()?.to_str()?;
        let is_open = folder.join(PLAN_FILE).is_file()
            && !journal::is_stopped(store, run)
            && !journal::is_over(folder)
            && goes_on(store, folder).unwrap_or(false)
            && !is_replaced(store, folder, &folders[at + 1..]);
        is_open.then(|| run.to_string())
    })
}

/// Whether no process of the run in `folder` lives, and one of the `later` runs is of the same workflow,
/// profiles and values and has ended. Notes that, so that it need not be found out again.
fn is_replaced(store: &Store, folder: &Path, later: &[PathBuf]) -> bool {
    let is_alive = || journal::is_running(store.locks(), folder).unwrap_or(true);
    let Some(header) = journal::header_of(folder) else {
        return false;
    };
    let is_end = |run: &PathBuf| {
        journal::header_of(run).is_some_and(|other| other == header) && journal::has_ended(run)
    };
    let is_replaced = !is_alive() && later.iter().any(is_end);
    if is_replaced && let Err(error) = journal::note_over(folder) {
        tracing::debug!("{error}");
    }
    is_replaced
}

fn goes_on(store: &Store, folder: &Path) -> Result<bool, EngineError> {
    Ok(!journal::has_ended(folder) || journal::is_running(store.locks(), folder)?)
}

/// Writes the plan of a run into its folder.
pub fn leave_plan(
    store: &Store,
    folder: &Path,
    run: &str,
    invitation: &Invitation,
    sources: Vec<PlannedSource>,
) -> io::Result<()> {
    let plan = JoinPlan {
        format: PLAN_FORMAT,
        run: run.to_string(),
        build: build()?,
        program: program()?,
        host: this_host(),
        invitation: invitation.clone(),
        sources,
    };
    let bytes = check::document(&plan)?;
    let scratch = store.scratch().map_err(io::Error::other)?;
    fsx::replace(&folder.join(PLAN_FILE), scratch.path(), fsx::SHARED, &bytes)
}

/// Removes the plan of the run in `folder`, if there is one and it can be removed.
pub fn take_back_plan(folder: &Path) {
    let _ = calls::remove_file(folder.join(PLAN_FILE));
}

/// The run whose workers serve another run with the same plan: the newest one that has a living
/// process, or whose first process did not end by itself, so that workers may be about to join it.
pub fn resumable(
    store: &Store,
    own: &str,
    invitation: &Invitation,
) -> Result<Option<String>, EngineError> {
    for folder in journal::folders(store).into_iter().rev().take(MOST_RUNS) {
        let name = folder.file_name().and_then(|name| name.to_str());
        let Some(run) = name.filter(|name| *name != own) else {
            continue;
        };
        let is_same = match read_plan(store, run) {
            Ok((plan, _)) => {
                plan.invitation == *invitation && plan.is_of_this_build().unwrap_or(false)
            }
            Err(_) => false,
        };
        if is_same && !journal::has_failures(&folder) && goes_on(store, &folder)? {
            journal::go_on(store, run)?;
            return Ok(Some(run.to_string()));
        }
    }
    Ok(None)
}

/// The digest of this program: another build may compute something else.
fn build() -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_mmap(std::env::current_exe()?)?;
    Ok(Digest::finish(&hasher))
}

/// The path of this program, with its size and its time.
fn program() -> io::Result<Digest> {
    let path = std::env::current_exe()?;
    let Stamp { size, modified, .. } = Stamp::of(&calls::metadata(&path)?);
    Ok(Digest::of(
        format!("{} {size} {modified}", path.display()).as_bytes(),
    ))
}

impl JoinPlan {
    /// Whether this program is the one that runs the plan.
    pub fn is_of_this_build(&self) -> io::Result<bool> {
        Ok(program()? == self.program || build()? == self.build)
    }
}

/// Whether a worker may have this name: it is the name of a folder.
pub fn is_worker_name(name: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_-.".contains(letter);
    let begins_well = name.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    begins_well && name.len() <= MOST_NAME && name.chars().all(plain)
}
