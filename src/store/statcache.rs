//! The stat cache: the digests of outside files, valid while a file's stamp (device, inode, size,
//! both times in nanoseconds) is unchanged; and the digests of whole trees, valid while the stamps
//! of all files in them are unchanged.
//!
//! Each folder that sources were read from has one index file of either kind, so that a run loads
//! only what it uses. All of it is derived: without it, files are hashed again.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use memmap2::Mmap;
use rayon::prelude::*;

use super::artifact::Blob;
use super::layout::{STAT_INDEX, TMP, TREE_INDEX};
use super::source_error::SourceError;
use super::statindex::{self, Entries, Index, IndexedFile};
use super::trees::{self, Tree, Trees};
use super::walk;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx::calls::{self, File};
use crate::fsx::{self, Stamp, nanoseconds_since_1970};

/// Digests of outside files. Many threads may use it; [`StatCache::save`] writes new entries.
#[derive(Debug)]
pub struct StatCache {
    /// The folders of the index files.
    indices: PathBuf,
    trees: PathBuf,
    /// The folder for temporary files.
    tmp: PathBuf,
    /// By path, as bytes: comparing paths part by part takes longer.
    folders: Mutex<HashMap<OsString, Arc<Folder>>>,
}

impl StatCache {
    /// The cache of `store`. An index file is read on the first access to its folder; one that is
    /// missing, torn or foreign counts as empty.
    pub fn open(store: &Store) -> Self {
        Self {
            indices: store.root().join(STAT_INDEX),
            trees: store.root().join(TREE_INDEX),
            tmp: store.root().join(TMP),
            folders: Mutex::default(),
        }
    }

    /// Writes new entries for the next run.
    pub fn save(&self) -> Result<(), StoreError> {
        let folders: Vec<Arc<Folder>> = lock(&self.folders).values().cloned().collect();
        for folder in folders {
            folder.save(&self.tmp)?;
        }
        Ok(())
    }

    /// The cache of the files under the absolute folder `root`.
    pub(super) fn folder(&self, root: &Path) -> Arc<Folder> {
        let mut folders = lock(&self.folders);
        if let Some(folder) = folders.get(root.as_os_str()) {
            return Arc::clone(folder);
        }
        let name = index_name(root);
        let folder = Arc::new(Folder {
            root: root.to_path_buf(),
            index: self.indices.join(&name),
            tree_index: self.trees.join(&name),
            loaded: OnceLock::new(),
            fresh: Mutex::default(),
            trees: OnceLock::new(),
            fresh_trees: Mutex::default(),
        });
        folders.insert(root.as_os_str().to_os_string(), Arc::clone(&folder));
        folder
    }
}

/// The files under one folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    index: PathBuf,
    tree_index: PathBuf,
    /// From the index file.
    loaded: OnceLock<Option<Index<Mmap>>>,
    /// Added by this process.
    fresh: Mutex<Entries>,
    trees: OnceLock<Trees>,
    fresh_trees: Mutex<Trees>,
}

/// The digest of a file.
struct Hashed {
    name: String,
    blob: Blob,
    /// The new cache entry, if there is one.
    new_entry: Option<IndexedFile>,
    /// Whether the digest is known to belong to the stamp in the listing.
    settled: bool,
}

/// The digests of the files of a listed folder.
pub(super) struct Contents {
    /// By path below the root.
    pub files: Vec<(String, Blob)>,
    /// Whether all digests are known to belong to the stamps in the listing.
    pub settled: bool,
}

impl Folder {
    /// The content of the file at `path`, relative to the folder.
    pub fn blob(&self, path: &str) -> Result<Blob, SourceError> {
        let full = self.root.join(path);
        let metadata = calls::metadata(&full).map_err(SourceError::io(&full))?;
        if !metadata.is_file() {
            return Err(SourceError::NotAFile(full));
        }
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stamp = Stamp::of(&metadata);
        let fresh = || lock(&self.fresh).get(folder)?.get(name).copied();
        let known = self.known(folder, name, &stamp);
        let known = known.or_else(|| fresh().filter(|known| known.stamp == stamp));
        if let Some(IndexedFile { digest, .. }) = known {
            let bytes = stamp.size;
            return Ok(Blob { digest, bytes });
        }
        let hashed = hash(&full, name, &stamp)?;
        if let Some(known) = hashed.new_entry {
            let mut fresh = lock(&self.fresh);
            let files = fresh.entry(folder.to_string()).or_default();
            files.insert(name.to_string(), known);
        }
        Ok(hashed.blob)
    }

    /// The digests of the files of a listed folder below this one.
    pub fn contents(&self, listed: &walk::Folder) -> Result<Contents, SourceError> {
        let fresh = lock(&self.fresh).get(&listed.path).cloned();
        let fresh = fresh.unwrap_or_default();
        let folder = self.root.join(&listed.path);
        let files: Vec<(&str, Stamp)> = listed.files().collect();
        let hashed = files.into_par_iter().map(|(name, stamp)| {
            let fresh = || fresh.get(name).filter(|known| known.stamp == stamp);
            let known = self.known(&listed.path, name, &stamp);
            match known.or_else(|| fresh().copied()) {
                Some(IndexedFile { digest, .. }) => Ok(Hashed {
                    name: name.to_string(),
                    blob: Blob {
                        digest,
                        bytes: stamp.size,
                    },
                    new_entry: None,
                    settled: true,
                }),
                None => hash(&folder.join(name), name, &stamp),
            }
        });
        let hashed: Vec<Hashed> = hashed.collect::<Result<_, SourceError>>()?;
        let settled = hashed.iter().all(|file| file.settled);
        let new_entries = hashed
            .iter()
            .filter_map(|file| Some((&file.name, file.new_entry?)));
        self.learn(&listed.path, new_entries);
        let files = hashed.into_iter();
        let files = files.map(|file| (walk::join(&listed.path, &file.name), file.blob));
        Ok(Contents {
            files: files.collect(),
            settled,
        })
    }

