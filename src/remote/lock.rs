//! The lock file beside a workflow: what the moving names in it stood for when it was written.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::diag::SourceText;
use crate::digest::Digest;
use crate::fsx;
use crate::yaml;

/// The version of the format; a later one is refused.
const FORMAT: u32 = 1;

/// A lock names every source of millions of nodes.
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
    /// In the order of their names.
    #[serde(default)]
    pub checkpoints: Vec<LockedCheckpoint>,
    /// In the order of the nodes' ids.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub sources: Vec<LockedSource>,
}

/// What outside data of a node was: enough to compute every key without the data.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedSource {
    pub node: String,
    pub source: String,
    /// Which parameters the node had: a profile may take other images.
    pub parameters: Digest,
    pub digest: Digest,
    /// How many files, and their bytes.
    pub files: usize,
    pub bytes: u64,
}

impl LockedSource {
    /// Whether both say what the same data of the same node is.
    pub fn is_of_same(&self, other: &Self) -> bool {
        let place = |one: &Self| (one.node.clone(), one.source.clone(), one.parameters);
        place(self) == place(other)
    }
}

/// A file of a repository at a branch or tag, and the commit that it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LockedCheckpoint {
    pub hub: String,
    pub revision: String,
    pub file: String,
    pub commit: String,
    /// `sha256:…`, where the hub names it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} is no lock file: {why}")]
    Format { path: PathBuf, why: String },
    #[error("{path} has format {found}, this ribflow reads {FORMAT}")]
    Later { path: PathBuf, found: u32 },
}

impl Lock {
    /// The lock with these entries, put in order.
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

    /// Where the lock of `workflow` lies: `grid.yaml.lock`.
    pub fn path(workflow: &Path) -> PathBuf {
        let mut name = workflow.as_os_str().to_os_string();
        name.push(".lock");
        name.into()
    }

    /// The lock of `workflow`; `None` where there is none.
    ///
    /// # Errors
    /// Where there is one that can't be read.
    pub fn read(workflow: &Path) -> Result<Option<Self>, LockError> {
        let path = Self::path(workflow);
        let mut bytes = Vec::new();
        // One byte more than allowed, to tell a file that is too large from one that just fits.
        let read = fsx::open_regular(&path)
            .and_then(|file| file.take(LIMITS.bytes + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LockError::Io { path, source }),
        }
        let lock: Self = match parse(&path, bytes) {
            Ok(lock) => lock,
            Err(why) => return Err(LockError::Format { path, why }),
        };
        match lock.ribflow_lock {
            FORMAT => Ok(Some(lock)),
            found => Err(LockError::Later { path, found }),
        }
    }

    /// Writes it beside `workflow`, and returns where.
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

    /// What a file at a branch or tag was locked to.
    pub fn find(&self, hub: &str, revision: &str, file: &str) -> Option<&LockedCheckpoint> {
        let mut known = self.checkpoints.iter();
        known.find(|known| known.hub == hub && known.revision == revision && known.file == file)
    }
}

/// A lock, or what is wrong with it, by line.
fn parse(path: &Path, bytes: Vec<u8>) -> Result<Lock, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_string())?;
    let source = SourceText::new(path.display().to_string(), text);
    yaml::decode(source, &LIMITS).map_err(|found| match found.0.first() {
        Some(first) if first.line > 0 => format!("line {}: {}", first.line, first.message),
        Some(first) => first.message.clone(),
        None => "it can't be read".to_string(),
    })
}
