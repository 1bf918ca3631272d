//! Reads a bundle. Names in the archive never choose a target path: the reader looks entries up by
//! names that it constructs itself, and entries below `workflow/` have plain relative paths.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::archive::{self, ArchiveError, Entry};
use super::names::{Paths, fault};
use super::{ABOUT, About, BUNDLE_FORMAT, BundleError, WORKFLOW};
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls::File;
use crate::remote::limited::Limited;
use crate::remote::names as at;
use crate::remote::transport::{self, Content, Created, Part, Remote, RemoteError};

/// The size limit of a workflow file: YAML, scripts.
const MOST_WORKFLOW_FILE: u64 = 64 << 20;
/// The total size limit of the workflow files.
const MOST_WORKFLOW: u64 = 1 << 30;
const BUFFER: usize = 1 << 16;

const OBJECTS: &str = "objects/";
const WHOLE: Part = Part {
    from: 0,
    most: u64::MAX,
};

/// Computes the CRC-32 of what is written to it.
struct Checksum(crc32fast::Hasher);

impl Write for Checksum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A finished bundle.
pub struct BundleReader {
    path: PathBuf,
    shown: String,
    file: File,
    /// The offset and length of each entry's bytes.
    entries: BTreeMap<String, (u64, u64)>,
    about: About,
}