    /// The cached tree in this folder.
    pub fn tree(&self, shape: &Digest) -> Option<Tree> {
        let fresh = lock(&self.fresh_trees).get(shape).cloned();
        fresh.or_else(|| self.loaded_trees().get(shape).cloned())
    }

    pub fn remember_tree(&self, shape: Digest, tree: Tree) {
        if self.tree(&shape).as_ref() != Some(&tree) {
            lock(&self.fresh_trees).insert(shape, tree);
        }
    }

    fn learn<'a>(
        &self,
        folder: &str,
        new_entries: impl Iterator<Item = (&'a String, IndexedFile)>,
    ) {
        let new_entries: BTreeMap<String, IndexedFile> = new_entries
            .map(|(name, known)| (name.clone(), known))
            .collect();
        if !new_entries.is_empty() {
            let mut fresh = lock(&self.fresh);
            fresh
                .entry(folder.to_string())
                .or_default()
                .extend(new_entries);
        }
    }

    fn known(&self, folder: &str, name: &str, stamp: &Stamp) -> Option<IndexedFile> {
        let known = self.loaded()?.block(folder).find(name)?;
        (known.stamp == *stamp).then_some(known)
    }

    fn loaded(&self) -> Option<&Index<Mmap>> {
        let loaded = self.loaded.get_or_init(|| {
            let name = self.root.to_str().unwrap_or_default();
            statindex::open(&self.index, name)
        });
        loaded.as_ref()
    }

    fn loaded_trees(&self) -> &Trees {
        self.trees.get_or_init(|| {
            let name = self.root.to_str().unwrap_or_default();
            let bytes = fsx::read_regular(&self.tree_index).unwrap_or_default();
            trees::decode(name, &bytes).unwrap_or_default()
        })
    }

    fn save(&self, tmp: &Path) -> Result<(), StoreError> {
        // A folder whose path is not UTF-8 is looked up as well, but not saved.
        let Some(name) = self.root.to_str() else {
            return Ok(());
        };
        let replace = |path: &Path, bytes: &[u8]| {
            fsx::replace(path, tmp, fsx::SHARED, bytes).map_err(StoreError::io(path))
        };
        let fresh = std::mem::take(&mut *lock(&self.fresh));
        if !fresh.is_empty() {
            let mut entries = self.loaded().map(Index::entries).unwrap_or_default();
            for (folder, files) in fresh {
                entries.entry(folder).or_default().extend(files);
            }
            replace(&self.index, &statindex::encode(name, &entries))?;
        }
        let fresh = std::mem::take(&mut *lock(&self.fresh_trees));
        if !fresh.is_empty() {
            let mut trees = self.loaded_trees().clone();
            trees.extend(fresh);
            replace(&self.tree_index, &trees::encode(name, &trees))?;
        }
        Ok(())
    }
}

/// Hashes a file, which must not change meanwhile. Only a file that is old enough may be cached: a
/// later edit of a young one could leave the same stamp.
fn hash(full: &Path, name: &str, listed: &Stamp) -> Result<Hashed, SourceError> {
    let now = nanoseconds_since_1970();
    let mut file = fsx::open_unless_waiting(full).map_err(SourceError::io(full))?;
    let stamp = |file: &File| file.metadata().map(|metadata| Stamp::of(&metadata));
    let read = digest_of(&mut file, listed.size).map_err(SourceError::io(full))?;
    let after = stamp(&file).map_err(SourceError::io(full))?;
    let (digest, bytes) = match after == *listed && read.1 == after.size {
        true => read,
        // The file has changed since it was listed, or while it was read.
        false => {
            let mut file = fsx::open_unless_waiting(full).map_err(SourceError::io(full))?;
            let read = digest_of(&mut file, after.size).map_err(SourceError::io(full))?;
            let again = stamp(&file).map_err(SourceError::io(full))?;
            if again != after || read.1 != after.size {
                return Err(SourceError::Changing(full.to_path_buf()));
            }
            read
        }
    };
    let known = IndexedFile {
        stamp: after,
        digest,
    };
    let new_entry = (!after.is_young(now)).then_some(known);
    Ok(Hashed {
        name: name.to_string(),
        blob: Blob { digest, bytes },
        settled: new_entry.is_some() && after == *listed,
        new_entry,
    })
}

/// Files up to this size are read at once.
const PIECE: usize = 1 << 18;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The digest and length of a file that should have `size` bytes.
fn digest_of(file: &mut File, size: u64) -> io::Result<(Digest, u64)> {
    if size >= PIECE as u64 {
        return fsx::hash_reader(file);
    }
    BUFFER.with_borrow_mut(|buffer| {
        buffer.resize(PIECE, 0);
        let mut filled = 0;
        // The stamp shows whether the file has grown.
        while filled < size as usize {
            match file.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((Digest::of(&buffer[..filled]), filled as u64))
    })
}

fn index_name(root: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    Digest::of(root.as_os_str().as_bytes()).to_hex()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each insertion is atomic, so a panic elsewhere leaves no partial state.
    mutex.lock().unwrap_or_else(|held| held.into_inner())
}
