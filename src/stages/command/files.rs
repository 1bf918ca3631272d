//! The files and folders that a line reads, and their names in the node's folder.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contract::source::{Source, SourceShape};
use crate::stages::choice::WordOr;
use crate::stages::task::Location;

/// A file or folder with a name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedFile {
    /// The file or folder.
    pub path: Location,
    /// The name in the node's folder. Default: the original name.
    #[serde(default)]
    pub name: Option<String>,
    /// Patterns of what a folder leaves out: of names (`*.log`), or of paths below it (`data/raw`).
    /// `__pycache__`, `*.pyc`, `.git`, `.venv`, `.ipynb_checkpoints` and `.DS_Store` are always left
    /// out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Set to `false` to keep it out of bundles.
    #[serde(default = "shared")]
    pub share: bool,
}

fn shared() -> bool {
    true
}

/// A path, or a path with a name.
pub(super) type Declared = WordOr<Location, NamedFile>;

/// Names of sources contain a `/`, which names under `needs:` can't.
pub(super) const SOURCE: &str = "files/";

pub(super) fn location(file: &Declared) -> &Location {
    match file {
        WordOr::Word(path) => path,
        WordOr::Other(named) => &named.path,
    }
}

/// The name of the file in the node's folder; `None` if it is not a valid name.
pub(super) fn name(file: &Declared) -> Option<&str> {
    match file {
        WordOr::Other(NamedFile {
            name: Some(name), ..
        }) => {
            let plain = !name.is_empty() && !matches!(name.as_str(), "." | "..");
            Some(name.as_str()).filter(|name| plain && !name.contains(['/', '\0']))
        }
        file => base_name(location(file)),
    }
}

/// The patterns of what a folder leaves out.
pub(super) fn ignore(file: &Declared) -> &[String] {
    match file {
        WordOr::Other(named) => &named.ignore,
        WordOr::Word(_) => &[],
    }
}

pub(super) fn source(file: &Declared) -> Source {
    let path = location(file).0.as_str();
    Source {
        name: format!("{SOURCE}{}", name(file).unwrap_or_default()),
        location: PathBuf::from(path.trim_end_matches('/')),
        shape: match ignore(file) {
            [] => SourceShape::FileOrFolder,
            patterns => SourceShape::FileOrFolderWithout(patterns.to_vec()),
        },
        sealed: false,
    }
}

fn base_name(file: &Location) -> Option<&str> {
    let path = file.0.as_str();
    let named = !path.ends_with('.') && !path.ends_with("./");
    Path::new(path).file_name()?.to_str().filter(|_| named)
}
