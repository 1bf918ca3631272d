//! Outside data as content: which files of a folder count, and the tree of digests that they form.
//! The location of the data, its modification times and other files beside it do not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde_json::Value;

use super::artifact::{Artifact, Files, Table, TreeFile};
use super::environments;
use super::ignore::{ALWAYS, Ignore};
use super::imagefolder::images;
pub use super::imagefolder::{class_images, first_place, image_folder_order, is_same_class};
pub use super::source_error::{IMAGE_ENDINGS, SourceError};
use super::statcache::{Contents, StatCache};
use super::trees::{self, Tree};
use super::walk::{self, Walk, WalkOutput};
use crate::contract::source::{ImageSelection, Source, SourceShape};
use crate::digest::Digest;
use crate::fsx::{self, Stamp};

/// The content of a source.
#[derive(Clone, Debug)]
pub struct ResolvedSource {
    /// [`Artifact::Files`], whose paths start at `root`; for variables and environments an
    /// [`Artifact::Table`]. The task gets it as it is.
    pub artifact: Artifact,
    /// The digest of the artifact's canonical bytes.
    pub digest: Digest,
    /// The folder, absolute; for a table of a file or folder, that place; empty for variables.
    pub root: PathBuf,
}

/// The identity of a source's content, without the content.
#[derive(Clone, Debug)]
pub struct IdentifiedSource {
    /// The digest of the artifact's canonical bytes.
    pub digest: Digest,
    /// As in [`ResolvedSource`].
    pub root: PathBuf,
    /// The number of files and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// The content, if computing the digest required reading it and it is more than one file.
    pub content: Option<Arc<ResolvedSource>>,
}

/// The location of a source, and which of its files count.
struct SelectedFiles<'a> {
    root: PathBuf,
    counts: Counts<'a>,
}

