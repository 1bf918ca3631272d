//! Reading a bundle. Nothing of it is unpacked by name: entries are looked up by names that the
//! reader makes itself, or lie below `workflow/` under plain relative paths.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use zip::{CompressionMethod, ZipArchive};

use super::{ABOUT, About, BUNDLE_FORMAT, BundleError, WORKFLOW, is_known};
use crate::digest::Digest;
use crate::remote::limited::Limited;
use crate::remote::names;
use crate::remote::transport::{self, Content, Created, Part, Remote, RemoteError};

/// More entries than a grid of a million cells would need.
const MOST_ENTRIES: usize = 5_000_000;
/// Largest file of a workflow: YAML, scripts.
const MOST_WORKFLOW_FILE: u64 = 64 << 20;
const BUFFER: usize = 1 << 16;

/// A finished bundle.
pub struct BundleReader {
    path: PathBuf,
    shown: String,
    file: File,
    /// Where each entry's bytes lie: from, and how many.
    entries: BTreeMap<String, (u64, u64)>,
    about: About,
}

impl BundleReader {
    /// Opens the bundle at `path` and looks at every name and size in it.
    ///
    /// # Errors
    /// Anything that a bundle of this format does not have.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let io = |source| BundleError::Io {
            path: path.to_path_buf(),
            source,
        };
        let format = |why: String| BundleError::Format {
            path: path.to_path_buf(),
            why,
        };
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let copy = file.try_clone().map_err(io)?;
        let mut archive = ZipArchive::new(copy).map_err(|error| format(error.to_string()))?;
        if archive.len() > MOST_ENTRIES {
            return Err(format("it has too many entries".to_string()));
        }
        let mut entries = BTreeMap::new();
        let mut total = 0u64;
        for index in 0..archive.len() {
            let entry = archive
                .by_index(index)
                .map_err(|error| format(error.to_string()))?;
            let name = entry.name();
            let name = name
                .map_err(|error| format(error.to_string()))?
                .into_owned();
            if !is_known(&name) {
                return Err(format(format!("{name:?} has no place in a bundle")));
            }
            if entry.compression() != CompressionMethod::Stored {
                return Err(format(format!("{name} is compressed")));
            }
            total = total.saturating_add(entry.size());
            let from = entry.data_start().unwrap_or(u64::MAX);
            if total > length || from.saturating_add(entry.size()) > length {
                return Err(format(format!("{name} claims more bytes than there are")));
            }
            if entries.insert(name.clone(), (from, entry.size())).is_some() {
                return Err(format(format!("{name} comes twice")));
            }
        }
        let mut reader = Self {
            path: path.to_path_buf(),
            shown: path.display().to_string(),
            file,
            entries,
            about: About {
                ribflow_bundle: BUNDLE_FORMAT,
                workflow: String::new(),
                profiles: Vec::new(),
            },
        };
        reader.about = reader.read_about()?;
        Ok(reader)
    }

    fn read_about(&self) -> Result<About, BundleError> {
        let format = |why: String| BundleError::Format {
            path: self.path.clone(),
            why,
        };
        let bytes = transport::read(self, ABOUT, MOST_WORKFLOW_FILE);
        let bytes = bytes.map_err(|error| format(error.to_string()))?;
        let about: About =
            serde_json::from_slice(&bytes).map_err(|error| format(error.to_string()))?;
        if about.ribflow_bundle > BUNDLE_FORMAT {
            return Err(BundleError::Later {
                path: self.path.clone(),
                found: about.ribflow_bundle,
            });
        }
        let workflow = format!("{WORKFLOW}{}", about.workflow);
        match self.entries.contains_key(&workflow) {
            true => Ok(about),
            false => Err(format("its workflow is not in it".to_string())),
        }
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// The workflow's files: plain relative paths and their bytes.
    pub fn workflow_files(&self) -> Result<BTreeMap<String, Vec<u8>>, RemoteError> {
        let files = self
            .entries
            .keys()
            .filter_map(|name| name.strip_prefix(WORKFLOW));
        files
            .map(|relative| {
                let name = format!("{WORKFLOW}{relative}");
                let bytes = transport::read(self, &name, MOST_WORKFLOW_FILE)?;
                Ok((relative.to_string(), bytes))
            })
            .collect()
    }

    /// The keys of which there are records.
    pub fn keys(&self) -> Vec<Digest> {
        let names = self.entries.keys();
        let keys = names.filter_map(|name| name.strip_prefix("records/")?.split('/').nth(1));
        let mut keys: Vec<Digest> = keys.filter_map(|key| key.parse().ok()).collect();
        keys.dedup();
        keys
    }

    /// The blobs that lie in it, in either form.
    pub fn blobs(&self) -> Vec<Digest> {
        let names = self.entries.keys();
        let blobs = names.filter_map(|name| {
            let (prefix, rest) = name.strip_prefix("objects/")?.split_once('/')?;
            let rest = rest.strip_suffix(names::COMPRESSED).unwrap_or(rest);
            format!("{prefix}{rest}").parse().ok()
        });
        let mut blobs: Vec<Digest> = blobs.collect();
        blobs.sort();
        blobs.dedup();
        blobs
    }

    /// The first blob whose content is not what its name says. Those of which nobody has told the
    /// size have at most `most` bytes.
    pub fn damaged(&self, sizes: &BTreeMap<Digest, u64>, most: u64) -> Option<Digest> {
        let mut blobs = self.blobs().into_iter();
        blobs.find(|digest| {
            let most = sizes.get(digest).copied().unwrap_or(most);
            self.content(digest, most).ok() != Some(*digest)
        })
    }

    /// The digest of what lies under a blob's name.
    fn content(&self, digest: &Digest, most: u64) -> io::Result<Digest> {
        let mut hashing = Limited::new(blake3::Hasher::new(), most);
        let all = Part {
            from: 0,
            most: u64::MAX,
        };
        let read = match self.entries.contains_key(&names::object(digest)) {
            true => self.get(&names::object(digest), all, &mut hashing),
            false => {
                let mut decoder = zstd::stream::write::Decoder::new(&mut hashing)?;
                let read = self.get(&names::compressed(digest), all, &mut decoder);
                decoder.flush()?;
                read
            }
        };
        read.map_err(io::Error::other)?;
        Ok(Digest::finish(&hashing.into_inner()))
    }

    fn refuses<T>(&self) -> Result<T, RemoteError> {
        Err(RemoteError::Refused {
            remote: self.shown.clone(),
            why: "a finished bundle does not change".to_string(),
        })
    }
}

