//! Writes a bundle: entries in the order of `put`, each once.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::names::{Paths, path_fault};
use super::{ABOUT, About, BundleError, WORKFLOW};
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls::File;
use crate::remote::transport::{Content, Created, Part, Remote, RemoteError};

/// An unfinished bundle. `finish` moves it to its path.
pub struct BundleWriter {
    path: PathBuf,
    shown: String,
    /// The paths of the workflow's files.
    paths: Mutex<Paths>,
    inner: Mutex<Inner>,
}

struct Inner {
    zip: ZipWriter<fsx::Draft>,
    /// The sizes of entries by name.
    written: BTreeMap<String, u64>,
}

impl BundleWriter {
    /// Begins a bundle for the file at `path`.
    pub fn create(path: &Path, about: &About) -> Result<Self, BundleError> {
        let folder = path.parent().filter(|folder| *folder != Path::new(""));
        let folder = folder.unwrap_or(Path::new("."));
        let file = fsx::temporary(folder, fsx::SHARED).map_err(|source| BundleError::Io {
            path: path.to_path_buf(),
            source,
        })?;
        let writer = Self {
            path: path.to_path_buf(),
            shown: path.display().to_string(),
            paths: Mutex::default(),
            inner: Mutex::new(Inner {
                zip: ZipWriter::new(file),
                written: BTreeMap::new(),
            }),
        };
        // Encoding a format, a name and a list of names can't fail.
        let bytes = serde_json::to_vec_pretty(about).unwrap_or_default();
        writer.add(ABOUT, Content::Bytes(&bytes))?;
        Ok(writer)
    }

    /// Adds a file of the workflow, at a path relative to the workflow's folder.
    ///
    /// # Errors
    /// A path that a reader would reject.
    pub fn add_workflow_file(&self, relative: &str, bytes: &[u8]) -> Result<(), BundleError> {
        let mut paths = self.paths.lock().unwrap_or_else(|held| held.into_inner());
        let among_others = || paths.add(relative);
        let why = path_fault(relative)
            .map(str::to_string)
            .or_else(among_others);
        if let Some(why) = why {
            let relative = relative.to_string();
            return Err(BundleError::Name { relative, why });
        }
        self.add(&format!("{WORKFLOW}{relative}"), Content::Bytes(bytes))
    }

    /// Finishes the bundle and moves it to its path; returns its size.
    pub fn finish(self) -> Result<u64, BundleError> {
        let path = self.path;
        let io = |source| BundleError::Io {
            path: path.clone(),
            source,
        };
        let inner = self
            .inner
            .into_inner()
            .unwrap_or_else(|held| held.into_inner());
        let file = inner.zip.finish().map_err(|error| io(error.into()))?;
        file.file().sync_all().map_err(io)?;
        let bytes = file.file().metadata().map_err(io)?.len();
        fsx::place(file, &path).map_err(io)?;
        Ok(bytes)
    }

    fn add(&self, name: &str, content: Content) -> Result<(), BundleError> {
        self.append(name, content)
            .map_err(|source| BundleError::Io {
                path: self.path.clone(),
                source,
            })
    }

    fn append(&self, name: &str, content: Content) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(|held| held.into_inner());
        if inner.written.contains_key(name) {
            return Ok(());
        }
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(true);
        inner.zip.start_file(name, options)?;
        let bytes = match content {
            Content::Bytes(bytes) => {
                inner.zip.write_all(bytes)?;
                bytes.len() as u64
            }
            Content::File(path) => io::copy(&mut File::open(path)?, &mut inner.zip)?,
        };
        inner.written.insert(name.to_string(), bytes);
        Ok(())
    }

    fn written(&self) -> BTreeMap<String, u64> {
        let inner = self.inner.lock().unwrap_or_else(|held| held.into_inner());
        inner.written.clone()
    }
}

impl Remote for BundleWriter {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        let prefix = format!("{folder}/");
        let inner = self.inner.lock().unwrap_or_else(|held| held.into_inner());
        let after = inner.written.range(prefix.clone()..);
        let names = after.map_while(|(name, _)| name.strip_prefix(&prefix));
        Ok(names
            .filter(|name| !name.contains('/'))
            .map(str::to_string)
            .collect())
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        let written = self.written();
        Ok(names
            .iter()
            .map(|name| written.get(name).copied())
            .collect())
    }

    fn intact(&self, _: &str, _: &Digest) -> Result<Option<bool>, RemoteError> {
        Ok(None)
    }

    fn get(&self, _: &str, _: Part, _: &mut dyn Write) -> Result<u64, RemoteError> {
        Err(RemoteError::Refused {
            remote: self.shown.clone(),
            why: "an unfinished bundle can't be read".to_string(),
        })
    }

    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError> {
        self.append(name, content)
            .map_err(|source| RemoteError::Io {
                path: self.path.clone(),
                source,
            })
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError> {
        if self.written().contains_key(name) {
            return Ok(Created::There);
        }
        self.put(name, Content::Bytes(bytes)).map(|()| Created::New)
    }

    fn remove(&self, _: &str) -> Result<(), RemoteError> {
        Err(RemoteError::Refused {
            remote: self.shown.clone(),
            why: "entries can't be removed from a bundle".to_string(),
        })
    }
}
