//! The lock file beside a workflow: what its mutable names (branches, paths) resolved to when the
//! lock was written.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::diag::SourceText;
use crate::digest::Digest;
use crate::fsx;
use crate::yaml;

/// The version of the format; later ones are rejected.
const FORMAT: u32 = 1;

/// A lock may list the sources of millions of nodes.
const LIMITS: yaml::Limits = yaml::Limits {
    bytes: 2 << 30,
    depth: 64,
};

const HEAD: &str = "\
# Written by `ribflow lock`: what the moving names of the workflow stood for. Keep it beside the
# workflow, under version control; `ribflow lock FILE --update` looks them up again.
";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    ribflow_lock: u32,
    /// Sorted by name.
    #[serde(default)]
    pub checkpoints: Vec<LockedCheckpoint>,
    /// Sorted by node id.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sources: Vec<LockedSource>,
}

/// The identity of a node's outside data: enough to compute every key without the data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSource {
    pub node: String,
    pub source: String,
    /// The parameters of the node: a profile may select other images.
    pub parameters: Digest,
    pub digest: Digest,
    /// The number of files and their bytes.
    pub files: usize,
    pub bytes: u64,
}

impl LockedSource {
    /// Whether both entries are about the same data of the same node.
    pub fn is_of_same(&self, other: &Self) -> bool {
        let place = |one: &Self| (one.node.clone(), one.source.clone(), one.parameters);
        place(self) == place(other)
    }
}

/// A file of a repository at a branch or tag, with the resolved commit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedCheckpoint {
    pub hub: String,
    pub revision: String,
    pub file: String,
    pub commit: String,
    /// `sha256:…`, if the hub reports it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is not a lock file: {why}")]
    Format { path: PathBuf, why: String },
    #[error("{path} has format {found}, but this version of ribflow reads {FORMAT}")]
    Later { path: PathBuf, found: u32 },
}

impl Lock {
    /// A lock with these entries, sorted.
    pub fn of(mut checkpoints: Vec<LockedCheckpoint>, mut sources: Vec<LockedSource>) -> Self {
        checkpoints.sort();
        sources.sort();
        sources.dedup();
        Self {
            ribflow_lock: FORMAT,
            checkpoints,
            sources,
        }
    }

    /// The path of the lock of `workflow`: `grid.yaml.lock`.
    pub fn path(workflow: &Path) -> PathBuf {
        let mut name = workflow.as_os_str().to_os_string();
        name.push(".lock");
        name.into()
    }

    /// The lock of `workflow`; `None` if there is none.
    ///
    /// # Errors
    /// The lock exists but can't be read.
    pub fn read(workflow: &Path) -> Result<Option<Self>, LockError> {
        match Self::bytes(workflow)? {
            Some(bytes) => Self::of_bytes(workflow, bytes).map(Some),
            None => Ok(None),
        }
    }

    /// The content of the lock file of `workflow`; `None` if there is none.
    pub fn bytes(workflow: &Path) -> Result<Option<Vec<u8>>, LockError> {
        let path = Self::path(workflow);
        let mut bytes = Vec::new();
        // Read one byte more than allowed, to detect a file that is too large.
        let read = fsx::open_regular(&path)
            .and_then(|file| file.take(LIMITS.bytes + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// The lock of `workflow` whose file has the content `bytes`.
    pub fn of_bytes(workflow: &Path, bytes: Vec<u8>) -> Result<Self, LockError> {
        let path = Self::path(workflow);
        let lock: Self = match parse(&path, bytes) {
            Ok(lock) => lock,
            Err(why) => return Err(LockError::Format { path, why }),
        };
        match lock.ribflow_lock {
            FORMAT => Ok(lock),
            found => Err(LockError::Later { path, found }),
        }
    }

    /// Writes it beside `workflow`, and returns its path.
    pub fn write(&self, workflow: &Path) -> Result<PathBuf, LockError> {
        let path = Self::path(workflow);
        let yaml = match yaml::encode(self) {
            Ok(yaml) => yaml,
            Err(error) => {
                let why = error.to_string();
                return Err(LockError::Format { path, why });
            }
        };
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let text = format!("{HEAD}{yaml}");
        match fsx::replace_durably(
            &path,
            folder.unwrap_or(Path::new(".")),
            0o644,
            text.as_bytes(),
        ) {
            Ok(()) => Ok(path),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    /// The locked version of a file at a branch or tag.
    pub fn find(&self, hub: &str, revision: &str, file: &str) -> Option<&LockedCheckpoint> {
        let mut known = self.checkpoints.iter();
        known.find(|known| known.hub == hub && known.revision == revision && known.file == file)
    }
}

/// Parses a lock; the error names the first invalid line.
fn parse(path: &Path, bytes: Vec<u8>) -> Result<Lock, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
    let source = SourceText::new(path.display().to_string(), text);
    yaml::decode(source, &LIMITS).map_err(|found| match found.0.first() {
        Some(first) if first.line > 0 => format!("line {}: {}", first.line, first.message),
        Some(first) => first.message.clone(),
        None => "it can't be read".to_string(),
    })
}
