//! Fetches blobs: several at once, large ones in parts, resumed after an interruption, verified
//! before use.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::parallel;
use super::parts::Parts;
use super::{Exchange, Peer};
use crate::fsx;
use crate::fsx::calls::{self, File};
use crate::remote::limited::Limited;
use crate::remote::names;
use crate::remote::transport::{Part, Remote, RemoteError};
use crate::store::{BlobError, BlobRequest, BlobSource, Store};

/// The size limit of a blob of unknown size (a long list of files).
pub const MOST_UNKNOWN_SIZE: u64 = 2 << 30;
/// Blobs of at least this size are fetched in parts.
const LARGE: u64 = 32 << 20;

impl BlobSource for Exchange {
    fn fetch(&self, store: &Store, wanted: &[BlobRequest]) {
        let (large, small): (Vec<BlobRequest>, Vec<BlobRequest>) = wanted
            .iter()
            .partition(|wanted| wanted.bytes.is_some_and(|bytes| bytes >= LARGE));
        parallel::map(&small, |wanted| self.fetch_one(store, wanted));
        // Each large blob uses several connections.
        large
            .iter()
            .for_each(|wanted| self.fetch_one(store, wanted));
    }
}

impl Exchange {
    /// Tries one peer after another.
    fn fetch_one(&self, store: &Store, wanted: &BlobRequest) {
        for peer in &self.peers {
            if self.is_cancelled() || peer.remote.is_down() {
                continue;
            }
            let fetch = Fetch {
                exchange: self,
                peer,
                store,
                wanted,
            };
            match fetch.run() {
                Ok(()) => return,
                Err(FetchError::Remote(RemoteError::Missing { .. })) => {}
                Err(trouble) => {
                    match trouble {
                        FetchError::Forged | FetchError::Compressed(_) => {
                            self.note_refused(&peer.name, wanted.digest);
                        }
                        _ => self.failed.store(true, Ordering::Relaxed),
                    }
                    let digest = wanted.digest.short();
                    self.complain(format!("{}: blob {digest}: {trouble}", peer.name));
                }
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error("its content does not match the digest in its name; nothing was kept")]
    Forged,
    #[error("it does not decompress to the expected content: {0}")]
    Compressed(io::Error),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Blob(BlobError),
}

impl FetchError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

/// One blob from one peer.
struct Fetch<'a> {
    exchange: &'a Exchange,
    peer: &'a Peer,
    store: &'a Store,
    wanted: &'a BlobRequest,
}

impl Fetch<'_> {
    fn run(&self) -> Result<(), FetchError> {
        let folder = self.store.downloads().join("blobs");
        fsx::make_folders(&folder).map_err(FetchError::io(&folder))?;
        let file = folder.join(self.wanted.digest.to_hex());
        let lock = file.with_extension("lock");
        // The former holder may have fetched the blob in the meantime.
        let locks = self.store.locks();
        let _lock = locks.acquire(&lock).map_err(FetchError::io(&lock))?;
        if self.store.has(&self.wanted.digest) {
            return Ok(());
        }
        fsx::give_way(&file);
        // Earlier content may come from another remote, and be wrong.
        let goes_on = file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        match self.bring(&file) {
            Err(FetchError::Forged) if goes_on => self.bring(&file),
            result => result,
        }
    }

    /// Fetches the blob into `file`, and adds it to the store.
    fn bring(&self, file: &Path) -> Result<(), FetchError> {
        match self.plain(file) {
            Err(FetchError::Remote(RemoteError::Missing { .. })) => self.compressed(file)?,
            result => result?,
        }
        match self.store.take_in(file, &self.wanted.digest) {
            Err(BlobError::Damaged(_)) => Err(FetchError::Forged),
            result => result.map_err(FetchError::Blob),
        }
    }

    fn most(&self) -> u64 {
        self.wanted.bytes.unwrap_or(MOST_UNKNOWN_SIZE)
    }

    /// Fetches the plain blob into `path`; resumes after existing content.
    fn plain(&self, path: &Path) -> Result<(), FetchError> {
        let name = names::object(&self.wanted.digest);
        if let Some(bytes) = self.wanted.bytes.filter(|bytes| *bytes >= LARGE) {
            let remote = &self.peer.remote;
            let parts = Parts::open(path, bytes).map_err(FetchError::io(path))?;
            return parts.fetch(remote, &name, &self.exchange.received).map_err(
                |error| match error {
                    Ok(error) => FetchError::Remote(error),
                    Err(error) => FetchError::io(path)(error),
                },
            );
        }
        let mut file = open(path, true).map_err(FetchError::io(path))?;
        let from = file.metadata().map_err(FetchError::io(path))?.len();
        let most = self.most();
        if from > most {
            file.set_len(0).map_err(FetchError::io(path))?;
        }
        let from = if from > most { 0 } else { from };
        // One byte beyond the limit shows that the content is wrong.
        let part = Part {
            from,
            most: (most - from).saturating_add(1),
        };
        let count = self.get(&name, part, &mut file)?;
        let total = from + count;
        if total > most || self.wanted.bytes.is_some_and(|bytes| total != bytes) {
            let _ = calls::remove_file(path);
            return Err(FetchError::Forged);
        }
        Ok(())
    }

    /// Fetches the compressed form. The output never exceeds the size of the blob.
    fn compressed(&self, path: &Path) -> Result<(), FetchError> {
        let name = names::compressed(&self.wanted.digest);
        let most = self.most();
        let file = open(path, false).map_err(FetchError::io(path))?;
        let limited = Limited::new(file, most);
        let mut decoder =
            zstd::stream::write::Decoder::new(limited).map_err(FetchError::Compressed)?;
        let part = Part { from: 0, most };
        let fetched = self.get(&name, part, &mut decoder);
        let flushed = decoder.flush();
        match (fetched, flushed) {
            (Ok(_), Ok(())) => Ok(()),
            (Err(error @ RemoteError::Missing { .. }), _) => {
                let _ = calls::remove_file(path);
                Err(error.into())
            }
            (Err(RemoteError::Io { source, .. }), _) | (_, Err(source)) => {
                let _ = calls::remove_file(path);
                Err(FetchError::Compressed(source))
            }
            (Err(error), _) => {
                let _ = calls::remove_file(path);
                Err(error.into())
            }
        }
    }

    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError> {
        let count = self.peer.remote.get(name, part, into)?;
        self.exchange.received.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }
}

fn open(path: &Path, keep: bool) -> io::Result<File> {
    fsx::unlink_if_link(path)?;
    let mut options = OpenOptions::new();
    options.create(true);
    match keep {
        true => options.append(true),
        false => options.write(true).truncate(true),
    };
    File::open_with(path, &options)
}
