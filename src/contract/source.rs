//! Outside data: where a node finds it, and which part of it the node reads.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Outside data that a node reads: its content enters the key, its location does not. The task
/// receives it as a tree of files, or, for variables, as a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The input name under which the task finds its content and the key records it. An input under
    /// `needs:` is an identifier; a kind that accepts inputs of any name gives its sources names
    /// that are not identifiers (`files/redraw.py`).
    pub name: String,
    /// Absolute, or relative to the folder of the workflow file. Empty for variables.
    pub location: PathBuf,
    pub shape: SourceShape,
    /// The user declares that it does not change: once hashed it is not checked again, as long as
    /// its folder is the same. Does not describe the content, so it is not part of a key.
    pub sealed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SourceShape {
    /// One file; the tree contains it under its base name.
    File,
    /// One file, or every file below a folder, by paths that begin with the folder's name. What tools
    /// write beside sources is left out.
    FileOrFolder,
    /// The same without files and folders of these patterns: for names, or, with a `/` inside, for
    /// paths below the folder.
    FileOrFolderWithout(Vec<String>),
    /// Every file below a folder, by relative path.
    Tree,
    /// One file, or the first of these names that exists in a folder; if that is the index of a
    /// sharded file (`*.index.json`), also the shards that its `weight_map` names.
    Sharded(Vec<String>),
    /// `class/…/image`, as torchvision's ImageFolder walks it; other files are ignored.
    ImageFolder(ImageSelection),
    /// The same, in the first of these folders below the location that exists and has a class
    /// folder of the selection.
    ImageFolderAt {
        places: Vec<String>,
        selection: ImageSelection,
    },
    /// These environment variables, as a table of names and values; they must be set.
    Environment(Vec<String>),
    /// The lock file of uv, as a table with its text. A lock that names packages of local folders is
    /// refused, because their content would be in no key.
    UvLock,
    /// A `pyproject.toml`, as a table with the fields that decide what uv installs.
    PythonProject,
    /// The packages of a conda environment, by the folder of the environment, as a table.
    CondaPackages,
}

/// Which images of an image folder to use. Selected by name, before anything is hashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageSelection {
    /// Only these class folders; `None`: all.
    pub classes: Option<Vec<String>>,
    /// The maximum number of images of a class, the first by name.
    pub limit: Option<usize>,
}
