//! Handles reads: whole files, ranges, listings, and queries for many names.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::{BodyError, RequestBody};
use super::ranges::{self, RequestedRange};
use super::target::Target;
use super::{Shared, answers};
use crate::digest::Digest;
use crate::fsx::calls::File;
use crate::fsx::{self, Stamp};
use crate::remote::names::{InRecords, in_records};
use crate::remote::record_check::MOST_RECORD;
use crate::store::{BlobError, Blobs};

/// The chunk size of a file transfer.
const PIECE: usize = 128 << 10;
/// The pieces read ahead of a client. With those on their way, a client that reads nothing costs about
/// 1 MiB.
const AHEAD: usize = 2;
/// Limits of one `has` request: names, and bytes of the body.
const MOST_NAMES: usize = 10_000;
const MOST_ASKED: u64 = 4 << 20;
/// How long requested objects are verified before their sizes are reported; clients wait longer
/// than this.
const VERIFYING: Duration = Duration::from_secs(15);

/// The content under a name.
enum Answer {
    File { file: File, size: u64 },
    Listing(Value),
    Nothing,
}

/// Handles GET and HEAD.
pub async fn read(shared: &Arc<Shared>, target: Target, parts: &Parts) -> Response {
    let head = parts.method == Method::HEAD;
    let looking = shared.clone();
    let found = blocking(move || looking.find(&target, !head)).await;
    let (file, size) = match found {
        Ok(Answer::File { file, size }) => (file, size),
        Ok(Answer::Listing(listing)) => return answers::json(&listing),
        Ok(Answer::Nothing) => return answers::nothing_there(),
        Err(error) => return answers::failed(&error),
    };
    let tag = tag(&target);
    let mut response = match head {
        _ if ranges::is_known(&parts.headers, &tag) && target != Target::Description => {
            status(StatusCode::NOT_MODIFIED)
        }
        true => sized(Body::empty(), size),
        false => match ranges::requested(&parts.headers, &tag, size) {
            RequestedRange::Whole => sized(send(file, 0, size), size),
            RequestedRange::Part { from, count } => {
                let mut response = sized(send(file, from, count), count);
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let range = format!("bytes {from}-{}/{size}", from + count - 1);
                set(&mut response, CONTENT_RANGE, &range);
                response
            }
            RequestedRange::Outside => {
                let mut response = answers::text(
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    &format!("it has {size} bytes"),
                );
                set(&mut response, CONTENT_RANGE, &format!("bytes */{size}"));
                return response;
            }
        },
    };
    describe(&mut response, &target, &tag, shared.access.is_open());
    response
}

/// Handles `POST /has`: responds to a list of names with a list of sizes, or null for missing ones.
pub async fn has(shared: &Arc<Shared>, body: Body) -> Response {
    let mut pieces = RequestBody::new(body, MOST_ASKED, &shared.limits);
    let bytes = match pieces.whole().await {
        Ok(bytes) => bytes,
        Err(broken) => return refused(broken),
    };
    let Ok(names) = serde_json::from_slice::<Vec<String>>(&bytes) else {
        let message = "expected a JSON list of names";
        return answers::text(StatusCode::BAD_REQUEST, message);
    };
    if names.len() > MOST_NAMES {
        let message = format!("at most {MOST_NAMES} names are allowed");
        return answers::text(StatusCode::PAYLOAD_TOO_LARGE, &message);
    }
    let looking = shared.clone();
    let sizes = blocking(move || {
        let until = Instant::now() + VERIFYING;
        let sizes = names
            .iter()
            .map(|name| looking.size(name, Instant::now() < until));
        sizes.collect::<io::Result<Vec<Option<u64>>>>()
    });
    match sizes.await {
        Ok(sizes) => answers::json(&json!(sizes)),
        Err(error) => answers::failed(&error),
    }
}

/// The response to an invalid body.
pub fn refused(broken: BodyError) -> Response {
    let status = match broken {
        BodyError::Slow => StatusCode::REQUEST_TIMEOUT,
        BodyError::Off => StatusCode::BAD_REQUEST,
        BodyError::Large(_) => StatusCode::PAYLOAD_TOO_LARGE,
    };
    answers::text(status, &broken.to_string())
}

/// Runs file operations outside the threads of the async runtime.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

