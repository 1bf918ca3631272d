//! The origin of a checkpoint: obtains its files and verifies them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::hub::{self, Repository};
use super::pin::{Pin, blake3, sha256};
use super::{Checkpoint, FILE, PATH, io_error, is_name};
use crate::fetch::describe::describe;
use crate::fetch::download::{DownloadError, Fetched, Request, download, shown};
use crate::fetch::partial::Partial;
use crate::ml::models::checkpoint::{USUAL, is_index, shards};
use crate::stages::images;
use crate::stages::task::{Context, TaskError, TaskInput};
use crate::store::artifact::{Artifact, Files};

/// The first pause before a retry.
const PAUSE: Duration = Duration::from_millis(500);
/// The usual name of the weights in a repository.
pub const USUAL_FILE: &str = "model.safetensors";

/// Asks the hub about a file of a repository at a revision, without fetching it.
pub fn look_up(name: &str, revision: &str, file: &str) -> Result<Fetched, DownloadError> {
    let repository = Repository { name, revision };
    describe(&request(&repository.url(file), hub::token()))
}

impl Checkpoint {
    /// The file of weights, or the index of its shards, on disk and verified.
    pub(super) fn obtained(&self, context: &Context) -> Result<PathBuf, TaskError> {
        let file = match (&self.path, &self.url, &self.hub) {
            (Some(_), ..) => given(context, context.input(PATH)?)?,
            (None, None, None) => given(context, context.input(FILE)?)?,
            (_, Some(url), _) => {
                let request = request(&url.0, None);
                fetched(context, &request, &file_name(&url.0))?.0
            }
            (_, _, Some(hub)) => self.at_hub(context, hub)?,
        };
        if let Some(digest) = &self.digest {
            let pin = Pin::parse(digest).map_err(TaskError::Input)?;
            pin.check(&file)?;
        }
        Ok(file)
    }

    fn at_hub(&self, context: &Context, name: &str) -> Result<PathBuf, TaskError> {
        let revision = self.revision.as_deref().unwrap_or("main");
        let repository = Repository { name, revision };
        if !repository.is_fixed() && self.digest.is_none() {
            context.progress.log(&format!(
                "warning: `{revision}` of {name} may move; pin it with a commit or a digest"
            ));
        }
        let file = match self.file.as_str() {
            "" => USUAL_FILE,
            file => file,
        };
        let place = from_hub(context, &repository, file)?;
        if is_index(&place) {
            let folder = file.rsplit_once('/').map(|(folder, _)| folder);
            for shard in shards(&place)? {
                let shard = folder.map_or(shard.clone(), |folder| format!("{folder}/{shard}"));
                from_hub(context, &repository, &shard)?;
            }
        }
        Ok(place)
    }
}

/// The weights in an input of files, with the content that is in the key.
fn given(context: &Context, input: &TaskInput) -> Result<PathBuf, TaskError> {
    let Artifact::Files(files) = &input.artifact else {
        return Err(TaskError::Input(
            "the checkpoint holds no files".to_string(),
        ));
    };
    let names = || files.files.keys();
    let is_usual = |name: &&String| USUAL.contains(&name.as_str());
    let name = match files.files.len() {
        1 => names().next(),
        _ => names()
            .find(|name| is_index(Path::new(name)))
            .or_else(|| names().find(is_usual)),
    };
    let name = name.ok_or_else(|| {
        let usual = USUAL.map(|name| format!("`{name}`")).join(", ");
        TaskError::Input(format!("there are no weights under a usual name: {usual}"))
    })?;
    Ok(placed(context, input, files)?.join(placed_name(name)))
}

/// The name of a file on disk. A single file that is the output of a stage has the empty path.
fn placed_name(name: &str) -> &str {
    match name {
        "" => "weights",
        name => name,
    }
}

/// A folder with the files of `input`: the original if it is unchanged, otherwise a copy.
fn placed(context: &Context, input: &TaskInput, files: &Files) -> Result<PathBuf, TaskError> {
    let unchanged = |root: &PathBuf| {
        let mut files = files.files.iter();
        files.all(|(name, blob)| blake3(&root.join(name)).is_ok_and(|digest| digest == blob.digest))
    };
    if let Some(root) = input.roots.iter().find(|root| unchanged(root)) {
        return Ok(root.clone());
    }
    for (name, file) in &files.files {
        let bytes = images::file_bytes(context, input, name, &file.blob())?;
        let target = context.scratch.join(placed_name(name));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(io_error(folder))?;
        }
        fs::write(&target, bytes).map_err(io_error(&target))?;
    }
    Ok(context.scratch.to_path_buf())
}

fn from_hub(context: &Context, repository: &Repository, file: &str) -> Result<PathBuf, TaskError> {
    let request = request(&repository.url(file), hub::token());
    let (place, fetched) = fetched(context, &request, &file_name(file))?;
    if let Some(expected) = &fetched.sha256 {
        let found = sha256(&place)?;
        if found != *expected {
            return Err(TaskError::Failed(format!(
                "{} has SHA-256 {found}, but the hub reports {expected}",
                request.url
            )));
        }
    }
    if let Some(commit) = fetched.commit {
        context
            .progress
            .log(&format!("{} at {commit}", repository.name));
    }
    Ok(place)
}

fn request(url: &str, token: Option<String>) -> Request {
    Request {
        url: url.to_string(),
        token,
        pause: PAUSE,
    }
}

/// Fetches a file into the scratch folder, and resumes the download of an earlier process.
fn fetched(
    context: &Context,
    request: &Request,
    name: &str,
) -> Result<(PathBuf, Fetched), TaskError> {
    let place = context.scratch.join(name);
    context
        .progress
        .log(&format!("fetching {}", shown(&request.url)));
    let watch = |done: u64, total: Option<u64>| {
        context
            .progress
            .advance(done, total.unwrap_or(done), "bytes");
        context.check_cancelled().is_ok()
    };
    let downloads = context.downloads;
    let partial = Partial::open(downloads, context.locks, &request.url);
    let Some(partial) = partial.map_err(io_error(downloads))? else {
        // Another node is fetching the same file, so fetch a separate copy.
        let fetched = download(request, &place, &watch).map_err(task_error)?;
        return Ok((place, fetched));
    };
    match download(request, &partial.file(), &watch) {
        Ok(fetched) => {
            partial.finish(&place).map_err(io_error(&place))?;
            Ok((place, fetched))
        }
        // Keep the partial download for the next attempt.
        Err(error @ (DownloadError::Cancelled | DownloadError::Exhausted { .. })) => {
            Err(task_error(error))
        }
        Err(error) => {
            partial.give_up().map_err(io_error(downloads))?;
            Err(task_error(error))
        }
    }
}

fn task_error(error: DownloadError) -> TaskError {
    match error {
        DownloadError::Cancelled => TaskError::Cancelled,
        error => TaskError::Failed(error.to_string()),
    }
}

/// The last part of a URL's path, if it is a valid file name.
fn file_name(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    match is_name(name) {
        true => name.to_string(),
        false => "checkpoint".to_string(),
    }
}