impl Remote for BundleReader {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        let prefix = format!("{folder}/");
        let after = self.entries.range(prefix.clone()..);
        let names = after.map_while(|(name, _)| name.strip_prefix(&prefix));
        let mut names: Vec<String> = names
            .map(|name| name.split('/').next().unwrap_or_default().to_string())
            .collect();
        names.dedup();
        Ok(names)
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        let sizes = names.iter().map(|name| self.entries.get(name));
        Ok(sizes.map(|entry| entry.map(|(_, bytes)| *bytes)).collect())
    }

    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError> {
        let Some((start, size)) = self.entries.get(name) else {
            return Err(RemoteError::Missing {
                remote: self.shown.clone(),
                name: name.to_string(),
            });
        };
        let io = |source: io::Error| RemoteError::Io {
            path: self.path.clone(),
            source,
        };
        let from = part.from.min(*size);
        let mut left = part.most.min(size - from);
        let mut at = start + from;
        let mut buffer = vec![0; BUFFER];
        let mut total = 0;
        while left > 0 {
            let wish = left.min(BUFFER as u64) as usize;
            let count = self.file.read_at(&mut buffer[..wish], at).map_err(io)?;
            if count == 0 {
                return Err(io(io::ErrorKind::UnexpectedEof.into()));
            }
            into.write_all(&buffer[..count]).map_err(io)?;
            at += count as u64;
            left -= count as u64;
            total += count as u64;
        }
        Ok(total)
    }

    fn put(&self, _: &str, _: Content) -> Result<(), RemoteError> {
        self.refuses()
    }

    fn create(&self, _: &str, _: &[u8]) -> Result<Created, RemoteError> {
        self.refuses()
    }

    fn remove(&self, _: &str) -> Result<(), RemoteError> {
        self.refuses()
    }
}