impl Shared {
    /// The content of `target`. With `verify`, only intact content is found.
    fn find(&self, target: &Target, verify: bool) -> io::Result<Answer> {
        let name = target.name();
        match target {
            Target::RecordsOf(_) => self.listing(&name, |file, is_file| {
                let may_share = match in_records(file) {
                    Some(InRecords::Record(record)) if is_file => {
                        self.may_share(&record, &format!("{name}{file}"))?
                    }
                    named => named.is_some(),
                };
                Ok(is_file && may_share)
            }),
            Target::Revocations => self.listing(&name, |file, is_file| {
                Ok(!is_file && file.parse::<Digest>().is_ok())
            }),
            Target::RevocationsOf(_) => self.listing(&name, |file, is_file| {
                let digest = file.strip_suffix(".sig");
                Ok(is_file && digest.is_some_and(|digest| digest.parse::<Digest>().is_ok()))
            }),
            Target::Description => self.description(&name),
            Target::Trials => Ok(Answer::Listing(self.trials.listed())),
            Target::Trial(_) => Ok(Answer::Nothing),
            Target::Object { digest, .. } if self.store.is_withheld(digest) => Ok(Answer::Nothing),
            Target::Record { record, .. } if !self.may_share(record, &name)? => Ok(Answer::Nothing),
            _ if verify && !self.is_whole(target, &name)? => Ok(Answer::Nothing),
            _ => self.open(&name),
        }
    }

    /// The description of the store, without its identity: with a copy of that, another person's
    /// folder could pass for one of this user's stores.
    fn description(&self, name: &str) -> io::Result<Answer> {
        let Answer::File { mut file, size } = self.open(name)? else {
            return Ok(Answer::Nothing);
        };
        let mut bytes = Vec::with_capacity(size.min(MOST_RECORD) as usize);
        file.read_to_end(&mut bytes)?;
        let mut description: Value = serde_json::from_slice(&bytes)?;
        if let Some(fields) = description.as_object_mut() {
            fields.retain(|field, _| !["id", "check"].contains(&field.as_str()));
        }
        Ok(Answer::Listing(description))
    }

    /// Whether the record `digest`, at the path `name`, may be shared.
    fn may_share(&self, digest: &Digest, name: &str) -> io::Result<bool> {
        let read = || match self.open(name)? {
            Answer::File { mut file, size } => {
                let mut bytes = Vec::with_capacity(size.min(MOST_RECORD) as usize);
                file.read_to_end(&mut bytes)?;
                Ok(Some(bytes))
            }
            Answer::Listing(_) | Answer::Nothing => Ok(None),
        };
        self.inline.may_share(&self.store, digest, read)
    }

    /// Whether the content of `name` matches the name.
    fn is_whole(&self, target: &Target, name: &str) -> io::Result<bool> {
        match target {
            Target::Object {
                digest,
                compressed: true,
            } => self.decompresses(digest, name),
            Target::Object { digest, .. } => match self.store.path(digest) {
                Ok(_) => Ok(true),
                Err(BlobError::Missing(_)) => Ok(false),
                Err(error @ BlobError::Damaged(_)) => {
                    tracing::warn!("not served: {error}");
                    Ok(false)
                }
                Err(error) => Err(io::Error::other(error)),
            },
            Target::Record { record: digest, .. }
            | Target::Revocation {
                envelope: digest, ..
            } => {
                let Answer::File { mut file, .. } = self.open(name)? else {
                    return Ok(false);
                };
                let (found, _) = fsx::hash_reader(&mut file)?;
                if found != *digest {
                    tracing::warn!("not served because it is damaged: {name}");
                }
                Ok(found == *digest)
            }
            // Clients verify the signature themselves.
            _ => Ok(true),
        }
    }

    /// Whether a compressed blob matches its name. Uses constant memory.
    fn decompresses(&self, digest: &Digest, name: &str) -> io::Result<bool> {
        let Answer::File { file, .. } = self.open(name)? else {
            return Ok(false);
        };
        let stamp = Stamp::of(&file.metadata()?);
        let known = || {
            self.compressed
                .lock()
                .unwrap_or_else(|held| held.into_inner())
        };
        if known().get(digest) == Some(stamp) {
            return Ok(true);
        }
        let most = self.limits.blob.saturating_add(1);
        let mut plain = zstd::stream::read::Decoder::new(file)?.take(most);
        let whole = fsx::hash_reader(&mut plain).is_ok_and(|(found, _)| found == *digest);
        match whole {
            true => known().insert(*digest, stamp),
            false => tracing::warn!("not served because it is damaged: {name}"),
        }
        Ok(whole)
    }

    /// The size of the object of this name.
    fn size(&self, name: &str, verify: bool) -> io::Result<Option<u64>> {
        let Some(target) = Target::parse(name) else {
            return Ok(None);
        };
        match target {
            Target::RecordsOf(_) | Target::Revocations | Target::RevocationsOf(_) => Ok(None),
            _ => match self.find(&target, verify)? {
                Answer::File { size, .. } => Ok(Some(size)),
                Answer::Listing(text) if target == Target::Description => {
                    Ok(Some(text.to_string().len() as u64))
                }
                Answer::Listing(_) | Answer::Nothing => Ok(None),
            },
        }
    }

