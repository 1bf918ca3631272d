//! Errors of outside data.

use std::io;
use std::path::{Path, PathBuf};

use super::ignore;

/// The extensions that torchvision's `ImageFolder` treats as images (`IMG_EXTENSIONS`), ignoring
/// case.
pub const IMAGE_ENDINGS: [&str; 9] = [
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
];

/// The limit on entries that are reached more than once. A folder that several links point to
/// counts once for each; links to links to folders would give an endless tree.
pub(super) const MOST_REPEATED: usize = 250_000;

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} contains no files", .0.display())]
    Empty(PathBuf),
    #[error(
        "{} contains no files besides those that `ignore` and the usual patterns ({}) leave out",
        .0.display(),
        ignore::ALWAYS.join(", ")
    )]
    AllIgnored(PathBuf),
    #[error("{} has no class folders: expected one sub-folder for each class", .0.display())]
    NoClasses(PathBuf),
    #[error("the class folder {} contains no images ({})", .0.display(), IMAGE_ENDINGS.join(", "))]
    EmptyClass(PathBuf),
    #[error("{} has no class folder `{class}`{}", root.display(), suggestion(nearest))]
    NoSuchClass {
        root: PathBuf,
        class: String,
        nearest: Option<String>,
    },
    #[error("{} contains none of {}", root.display(), places.join(", "))]
    NoPlace { root: PathBuf, places: Vec<String> },
    #[error("{} has no `weight_map`, which maps tensors to files", .0.display())]
    NotAnIndex(PathBuf),
    #[error("{} is a link to one of its parent folders", .0.display())]
    Loop(PathBuf),
    #[error(
        "{} is one of too many folders that links lead to: a link counts as its target, and these \
         would repeat more than {} files and folders",
        .0.display(),
        MOST_REPEATED
    )]
    TooManyLinks(PathBuf),
    #[error("the name of {} is not valid UTF-8", .0.display())]
    Name(PathBuf),
    #[error("{} changed while it was read", .0.display())]
    Changing(PathBuf),
    #[error(
        "{} is `sealed` and has changed since it was hashed: run again to use its current content",
        .0.display()
    )]
    Unsealed(PathBuf),
    /// A file that an environment is built from is missing.
    #[error("{} does not exist; {hint}", path.display())]
    NoLock { path: PathBuf, hint: &'static str },
    /// A file that an environment is built from can't be used.
    #[error("{}: {why}", path.display())]
    BadLock { path: PathBuf, why: String },
    #[error("the environment variable {0} is not set")]
    Unset(String),
    #[error("the value of the environment variable {0} is not valid UTF-8")]
    Value(String),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

fn suggestion(nearest: &Option<String>) -> String {
    let text = nearest.as_ref();
    text.map_or_else(String::new, |name| format!(": did you mean `{name}`?"))
}

impl SourceError {
    /// Whether the data is missing, rather than wrong.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Missing(_) | Self::NoPlace { .. } | Self::NoLock { .. } | Self::Unset(_)
        )
    }

    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| match source.kind() {
            io::ErrorKind::NotFound => Self::Missing(path.to_path_buf()),
            _ => Self::Io {
                path: path.to_path_buf(),
                source,
            },
        }
    }
}
