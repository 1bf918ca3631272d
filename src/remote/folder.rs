//! `file://`: a folder of this machine or of a shared disk, laid out as a store.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use super::names::COMPRESSED;
use super::transport::{Content, Created, Part, Remote, RemoteError};
use crate::digest::Digest;
use crate::fsx::calls::File;
use crate::fsx::{self, Beneath, Stamp, Temporary};
use crate::store::{ClaimsForm, Store};

/// What names of records begin with.
const RECORDS: &str = "records/";
/// The folder of incomplete files.
const TMP: &str = "tmp";
/// Files there that this version has not created are kept for this long.
const OTHERS: Duration = Duration::from_secs(3600);

/// A folder as a remote. Other users may put links and pipes into it; these are neither followed
/// nor opened.
#[derive(Debug)]
pub struct FolderRemote {
    root: PathBuf,
    shown: String,
    /// Whether leftovers of killed processes were removed.
    swept: AtomicBool,
    /// Blobs whose names a power failure may still take.
    fresh: Mutex<Vec<PathBuf>>,
}

impl FolderRemote {
    /// The folder at `root`, created on the first write.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            shown: format!("file://{}", root.display()),
            swept: AtomicBool::new(false),
            fresh: Mutex::default(),
        }
    }

    fn below(&self) -> io::Result<Beneath> {
        Beneath::open(&self.root)
    }

    /// The folder for writing.
    fn made(&self) -> io::Result<Beneath> {
        fsx::make_folders(&self.root)?;
        let below = self.below()?;
        if !self.swept.swap(true, Ordering::Relaxed) {
            // Leftovers that can't be swept only take space.
            // A lock on a file says nothing about other hosts.
            let own = match Store::form_at(&self.root) {
                Some(ClaimsForm::Lease) => OTHERS,
                _ => Duration::ZERO,
            };
            let _ = below.sweep(TMP, own, OTHERS);
        }
        Ok(below)
    }

    /// Makes the names of all blobs durable that were written so far.
    fn make_durable(&self) -> io::Result<()> {
        let mut fresh = self.fresh();
        if !fresh.is_empty() {
            fsx::sync_filesystem(&self.root, &fresh)?;
            fresh.clear();
        }
        Ok(())
    }

    fn fresh(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        self.fresh.lock().unwrap_or_else(|held| held.into_inner())
    }

    fn failed(&self, name: &str) -> impl FnOnce(io::Error) -> RemoteError + '_ {
        let path = self.root.join(name);
        let name = name.to_string();
        move |source| match source.kind() {
            _ if fsx::leads_over_link(&source) => RemoteError::Refused {
                remote: self.shown.clone(),
                why: source.to_string(),
            },
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => RemoteError::Missing {
                remote: self.shown.clone(),
                name,
            },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                RemoteError::Refused {
                    remote: self.shown.clone(),
                    why: format!("{}: {source}", path.display()),
                }
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory => RemoteError::Wrong {
                remote: self.shown.clone(),
                name,
                why: source.to_string(),
            },
            _ => RemoteError::Io { path, source },
        }
    }

    /// The content in a temporary file beside its final place, ready to be renamed.
    fn staged(&self, below: &Beneath, content: Content) -> Result<Temporary, Failure> {
        let source = match content {
            Content::Bytes(_) => None,
            // An error of the local file is not an error of the remote.
            Content::File(path) => Some(fsx::open_regular(path).map_err(|source| {
                Failure::Here(RemoteError::Io {
                    path: path.to_path_buf(),
                    source,
                })
            })?),
        };
        let mut file = below.temporary(TMP, fsx::SEALED)?;
        match (content, source) {
            (Content::Bytes(bytes), _) => file.write_all(bytes)?,
            (_, Some(mut source)) => drop(io::copy(&mut source, &mut file)?),
            _ => {}
        }
        file.file().sync_data()?;
        Ok(file)
    }

    /// Writes `content` under a temporary name, and calls `placed` with it.
    fn write<T>(
        &self,
        name: &str,
        content: Content,
        placed: fn(Temporary, &Beneath, &str) -> io::Result<T>,
    ) -> Result<T, RemoteError> {
        let attempt = || -> Result<T, Failure> {
            let below = self.made()?;
            let file = self.staged(&below, content)?;
            if name.starts_with(RECORDS) {
                // A power failure must not keep a record and take its blobs.
                self.make_durable()?;
                return Ok(placed(file, &below, name)?);
            }
            let placed = placed(file, &below, name)?;
            self.fresh().push(self.root.join(name));
            Ok(placed)
        };
        let written = match attempt() {
            // Another host, which does not see the locks of this one, has swept it.
            Err(Failure::There(error)) if error.kind() == io::ErrorKind::NotFound => attempt(),
            written => written,
        };
        written.map_err(|failure| match failure {
            Failure::Here(error) => error,
            Failure::There(error) => self.failed(name)(error),
        })
    }
}

/// The origin of a failure: the local file, or the folder.
enum Failure {
    Here(RemoteError),
    There(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::There(error)
    }
}

/// There is nothing of that name, or it is not a file.
fn is_none(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound};
    let kinds = [NotFound, NotADirectory, InvalidInput, IsADirectory];
    kinds.contains(&error.kind()) || fsx::leads_over_link(error)
}

impl Remote for FolderRemote {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        match self.below().and_then(|below| below.names(folder)) {
            Ok(names) => Ok(names.into_iter().map(|(name, _)| name).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(self.failed(folder)(error)),
        }
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        let below = match self.below() {
            Ok(below) => below,
            Err(error) if is_none(&error) => return Ok(vec![None; names.len()]),
            Err(error) => return Err(self.failed("")(error)),
        };
        let size = |name: &String| match below.stat(name) {
            Ok(stat) => Ok(Some(Stamp::of_stat(&stat).size)),
            Err(error) if is_none(&error) => Ok(None),
            Err(error) => Err(self.failed(name)(error)),
        };
        names.iter().map(size).collect()
    }

    fn intact(&self, name: &str, digest: &Digest) -> Result<Option<bool>, RemoteError> {
        let hash = || -> io::Result<Digest> {
            let mut file = self.below()?.file(name)?;
            let found = match name.ends_with(COMPRESSED) {
                true => fsx::hash_reader(&mut zstd::stream::read::Decoder::new(file)?),
                false => fsx::hash_reader(&mut file),
            };
            found.map(|(found, _)| found)
        };
        match hash() {
            Ok(found) => Ok(Some(found == *digest)),
            Err(error) if is_none(&error) => Ok(Some(false)),
            // Content that does not decompress is damaged; content that can't be read may be
            // intact.
            Err(_) if name.ends_with(COMPRESSED) => Ok(Some(false)),
            Err(error) => Err(self.failed(name)(error)),
        }
    }

    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError> {
        let open = || -> io::Result<File> {
            let mut file = self.below()?.file(name)?;
            if part.from > 0 {
                file.seek(SeekFrom::Start(part.from))?;
            }
            Ok(file)
        };
        let file = open().map_err(self.failed(name))?;
        io::copy(&mut file.take(part.most), into).map_err(self.failed(name))
    }

    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError> {
        self.write(name, content, Temporary::place)
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError> {
        match self.write(name, Content::Bytes(bytes), Temporary::place_new)? {
            true => Ok(Created::New),
            false => Ok(Created::There),
        }
    }

    fn remove(&self, name: &str) -> Result<(), RemoteError> {
        let removed = self.below().and_then(|below| below.remove(name));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(name)(error)),
            _ => Ok(()),
        }
    }
}