    fn open(&self, name: &str) -> io::Result<Answer> {
        let opened = self.below.file(name).and_then(|file| {
            let size = file.metadata()?.len();
            Ok(Answer::File { file, size })
        });
        match opened {
            Err(error) if is_nothing(name, &error) => Ok(Answer::Nothing),
            opened => opened,
        }
    }

    /// Lists the `wanted` entries of a folder like nginx (`autoindex_format json`).
    fn listing(
        &self,
        folder: &str,
        wanted: impl Fn(&str, bool) -> io::Result<bool>,
    ) -> io::Result<Answer> {
        let names = match self.below.names(folder) {
            Err(error) if is_nothing(folder, &error) => return Ok(Answer::Listing(json!([]))),
            names => names?,
        };
        let mut listed = Vec::new();
        for (name, is_folder) in names {
            if !wanted(&name, !is_folder)? {
                continue;
            }
            let place = format!("{folder}{name}");
            listed.push(match is_folder {
                true => json!({ "name": name, "type": "directory" }),
                false => match self.below.stat(&place) {
                    Ok(stat) => {
                        let size = Stamp::of_stat(&stat).size;
                        json!({ "name": name, "type": "file", "size": size })
                    }
                    // It is gone, or not a file.
                    Err(_) => continue,
                },
            });
        }
        Ok(Answer::Listing(Value::Array(listed)))
    }
}

/// Whether there is nothing to serve under a name. Links and pipes in the store are logged.
pub(super) fn is_nothing(name: &str, error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, IsADirectory, NotADirectory, NotFound};
    let is_absent = matches!(error.kind(), NotFound | NotADirectory);
    let is_odd = fsx::leads_over_link(error) || matches!(error.kind(), InvalidInput | IsADirectory);
    if is_odd {
        tracing::warn!("not served: {name}: {error}");
    }
    is_absent || is_odd
}

/// Streams `count` bytes of a file, starting at `from`.
fn send(mut file: File, from: u64, count: u64) -> Body {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = pump(&mut file, from, count, &sender) {
            tracing::warn!("a file could not be read completely: {error}");
            // Aborts the transfer; fails only if the client is gone.
            let _ = sender.blocking_send(Err(error));
        }
    });
    Body::from_stream(stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    }))
}

fn pump(
    file: &mut File,
    from: u64,
    count: u64,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<()> {
    file.seek(SeekFrom::Start(from))?;
    let mut left = count;
    while left > 0 {
        let size = PIECE.min(usize::try_from(left).unwrap_or(PIECE));
        let mut piece = vec![0; size];
        file.read_exact(&mut piece)?;
        left -= size as u64;
        if sender.blocking_send(Ok(piece.into())).is_err() {
            // The client is gone.
            return Ok(());
        }
    }
    Ok(())
}

/// The entity tag: the digest in the name. An object that may be rewritten with other bytes gets a
/// distinct tag.
fn tag(target: &Target) -> String {
    match target {
        Target::Object {
            digest,
            compressed: false,
        } => format!("\"{digest}\""),
        Target::Object { digest, .. } => format!("\"{digest}.zst\""),
        Target::Record { record, .. } => format!("\"{record}\""),
        Target::Revocation { envelope, .. } => format!("\"{envelope}\""),
        Target::Signature(signed) => format!("\"{}.{}\"", signed.record, signed.signer),
        _ => format!("\"{}\"", target.name()),
    }
}

fn describe(response: &mut Response, target: &Target, tag: &str, open: bool) {
    let kind = match target {
        Target::Object { .. } => "application/octet-stream",
        _ => "application/json",
    };
    let for_ever = match open {
        true => "public, max-age=31536000, immutable",
        false => "private, max-age=31536000, immutable",
    };
    let caching = match target {
        Target::Object {
            compressed: false, ..
        }
        | Target::Record { .. }
        | Target::Revocation { .. } => for_ever,
        _ => "no-cache",
    };
    set(response, CONTENT_TYPE, kind);
    set(response, CACHE_CONTROL, caching);
    set(response, ETAG, tag);
    set(response, ACCEPT_RANGES, "bytes");
    // A browser must not treat a blob as a page of this server.
    set(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn sized(body: Body, size: u64) -> Response {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(size));
    response
}

fn set(response: &mut Response, name: axum::http::HeaderName, value: &str) {
    // Only digests, numbers and constants, which are valid in every header.
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