enum Counts<'a> {
    /// These files.
    Paths(Vec<String>),
    /// Every file.
    Tree,
    /// Every file of this folder in the root, but for those left out.
    Folder(String, &'a SourceShape),
    /// The images, as torchvision lists them.
    Images(&'a ImageSelection),
}

impl StatCache {
    /// Lists `source`, hashes new and changed files, and returns the content. Checks every file,
    /// even if the source is sealed.
    ///
    /// Relative locations start from `base`, the folder of the workflow file.
    pub fn resolve(&self, source: &Source, base: &Path) -> Result<ResolvedSource, SourceError> {
        if let Some(table) = table(source, base) {
            return table;
        }
        let SelectedFiles { root, counts } = place(source, base)?;
        match counts {
            Counts::Paths(paths) => self.paths(root, paths),
            counts => self.tree(root, &counts),
        }
    }

    /// As [`StatCache::resolve`], but returns the digest of a tree without its content if the
    /// digest is known: because the stamps of all its files are unchanged, or because it is sealed
    /// and the stamp of its folder is unchanged.
    pub fn identify(&self, source: &Source, base: &Path) -> Result<IdentifiedSource, SourceError> {
        if let Some(table) = table(source, base) {
            return table.map(identified);
        }
        let SelectedFiles { root, counts } = place(source, base)?;
        match counts {
            // Ten thousand nodes may each have a file, and checking one again is fast.
            Counts::Paths(paths) if paths.len() == 1 => {
                self.paths(root, paths).map(|file| count(&file))
            }
            Counts::Paths(paths) => self.paths(root, paths).map(identified),
            counts => match self.confirm(&root, &counts, source.sealed) {
                Some(tree) => Ok(IdentifiedSource {
                    digest: tree.digest,
                    root,
                    files: tree.files,
                    bytes: tree.bytes,
                    content: None,
                }),
                None => self.tree(root, &counts).map(identified),
            },
        }
    }

    fn paths(&self, root: PathBuf, paths: Vec<String>) -> Result<ResolvedSource, SourceError> {
        let folder = self.folder(&root);
        let blob = |path: String| {
            let blob = folder.blob(&path)?;
            Ok((path, TreeFile::from(blob)))
        };
        // Waking other threads takes longer than checking one file.
        let files: Result<BTreeMap<String, TreeFile>, SourceError> = match paths.len() {
            1 => paths.into_iter().map(blob).collect(),
            _ => paths.into_par_iter().map(blob).collect(),
        };
        let tree = Files {
            files: files?,
            ..Files::default()
        };
        Ok(resolved(Artifact::Files(tree), root))
    }

    /// The cached tree, if it is still valid. Problems are ignored here; reading the tree reports
    /// them.
    fn confirm(&self, root: &Path, counts: &Counts, sealed: bool) -> Option<Tree> {
        let tree = self.folder(root).tree(&counts.shape())?;
        if sealed && tree.root == root_stamp(root).ok()? {
            return Some(tree);
        }
        let known = tree.fingerprint?;
        let folders = counts.list(root, WalkOutput::Digests).ok()?;
        (trees::fingerprint(&folders) == known).then_some(tree)
    }

    fn tree(&self, root: PathBuf, counts: &Counts) -> Result<ResolvedSource, SourceError> {
        let stamp = root_stamp(&root)?;
        let listed = counts.list(&root, WalkOutput::Rows)?;
        if listed.iter().all(walk::Folder::is_empty) {
            return Err(match counts {
                Counts::Folder(..) if has_entries(&root) => SourceError::AllIgnored(root),
                _ => SourceError::Empty(root),
            });
        }
        let folder = self.folder(&root);
        let contents: Vec<Contents> = listed
            .par_iter()
            .map(|listed| folder.contents(listed))
            .collect::<Result<_, SourceError>>()?;
        let settled = contents.iter().all(|folder| folder.settled);
        let files = contents.into_iter().flat_map(|folder| folder.files);
        let tree: Files = files.collect();
        let resolved = resolved(Artifact::Files(tree), root);
        let IdentifiedSource { files, bytes, .. } = count(&resolved);
        let tree = Tree {
            fingerprint: settled.then(|| trees::fingerprint(&listed)),
            root: stamp,
            digest: resolved.digest,
            files,
            bytes,
        };
        folder.remember_tree(counts.shape(), tree);
        Ok(resolved)
    }
}

fn has_entries(folder: &Path) -> bool {
    fsx::entries(folder).is_ok_and(|entries| !entries.is_empty())
}

impl Counts<'_> {
    /// Identifies the selection among the trees of one folder.
    fn shape(&self) -> Digest {
        let text = match self {
            Counts::Paths(paths) => format!("paths {paths:?}"),
            Counts::Tree => "tree".to_string(),
            Counts::Folder(name, SourceShape::FileOrFolderWithout(patterns)) => {
                format!("folder {name:?} without {patterns:?} and {ALWAYS:?}")
            }
            Counts::Folder(name, _) => format!("folder {name:?} without {ALWAYS:?}"),
            Counts::Images(selection) => format!("images {selection:?}"),
        };
        Digest::of(text.as_bytes())
    }

    fn list(&self, root: &Path, look: WalkOutput) -> Result<Vec<walk::Folder>, SourceError> {
        let every = |_: &str| true;
        let ignore = match self {
            Counts::Folder(_, shape) => Ignore::of(shape),
            _ => Ignore::default(),
        };
        let tree = Walk {
            root,
            wanted: every,
            look,
            ignore: Some(&ignore),
        };
        match self {
            Counts::Paths(_) => Ok(Vec::new()),
            Counts::Tree => tree.under(""),
            Counts::Folder(name, _) => tree.under(name),
            Counts::Images(selection) => images(root, selection, look),
        }
    }
}