impl BundleReader {
    /// Opens the bundle at `path`. Checks every name and size, and the checksum of everything
    /// except blobs, which have digests.
    ///
    /// # Errors
    /// The file has anything that is not allowed in a bundle of this format.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let io = |source| BundleError::Io {
            path: path.to_path_buf(),
            source,
        };
        let format = |why: String| BundleError::Format {
            path: path.to_path_buf(),
            why,
        };
        let file = fsx::open_regular(path).map_err(io)?;
        if !file.metadata().map_err(io)?.is_file() {
            return Err(format("it is not a file".to_string()));
        }
        let found = archive::entries(&file).map_err(|error| match error {
            ArchiveError::Io(source) => io(source),
            ArchiveError::Format(why) => format(why),
        })?;
        let mut paths = Paths::default();
        let mut entries = BTreeMap::new();
        for Entry {
            name, from, bytes, ..
        } in &found
        {
            let among_others = || paths.add(name);
            if let Some(why) = fault(name).or_else(among_others) {
                return Err(format(why));
            }
            entries.insert(name.clone(), (*from, *bytes));
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
                overrides: Vec::new(),
                files: BTreeMap::new(),
            },
        };
        for entry in found.iter().filter(|one| !one.name.starts_with(OBJECTS)) {
            if reader.crc(&entry.name).map_err(io)? != entry.crc {
                return Err(format(format!("{:?} is damaged", entry.name)));
            }
        }
        reader.about = reader.read_about()?;
        Ok(reader)
    }

    fn crc(&self, name: &str) -> io::Result<u32> {
        let mut hashing = Checksum(crc32fast::Hasher::new());
        let read = self.get(name, WHOLE, &mut hashing);
        read.map_err(io::Error::other)?;
        Ok(hashing.0.finalize())
    }

    fn read_about(&self) -> Result<About, BundleError> {
        let format = |why: String| self.format(why);
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
        if !self.entries.contains_key(&workflow) {
            return Err(format("its workflow is not in it".to_string()));
        }
        let of_workflow = self.workflow_names();
        let bytes = of_workflow.filter_map(|name| self.entries.get(&format!("{WORKFLOW}{name}")));
        if bytes.map(|(_, bytes)| *bytes).fold(0, u64::saturating_add) > MOST_WORKFLOW {
            return Err(format("its workflow is larger than 1 GiB".to_string()));
        }
        // If it lists its files, it contains exactly these.
        let named = about.files.keys().map(String::as_str);
        match about.files.is_empty() || named.eq(self.workflow_names()) {
            true => Ok(about),
            false => Err(format(
                "its files differ from those that it lists".to_string(),
            )),
        }
    }

    fn workflow_names(&self) -> impl Iterator<Item = &str> {
        let names = self.entries.keys();
        names.filter_map(|name| name.strip_prefix(WORKFLOW))
    }

    /// Whether the bundle lists the digests of the workflow's files.
    pub fn is_checked(&self) -> bool {
        !self.about.files.is_empty()
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// The workflow's files: plain relative paths with their bytes.
    ///
    /// # Errors
    /// A file has a different digest than the bundle lists.
    pub fn workflow_files(&self) -> Result<BTreeMap<String, Vec<u8>>, BundleError> {
        let read = |relative: &str| {
            let name = format!("{WORKFLOW}{relative}");
            let bytes = transport::read(self, &name, MOST_WORKFLOW_FILE);
            let bytes = bytes.map_err(|error| self.format(error.to_string()))?;
            match self.about.files.get(relative) {
                Some(digest) if *digest != Digest::of(&bytes) => {
                    Err(self.format(format!("{name:?} is damaged")))
                }
                _ => Ok((relative.to_string(), bytes)),
            }
        };
        self.workflow_names().map(read).collect()
    }

    fn format(&self, why: String) -> BundleError {
        BundleError::Format {
            path: self.path.clone(),
            why,
        }
    }

    /// The keys that have records.
    pub fn keys(&self) -> Vec<Digest> {
        let names = self.entries.keys();
        let keys = names.filter_map(|name| name.strip_prefix("records/")?.split('/').nth(1));
        let mut keys: Vec<Digest> = keys.filter_map(|key| key.parse().ok()).collect();
        keys.dedup();
        keys
    }

    /// The blobs in it, plain or compressed.
    pub fn blobs(&self) -> Vec<Digest> {
        let names = self.entries.keys();
        let blobs = names.filter_map(|name| {
            let (prefix, rest) = name.strip_prefix("objects/")?.split_once('/')?;
            let rest = rest.strip_suffix(at::COMPRESSED).unwrap_or(rest);
            format!("{prefix}{rest}").parse().ok()
        });
        let mut blobs: Vec<Digest> = blobs.collect();
        blobs.sort();
        blobs.dedup();
        blobs
    }

    /// The first blob whose content does not match its name. Blobs without an entry in `sizes` may
    /// have at most `most` bytes.
    pub fn damaged(&self, sizes: &BTreeMap<Digest, u64>, most: u64) -> Option<Digest> {
        let mut blobs = self.blobs().into_iter();
        blobs.find(|digest| {
            let most = sizes.get(digest).copied().unwrap_or(most);
            self.content(digest, most).ok() != Some(*digest)
        })
    }

    /// The digest of the content under a blob's name.
    fn content(&self, digest: &Digest, most: u64) -> io::Result<Digest> {
        let mut hashing = Limited::new(blake3::Hasher::new(), most);
        let read = match self.entries.contains_key(&at::object(digest)) {
            true => self.get(&at::object(digest), WHOLE, &mut hashing),
            false => {
                let mut decoder = zstd::stream::write::Decoder::new(&mut hashing)?;
                let read = self.get(&at::compressed(digest), WHOLE, &mut decoder);
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
            why: "a finished bundle can't be changed".to_string(),
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

    fn intact(&self, _: &str, _: &Digest) -> Result<Option<bool>, RemoteError> {
        Ok(None)
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

#[cfg(test)]
mod tests {
    use super::super::BundleWriter;
    use super::*;

    const FILES: [(&str, &str); 2] = [
        ("grid.yaml", "run: \"echo 1 > out/x\"\n"),
        ("tools/x.sh", "true\n"),
    ];

    fn made(folder: &Path, with_digests: bool) -> PathBuf {
        let path = folder.join("grid.ribbundle");
        let digests = FILES.map(|(path, text)| (path.to_string(), Digest::of(text.as_bytes())));
        let about = About {
            ribflow_bundle: BUNDLE_FORMAT,
            workflow: "grid.yaml".to_string(),
            profiles: vec!["tiny".to_string()],
            overrides: Vec::new(),
            files: BTreeMap::from(digests),
        };
        let about = match with_digests {
            true => about,
            false => About {
                files: BTreeMap::new(),
                ..about
            },
        };
        let writer = BundleWriter::create(&path, &about).unwrap();
        for (relative, text) in FILES {
            writer.add_workflow_file(relative, text.as_bytes()).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    /// The description and the files of a bundle.
    type Held = (About, BTreeMap<String, Vec<u8>>);

    fn read(path: &Path) -> Result<Held, BundleError> {
        let reader = BundleReader::open(path)?;
        Ok((reader.about().clone(), reader.workflow_files()?))
    }

    #[test]
    fn no_flipped_bit_changes_what_is_imported() {
        let space = tempfile::tempdir().unwrap();
        for with_digests in [true, false] {
            let path = made(space.path(), with_digests);
            let held = read(&path).unwrap();
            assert_eq!(held.0.files.is_empty(), !with_digests);
            let whole = std::fs::read(&path).unwrap();
            let mut idle = 0;
            for bit in 0..whole.len() * 8 {
                let mut damaged = whole.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, damaged).unwrap();
                if let Ok(found) = read(&path) {
                    assert_eq!(found, held, "bit {bit}");
                    idle += 1;
                }
            }
            // In each entry: the versions that made it and that are needed to read it (twice), the
            // text flag, and its permissions.
            assert!(idle <= 3 * 8 * (2 + 2 + 2 + 2 + 4), "{idle} ignored bits");
            for length in 0..whole.len() {
                std::fs::write(&path, &whole[..length]).unwrap();
                assert!(read(&path).is_err(), "{length} bytes");
            }
        }
    }

    #[test]
    fn what_no_reader_takes_is_not_written() {
        let space = tempfile::tempdir().unwrap();
        let about = About {
            ribflow_bundle: BUNDLE_FORMAT,
            workflow: "grid.yaml".to_string(),
            profiles: Vec::new(),
            overrides: Vec::new(),
            files: BTreeMap::new(),
        };
        let writer = BundleWriter::create(&space.path().join("x"), &about).unwrap();
        let add = |relative: &str| writer.add_workflow_file(relative, b"");
        add("grid.yaml").unwrap();
        for relative in [
            ".env",
            "cache/x.py",
            "../x",
            "grid.yaml",
            "Grid.yaml",
            "grid.yaml/x",
        ] {
            let refused = add(relative);
            assert!(
                matches!(refused, Err(BundleError::Name { .. })),
                "{relative}"
            );
        }
    }
}
