//! Outside data as content: which files of a folder count, and the tree of digests they make.
//! Where the data lies, when it was written and what lies beside it do not matter.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;

use super::artifact::{Artifact, Blob, Files, Table};
use super::statcache::StatCache;
use crate::digest::Digest;
use crate::fsx::Stamp;
use crate::workflow::kind::{ImageSelection, Source, SourceShape};

/// What a source holds.
#[derive(Clone, Debug)]
pub struct ResolvedSource {
    /// [`Artifact::Files`], whose paths start at `root`; for variables an [`Artifact::Table`] of
    /// names and values. The task gets it as it is.
    pub artifact: Artifact,
    /// The digest of the artifact's canonical bytes.
    pub digest: Digest,
    /// The folder, absolute; empty for variables.
    pub root: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    #[error("{} is not a folder", .0.display())]
    NotAFolder(PathBuf),
    #[error("{} is not a file", .0.display())]
    NotAFile(PathBuf),
    #[error("{} holds no file", .0.display())]
    Empty(PathBuf),
    #[error("{} holds no class folder: one sub-folder a class is expected", .0.display())]
    NoClasses(PathBuf),
    #[error("the class folder {} holds no image ({})", .0.display(), IMAGE_ENDINGS.join(", "))]
    EmptyClass(PathBuf),
    #[error("{} has no class folder `{class}`{}", root.display(), suggestion(nearest))]
    NoSuchClass {
        root: PathBuf,
        class: String,
        nearest: Option<String>,
    },
    #[error("{} holds none of {}", root.display(), places.join(", "))]
    NoPlace { root: PathBuf, places: Vec<String> },
    #[error("{} does not tell which files beside it hold which tensors (`weight_map`)", .0.display())]
    NotAnIndex(PathBuf),
    #[error("{} is a link that leads back to a folder around it", .0.display())]
    Loop(PathBuf),
    #[error("the name of {} is not valid UTF-8", .0.display())]
    Name(PathBuf),
    #[error("{} changed while it was read", .0.display())]
    Changing(PathBuf),
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
    /// Whether the data is not here, rather than not as it should be.
    pub fn is_absence(&self) -> bool {
        matches!(
            self,
            Self::Missing(_) | Self::NoPlace { .. } | Self::Unset(_)
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

/// What torchvision's `ImageFolder` takes for an image (`IMG_EXTENSIONS`), in any case.
pub const IMAGE_ENDINGS: [&str; 9] = [
    ".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp",
];

/// Sorting relative paths of an image folder by this gives torchvision's order: by class, then by
/// folder, then by name. (A tree of files is in the order of whole paths, which differs where
/// folders are nested.)
pub fn image_folder_order(path: &str) -> (&str, &str, &str) {
    let class = path.split('/').next().unwrap_or_default();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    (class, folder, name)
}

impl StatCache {
    /// Lists `source`, hashes what is new or changed, and gives its content.
    ///
    /// Relative locations start from `base`, the folder of the workflow file.
    pub fn resolve(&self, source: &Source, base: &Path) -> Result<ResolvedSource, SourceError> {
        let place = base.join(&source.location);
        let place = std::path::absolute(&place).map_err(SourceError::io(&place))?;
        match &source.shape {
            SourceShape::File => {
                let (root, path) = one_file(&place)?;
                self.content(root, vec![path])
            }
            SourceShape::Tree => self.content(place.clone(), tree(&place)?),
            SourceShape::Sharded(names) => {
                let (root, paths) = sharded(&place, names)?;
                self.content(root, paths)
            }
            SourceShape::ImageFolder(selection) => {
                self.content(place.clone(), image_folder(&place, selection)?)
            }
            SourceShape::ImageFolderAt { places, selection } => {
                let root = first_place(&place, places, selection)?;
                let files = image_folder(&root, selection)?;
                self.content(root, files)
            }
            SourceShape::Environment(names) => {
                environment(names).map(|table| resolved(Artifact::Table(table), PathBuf::new()))
            }
        }
    }

    fn content(&self, root: PathBuf, paths: Vec<String>) -> Result<ResolvedSource, SourceError> {
        let folder = self.folder(&root);
        let hashed = paths.into_par_iter().map(|path| {
            let blob = folder.blob(&path)?;
            Ok((path, blob))
        });
        let files: Result<Vec<(String, Blob)>, SourceError> = hashed.collect();
        let files = files?.into_iter().collect();
        Ok(resolved(Artifact::Files(Files { files }), root))
    }
}

fn resolved(artifact: Artifact, root: PathBuf) -> ResolvedSource {
    ResolvedSource {
        digest: Digest::of(&artifact.to_bytes()),
        artifact,
        root,
    }
}

/// Names and values, in the order of the names.
fn environment(names: &[String]) -> Result<Table, SourceError> {
    let names: BTreeSet<&String> = names.iter().collect();
    let rows = names.into_iter().map(|name| match std::env::var(name) {
        Ok(value) => Ok(vec![name.as_str().into(), value.into()]),
        Err(std::env::VarError::NotPresent) => Err(SourceError::Unset(name.clone())),
        Err(std::env::VarError::NotUnicode(_)) => Err(SourceError::Value(name.clone())),
    });
    Ok(Table {
        columns: vec!["name".to_string(), "value".to_string()],
        rows: rows.collect::<Result<_, _>>()?,
    })
}

/// The folder of a file, and its name.
fn one_file(path: &Path) -> Result<(PathBuf, String), SourceError> {
    let metadata = fs::metadata(path).map_err(SourceError::io(path))?;
    let (Some(parent), Some(name), true) = (path.parent(), path.file_name(), metadata.is_file())
    else {
        return Err(SourceError::NotAFile(path.to_path_buf()));
    };
    let name = name
        .to_str()
        .ok_or_else(|| SourceError::Name(path.to_path_buf()))?;
    Ok((parent.to_path_buf(), name.to_string()))
}

/// Ends the name of a file that tells in which other files tensors lie.
const SHARD_INDEX: &str = ".index.json";

/// The folder of a file, its name, and those of its shards if it is their index. In a folder the
/// file is the first of `names` that is there.
fn sharded(place: &Path, names: &[String]) -> Result<(PathBuf, Vec<String>), SourceError> {
    let file = match place.is_dir() {
        false => place.to_path_buf(),
        true => {
            let mut files = names.iter().map(|name| place.join(name));
            let found = files.find(|file| file.is_file());
            found.ok_or_else(|| SourceError::NoPlace {
                root: place.to_path_buf(),
                places: names.to_vec(),
            })?
        }
    };
    let (root, name) = one_file(&file)?;
    let shards = match name.ends_with(SHARD_INDEX) {
        true => shards(&file)?,
        false => BTreeSet::new(),
    };
    Ok((root, std::iter::once(name).chain(shards).collect()))
}

/// The files that an index names, which must lie beside it.
fn shards(index: &Path) -> Result<BTreeSet<String>, SourceError> {
    let bytes = fs::read(index).map_err(SourceError::io(index))?;
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let named = document["weight_map"].as_object().and_then(|map| {
        let plain = |name: &&str| !name.is_empty() && !name.contains('/') && *name != "..";
        let names = map.values().map(|shard| shard.as_str().filter(plain));
        names.map(|name| name.map(str::to_string)).collect()
    });
    named.ok_or_else(|| SourceError::NotAnIndex(index.to_path_buf()))
}

fn tree(root: &Path) -> Result<Vec<String>, SourceError> {
    let mut walk = Walk::default();
    walk.folder(root, "")?;
    match walk.files.is_empty() {
        true => Err(SourceError::Empty(root.to_path_buf())),
        false => Ok(walk.files),
    }
}

/// The images of `root` as torchvision lists them, cut to `selection`.
fn image_folder(root: &Path, selection: &ImageSelection) -> Result<Vec<String>, SourceError> {
    let classes = class_folders(root)?;
    let wanted = match &selection.classes {
        None => classes,
        Some(wanted) => {
            for class in wanted {
                check_class(root, class, &classes)?;
            }
            let wanted = |class: &String| wanted.contains(class);
            classes.into_iter().filter(wanted).collect()
        }
    };
    let listed: Result<Vec<Vec<String>>, SourceError> = wanted
        .into_par_iter()
        .map(|class| class_images(root, &class, selection.limit))
        .collect();
    Ok(listed?.into_iter().flatten().collect())
}

/// The first of `places` below `root` that has a class folder of the selection.
pub fn first_place(
    root: &Path,
    places: &[String],
    selection: &ImageSelection,
) -> Result<PathBuf, SourceError> {
    if !root.exists() {
        return Err(SourceError::Missing(root.to_path_buf()));
    }
    let fits = |folder: &PathBuf| match &selection.classes {
        Some(classes) => classes.iter().any(|class| folder.join(class).is_dir()),
        None => folder.is_dir(),
    };
    let mut folders = places.iter().map(|place| root.join(place));
    folders.find(fits).ok_or_else(|| SourceError::NoPlace {
        root: root.to_path_buf(),
        places: places.to_vec(),
    })
}

fn class_folders(root: &Path) -> Result<Vec<String>, SourceError> {
    let mut classes: Vec<String> = entries(root)?
        .into_iter()
        .filter(|entry| entry.folder)
        .map(|entry| entry.name)
        .collect();
    classes.sort();
    match classes.is_empty() {
        true => Err(SourceError::NoClasses(root.to_path_buf())),
        false => Ok(classes),
    }
}

fn check_class(root: &Path, class: &str, classes: &[String]) -> Result<(), SourceError> {
    if classes.iter().any(|known| known == class) {
        return Ok(());
    }
    let nearest = crate::diag::nearest(class, classes.iter().map(String::as_str));
    Err(SourceError::NoSuchClass {
        root: root.to_path_buf(),
        class: class.to_string(),
        nearest: nearest.map(str::to_string),
    })
}

/// The images of one class folder, in torchvision's order, as paths below `root`.
pub fn class_images(
    root: &Path,
    class: &str,
    limit: Option<usize>,
) -> Result<Vec<String>, SourceError> {
    let folder = root.join(class);
    let mut walk = Walk::default();
    walk.around.push(identity(root)?);
    walk.folder(&folder, class)?;
    let mut images = walk.files;
    images.retain(|path| is_image(path));
    images.sort_by(|a, b| image_folder_order(a).cmp(&image_folder_order(b)));
    images.truncate(limit.unwrap_or(usize::MAX));
    match images.is_empty() {
        true => Err(SourceError::EmptyClass(folder)),
        false => Ok(images),
    }
}

fn is_image(path: &str) -> bool {
    let path = path.to_lowercase();
    IMAGE_ENDINGS.iter().any(|ending| path.ends_with(ending))
}

/// Every file under a folder, links followed.
#[derive(Default)]
struct Walk {
    files: Vec<String>,
    /// Device and inode of the folders around the one that is being read.
    around: Vec<(u64, u64)>,
}

impl Walk {
    fn folder(&mut self, folder: &Path, prefix: &str) -> Result<(), SourceError> {
        let identity = identity(folder)?;
        if self.around.contains(&identity) {
            return Err(SourceError::Loop(folder.to_path_buf()));
        }
        self.around.push(identity);
        for entry in entries(folder)? {
            let path = match prefix {
                "" => entry.name.clone(),
                prefix => format!("{prefix}/{}", entry.name),
            };
            match entry.folder {
                true => self.folder(&folder.join(&entry.name), &path)?,
                false => self.files.push(path),
            }
        }
        self.around.pop();
        Ok(())
    }
}

fn identity(folder: &Path) -> Result<(u64, u64), SourceError> {
    let metadata = fs::metadata(folder).map_err(SourceError::io(folder))?;
    let stamp = Stamp::of(&metadata);
    Ok((stamp.device, stamp.inode))
}

struct Entry {
    name: String,
    folder: bool,
}

fn entries(folder: &Path) -> Result<Vec<Entry>, SourceError> {
    let read = fs::read_dir(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => SourceError::NotAFolder(folder.to_path_buf()),
        _ => SourceError::io(folder)(error),
    })?;
    read.map(|entry| {
        let entry = entry.map_err(SourceError::io(folder))?;
        let kind = entry.file_type().map_err(SourceError::io(folder))?;
        // A link counts as what it leads to; one that leads nowhere is a file that can't be read.
        let folder = kind.is_dir() || (kind.is_symlink() && entry.path().is_dir());
        match entry.file_name().into_string() {
            Ok(name) => Ok(Entry { name, folder }),
            Err(_) => Err(SourceError::Name(entry.path())),
        }
    })
    .collect()
}
