//! `s3://`, `gs://`, `az://`: a bucket as a remote, through `object_store`, called from blocking
//! threads. It handles requests and credentials; the names in a bucket are those of any remote.

mod bounded;
mod build;
mod failure;

use std::future::Future;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path as Key;
use object_store::{
    Error, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::options::Options;
use super::transport::{Content, Created, Part, Remote, RemoteError};
use crate::digest::Digest;
use crate::fetch::pace::{Limits, Pace};
use crate::fetch::web::silence::{self, Expectation, Server};
use crate::fsx::calls::{self, File};
use failure::Failure;

pub use build::Kind;

/// Larger files are uploaded in parts.
const LARGEST_WHOLE: u64 = 16 << 20;
const PART: u64 = 8 << 20;
/// S3 allows 10,000 parts.
const MOST_PARTS: u64 = 9_000;
/// Concurrent part uploads of one file; each part is held in memory.
const PARTS_AT_ONCE: usize = 4;
/// Concurrent requests for sizes.
const HEADS_AT_ONCE: usize = 16;
/// A list may take the time of this many responses; each has a thousand names.
const LIST_PAGES: u32 = 10;
/// Above this, the request has an open range: not every server supports larger numbers.
const MOST_COUNTED: u64 = 1 << 48;

/// A bucket, or the part of it below a prefix.
pub struct BucketRemote {
    shown: String,
    store: Arc<dyn ObjectStore>,
    prefix: String,
    limits: Limits,
    server: Arc<Server>,
    /// `None` only during drop.
    runtime: Option<Runtime>,
}

impl BucketRemote {
    /// `bucket/prefix` of a `kind` of bucket.
    pub fn new(
        kind: Kind,
        bucket: &str,
        prefix: &str,
        options: &Options,
    ) -> Result<Self, RemoteError> {
        let shown = match prefix {
            "" => format!("{}://{bucket}", kind.scheme()),
            _ => format!("{}://{bucket}/{prefix}", kind.scheme()),
        };
        let address = |why: String| RemoteError::Address {
            url: shown.clone(),
            why,
        };
        let server = match &options.endpoint {
            Some(endpoint) => silence::of_url(endpoint),
            None => silence::of(&format!("{}://{bucket}", kind.scheme())),
        };
        let store = build::store(kind, bucket, options, &server);
        let store = store.map_err(|error| address(error.clear()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("ribflow-bucket")
            .enable_all()
            .build()
            .map_err(|error| address(format!("its threads can't be started: {error}")))?;
        Ok(Self {
            store,
            prefix: prefix.to_string(),
            limits: options.limits,
            server,
            runtime: Some(runtime),
            shown,
        })
    }

    fn key(&self, name: &str) -> Result<Key, RemoteError> {
        let whole = match (self.prefix.as_str(), name) {
            ("", name) => name.to_string(),
            (prefix, "") => prefix.to_string(),
            (prefix, name) => format!("{prefix}/{name}"),
        };
        Key::parse(&whole).map_err(|error| RemoteError::Wrong {
            remote: self.shown.clone(),
            name: name.to_string(),
            why: error.to_string(),
        })
    }

    /// Runs `work` to completion on the calling thread, which must not be a thread of an
    /// asynchronous runtime, except one for blocking work.
    fn wait<T>(
        &self,
        name: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, RemoteError> {
        let Some(runtime) = &self.runtime else {
            unreachable!("the runtime is there until the remote is dropped");
        };
        runtime
            .block_on(work)
            .map_err(|failure| failure.into_remote_error(&self.shown, name))
    }

    fn expect(&self) -> Expectation {
        self.server.expect(&self.limits)
    }

    /// A request that transfers at most `bytes` bytes in both directions.
    async fn within<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Failure> {
        let request = async { request.await.map_err(Failure::Store) };
        let slow = || Failure::Slow("no response in time".to_string());
        // The progress of an upload is not visible here.
        let is_small = bytes < self.limits.least_in(self.limits.notice);
        let _expected = (is_small || !self.server.answered()).then(|| self.expect());
        self.limited(self.limits.of(bytes), request, slow).await
    }

    /// A request with a time limit, which is shorter if the server has never responded.
    async fn limited<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, Failure>>,
        slow: impl FnOnce() -> Failure,
    ) -> Result<T, Failure> {
        let wait = self.server.begin(&self.limits).map_err(Failure::Silent)?;
        let first = wait.left.unwrap_or(limit).min(limit);
        let mut request = std::pin::pin!(request);
        let unanswered = |failure| wait.over().map_or(failure, Failure::Silent);
        if !self.server.answered() {
            match tokio::time::timeout(first, &mut request).await {
                Ok(result) => return result.map_err(unanswered),
                Err(_) if !self.server.answered() => return Err(unanswered(slow())),
                Err(_) => {}
            }
        }
        match tokio::time::timeout(limit, request).await {
            Ok(result) => result,
            Err(_) => Err(slow()),
        }
    }

    async fn put_whole(&self, key: &Key, bytes: Vec<u8>, mode: PutMode) -> Result<(), Failure> {
        let size = bytes.len() as u64;
        let payload = PutPayload::from(bytes);
        self.within(size, self.store.put_opts(key, payload, mode.into()))
            .await
            .map(|_| ())
    }

    async fn put_parts(&self, key: &Key, path: &Path, size: u64) -> Result<(), Failure> {
        let file = File::open(path).map_err(|error| Failure::Local(path.into(), error))?;
        let mut upload = self.within(0, self.store.put_multipart(key)).await?;
        let result = async {
            self.send_parts(&mut *upload, file, path, size).await?;
            self.within(0, upload.complete()).await
        };
        match result.await {
            Ok(_) => Ok(()),
            Err(failure) => {
                // Uploaded parts cost money until they are removed.
                let _ = self.within(0, upload.abort()).await;
                Err(failure)
            }
        }
    }

    async fn send_parts(
        &self,
        upload: &mut dyn MultipartUpload,
        mut file: File,
        path: &Path,
        size: u64,
    ) -> Result<(), Failure> {
        let length = PART.max(size.div_ceil(MOST_PARTS));
        let mut under_way = JoinSet::new();
        // This many parts share the bandwidth.
        let time = length.saturating_mul(PARTS_AT_ONCE as u64);
        let mut left = size;
        while left > 0 || !under_way.is_empty() {
            if left > 0 && under_way.len() < PARTS_AT_ONCE {
                let now = left.min(length);
                let part = next_part(&mut file, now)
                    .map_err(|error| Failure::Local(path.into(), error))?;
                under_way.spawn(upload.put_part(part.into()));
                left -= now;
                continue;
            }
            let one = async { under_way.join_next().await.transpose() };
            if let Some(sent) = self.within(time, async { Ok(one.await?) }).await? {
                sent.map_err(Failure::Store)?;
            }
        }
        Ok(())
    }

    async fn copy(&self, key: &Key, part: Part, into: &mut dyn Write) -> Result<u64, Failure> {
        let end = part.from.checked_add(part.most);
        let range = match end.filter(|end| *end < MOST_COUNTED) {
            Some(end) => GetRange::Bounded(part.from..end),
            None => GetRange::Offset(part.from),
        };
        let options = GetOptions {
            range: Some(range),
            ..GetOptions::default()
        };
        let result = match self.within(0, self.store.get_opts(key, options)).await {
            Ok(result) => result,
            // The object ends before the part begins.
            Err(failure) if failure.status() == Some(416) => return Ok(0),
            Err(failure) => return Err(failure),
        };
        let expected = self.expect();
        let mut pieces = result.into_stream();
        let mut pace = Pace::new(self.limits);
        let mut copied = 0;
        while copied < part.most {
            let Ok(piece) = tokio::time::timeout(pace.left(), pieces.next()).await else {
                return Err(Failure::Slow(pace.complaint()));
            };
            let Some(piece) = piece else { break };
            let piece: Bytes = piece.map_err(Failure::Store)?;
            let wanted = usize::try_from(part.most - copied).unwrap_or(usize::MAX);
            let piece = &piece[..piece.len().min(wanted)];
            into.write_all(piece)
                .map_err(|error| Failure::Local(PathBuf::from(key.as_ref()), error))?;
            copied += piece.len() as u64;
            expected.moved(piece.len() as u64);
            if !pace.holds(piece.len() as u64) {
                return Err(Failure::Slow(pace.complaint()));
            }
        }
        expected.has_arrived();
        Ok(copied)
    }

    async fn size(&self, key: Key) -> Result<Option<u64>, Failure> {
        match self.within(0, self.store.head(&key)).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(Failure::Store(Error::NotFound { .. })) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn names(&self, folder: Key) -> Result<Vec<String>, Failure> {
        let limit = self.limits.answer.saturating_mul(LIST_PAGES);
        let request = self.store.list_with_delimiter(Some(&folder));
        let request = async { request.await.map_err(Failure::Store) };
        let slow = || Failure::Slow("the list does not end".to_string());
        let _expected = self.expect();
        let listed = match self.limited(limit, request, slow).await {
            Err(Failure::Store(Error::NotFound { .. })) => return Ok(Vec::new()),
            listed => listed?,
        };
        let objects = listed.objects.iter().map(|object| &object.location);
        let mut names: Vec<String> = objects
            .chain(&listed.common_prefixes)
            .filter_map(|key| key.filename().map(str::to_string))
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }
}

/// The next `length` bytes of a file. Fewer are an error, since the file must not change meanwhile.
fn next_part(file: &mut File, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let count = file.take(length).read_to_end(&mut bytes)?;
    match count as u64 == length {
        true => Ok(bytes),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

impl Remote for BucketRemote {
    fn shown(&self) -> &str {
        &self.shown
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, RemoteError> {
        let key = self.key(folder)?;
        self.wait(folder, self.names(key))
    }

    fn sizes(&self, names: &[String]) -> Result<Vec<Option<u64>>, RemoteError> {
        let keys: Vec<Key> = names
            .iter()
            .map(|name| self.key(name))
            .collect::<Result<_, _>>()?;
        let heads = keys.into_iter().map(|key| self.size(key));
        let heads = stream::iter(heads).buffered(HEADS_AT_ONCE).try_collect();
        let first = names.first().map(String::as_str);
        self.wait(first.unwrap_or_default(), heads)
    }

    fn intact(&self, _: &str, _: &Digest) -> Result<Option<bool>, RemoteError> {
        Ok(None)
    }

    fn get(&self, name: &str, part: Part, into: &mut dyn Write) -> Result<u64, RemoteError> {
        if part.most == 0 {
            return Ok(0);
        }
        let key = self.key(name)?;
        self.wait(name, self.copy(&key, part, into))
    }

    fn put(&self, name: &str, content: Content) -> Result<(), RemoteError> {
        let key = self.key(name)?;
        let local = |path: &Path| {
            let path = path.to_path_buf();
            move |source| RemoteError::Io { path, source }
        };
        let bytes = match content {
            Content::Bytes(bytes) => bytes.to_vec(),
            Content::File(path) => {
                let size = content.size().map_err(local(path))?;
                if size > LARGEST_WHOLE {
                    return self.wait(name, self.put_parts(&key, path, size));
                }
                calls::read(path).map_err(local(path))?
            }
        };
        self.wait(name, self.put_whole(&key, bytes, PutMode::Overwrite))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created, RemoteError> {
        let key = self.key(name)?;
        let work = async {
            let create = self.put_whole(&key, bytes.to_vec(), PutMode::Create);
            match create.await {
                Ok(()) => Ok(Created::New),
                Err(Failure::Store(Error::AlreadyExists { .. })) => Ok(Created::There),
                // The server does not support conditions.
                Err(failure) if failure.status() == Some(501) => {
                    let put = self.put_whole(&key, bytes.to_vec(), PutMode::Overwrite);
                    put.await.map(|()| Created::New)
                }
                Err(failure) => Err(failure),
            }
        };
        self.wait(name, work)
    }

    fn remove(&self, name: &str) -> Result<(), RemoteError> {
        let key = self.key(name)?;
        let work = async {
            match self.within(0, self.store.delete(&key)).await {
                Err(Failure::Store(Error::NotFound { .. })) => Ok(()),
                result => result,
            }
        };
        self.wait(name, work)
    }
}

impl Drop for BucketRemote {
    /// Never blocks, since a remote may be dropped where blocking is not allowed.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