fn place<'a>(source: &'a Source, base: &Path) -> Result<SelectedFiles<'a>, SourceError> {
    let place = base.join(&source.location);
    let place = std::path::absolute(&place).map_err(SourceError::io(&place))?;
    let (root, counts) = match &source.shape {
        SourceShape::File => {
            let (root, name) = parted(&place)?;
            (root, Counts::Paths(vec![name]))
        }
        shape @ (SourceShape::FileOrFolder | SourceShape::FileOrFolderWithout(_)) => {
            let (root, name) = parted(&place)?;
            let counts = match place.is_dir() {
                true => Counts::Folder(name, shape),
                false => Counts::Paths(vec![name]),
            };
            (root, counts)
        }
        SourceShape::Sharded(names) => {
            let (root, paths) = sharded(&place, names)?;
            (root, Counts::Paths(paths))
        }
        // Tables do not get here.
        SourceShape::Tree
        | SourceShape::Environment(_)
        | SourceShape::UvLock
        | SourceShape::PythonProject
        | SourceShape::CondaPackages => (place, Counts::Tree),
        SourceShape::ImageFolder(selection) => (place, Counts::Images(selection)),
        SourceShape::ImageFolderAt { places, selection } => (
            first_place(&place, places, selection)?,
            Counts::Images(selection),
        ),
    };
    Ok(SelectedFiles { root, counts })
}

fn root_stamp(root: &Path) -> Result<Stamp, SourceError> {
    let metadata = fs::metadata(root).map_err(SourceError::io(root))?;
    Ok(Stamp::of(&metadata))
}

fn identified(resolved: ResolvedSource) -> IdentifiedSource {
    let counted = count(&resolved);
    IdentifiedSource {
        content: Some(Arc::new(resolved)),
        ..counted
    }
}

/// The identity of a resolved source.
fn count(resolved: &ResolvedSource) -> IdentifiedSource {
    let (files, bytes) = match &resolved.artifact {
        Artifact::Files(tree) => (
            tree.files.len() as u64,
            tree.files.values().map(|blob| blob.bytes).sum(),
        ),
        artifact => (0, artifact.content_bytes()),
    };
    IdentifiedSource {
        digest: resolved.digest,
        root: resolved.root.clone(),
        files,
        bytes,
        content: None,
    }
}

fn resolved(artifact: Artifact, root: PathBuf) -> ResolvedSource {
    ResolvedSource {
        digest: Digest::of(&artifact.to_bytes()),
        artifact,
        root,
    }
}

/// The content of a source that is a table; `None` for trees of files.
fn table(source: &Source, base: &Path) -> Option<Result<ResolvedSource, SourceError>> {
    let place = base.join(&source.location);
    let (table, root) = match &source.shape {
        SourceShape::Environment(names) => (environment(names), PathBuf::new()),
        SourceShape::UvLock => (environments::uv_lock(&place), place),
        SourceShape::PythonProject => (environments::python_project(&place), place),
        SourceShape::CondaPackages => (environments::conda_packages(&place), place),
        _ => return None,
    };
    let root = std::path::absolute(&root).unwrap_or(root);
    Some(table.map(|table| resolved(Artifact::Table(table), root)))
}

/// Names and values, sorted by name.
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
fn parted(path: &Path) -> Result<(PathBuf, String), SourceError> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(SourceError::NotAFile(path.to_path_buf()));
    };
    let name = name
        .to_str()
        .ok_or_else(|| SourceError::Name(path.to_path_buf()))?;
    Ok((parent.to_path_buf(), name.to_string()))
}

/// The ending of an index file that maps tensors to shards.
const SHARD_INDEX: &str = ".index.json";
/// Bytes of an index file, as `ml` reads it.
const LONGEST_INDEX: u64 = 64 << 20;

/// The folder of a file, its name, and the names of its shards if it is their index. In a folder,
/// the file is the first of `names` that exists.
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
    let (root, name) = parted(&file)?;
    let shards = match name.ends_with(SHARD_INDEX) {
        true => shards(&file)?,
        false => BTreeSet::new(),
    };
    Ok((root, std::iter::once(name).chain(shards).collect()))
}

/// The files that an index names, which must be beside it.
fn shards(index: &Path) -> Result<BTreeSet<String>, SourceError> {
    let bytes = fsx::read_regular_within(index, LONGEST_INDEX).map_err(SourceError::io(index))?;
    let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let named = document["weight_map"].as_object().and_then(|map| {
        let plain = |name: &&str| !matches!(*name, "" | "." | "..") && !name.contains('/');
        let names = map.values().map(|shard| shard.as_str().filter(plain));
        names.map(|name| name.map(str::to_string)).collect()
    });
    named.ok_or_else(|| SourceError::NotAnIndex(index.to_path_buf()))
}
