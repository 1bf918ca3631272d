//! `file://`: a folder of this machine or of a shared disk, laid out as a store.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::transport::{Content, Created, Part, Remote, RemoteError};
use crate::fsx;

/// A folder as a remote.
#[derive(Debug)]
pub struct FolderRemote {
    root: PathBuf,
    shown: String,
}

impl FolderRemote {
    /// The folder at `root`, made when something is first written to it.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            shown: format!("file://{}", root.display()),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn failed(&self, name: &str) -> impl FnOnce(io::Error) -> RemoteError + '_ {
        let path = self.path(name);
        let missing = RemoteError::Missing {
            remote: self.shown.clone(),
            name: name.to_string(),
        };
        move |source| match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                RemoteError::Refused {
                    remote: self.shown.clone(),
                    why: format!("{}: {source}", path.display()),
                }
            }
            _ => RemoteError::Io { path, source },
        }
    }

    /// The content in a temporary file beside its final place, ready to be renamed.
    fn staged(&self, content: Content) -> io::Result<tempfile::NamedTempFile> {
        let folder = self.root.join("tmp");
        fs::create_dir_all(&folder)?;
        let mut file = fsx::temporary(&folder, fsx::SEALED)?;
        match content {
            Content::Bytes(bytes) => file.write_all(bytes)?,
            Content::File(path) => {
                io::copy(&mut File::open(path)?, file.as_file_mut())?;
            }
        }
        file.as_file().sync_data()?;
        Ok(file)
    }
}

impl Remote for FolderRemote {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        let entries = match fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(folder)(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(self.failed(folder))?;
            names.extend(entry.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        let size = |name: &String| match fs::metadata(self.path(name)) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) => match self.failed(name)(error) {
                RemoteError::Missing { .. } => Ok(None),
                error => Err(error),
            },
        };
        names.iter().map(size).collect()
    }

    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError> {
        let mut file = File::open(self.path(name)).map_err(self.failed(name))?;
        if part.from > 0 {
            file.seek(SeekFrom::Start(part.from))
                .map_err(self.failed(name))?;
        }
        io::copy(&mut file.take(part.most), into).map_err(self.failed(name))
    }

    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError> {
        let file = self.staged(content).map_err(self.failed(name))?;
        fsx::place(file, &self.path(name)).map_err(self.failed(name))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError> {
        let path = self.path(name);
        let file = self
            .staged(Content::Bytes(bytes))
            .map_err(self.failed(name))?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(self.failed(name))?;
        }
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(Created::New),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(Created::There),
            Err(error) => Err(self.failed(name)(error.error)),
        }
    }

    fn remove(&self, name: &str) -> Result<(), RemoteError> {
        match fs::remove_file(self.path(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failed(name)(error)),
            _ => Ok(()),
        }
    }
}
