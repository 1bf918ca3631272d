//! Handles uploads: writes to a file under `tmp/` while computing the digest, and moves it to its
//! name only if the digest matches.

use std::io::{self, Read, Write};
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, EXPECT, IF_NONE_MATCH};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::body::{BodyError, RequestBody, linger};
use super::reading::is_nothing;
use super::target::{Signed, Target};
use super::{Shared, answers, reading};
use crate::digest::Digest;
use crate::fsx::calls;
use crate::remote::names;
use crate::remote::record_check::{self, MOST_RECORD};
use crate::remote::signing::{MOST_ENVELOPE, PublicKey};
use crate::remote::statement::{self, Revocation};
use crate::store::{BlobError, Blobs, ForeignRecord, Incoming, Record, Signature};

/// Why an upload is rejected.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("its content has the digest {found}, which does not match its name; nothing was kept")]
    Digest { found: Digest },
    #[error("it does not decompress: {0}; nothing was kept")]
    Compressed(io::Error),
    #[error("{0}; nothing was kept")]
    Wrong(String),
    #[error("the signed record is missing here: upload it first")]
    NoRecord,
    #[error("{0}")]
    Large(BodyError),
    /// The client has disconnected, so it never receives this.
    #[error("the upload was interrupted")]
    Off,
    #[error("{0}")]
    Here(Box<dyn std::error::Error + Send + Sync>),
}

impl Refused {
    fn here(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Here(Box::new(error))
    }

    fn answer(&self) -> Response {
        let status = match self {
            Self::Digest { .. } | Self::Compressed(_) | Self::Wrong(_) => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::NoRecord => StatusCode::CONFLICT,
            Self::Large(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Off => StatusCode::BAD_REQUEST,
            Self::Here(error) => return answers::failed(error),
        };
        answers::text(status, &self.to_string())
    }
}

/// A message from the connection to the writer.
enum Step {
    Bytes(Bytes),
    /// The upload is complete. Without this message, the connection was interrupted.
    End,
}

/// Handles PUT.
pub async fn put(
    shared: &Arc<Shared>,
    target: Target,
    headers: &HeaderMap,
    body: Body,
) -> Response {
    let most = shared.most(&target);
    if said(headers).is_some_and(|bytes| bytes > most) {
        linger(headers, body, &shared.limits);
        return reading::refused(BodyError::Large(most));
    }
    let mut pieces = RequestBody::new(body, most, &shared.limits);
    let looking = shared.clone();
    match reading::blocking(move || looking.is_there(&target)).await {
        Ok(true) => there(headers, &mut pieces).await,
        Ok(false) => receive(shared, target, &mut pieces).await,
        Err(error) => answers::failed(&error),
    }
}

/// The response if the object exists already, which is left unchanged.
async fn there(headers: &HeaderMap, pieces: &mut RequestBody) -> Response {
    // A client that waits for `100 Continue` need not send the body.
    let waits = headers.contains_key(EXPECT);
    if !waits && let Err(broken) = pieces.discard().await {
        return reading::refused(broken);
    }
    let message = "it exists already";
    match headers.contains_key(IF_NONE_MATCH) {
        true => answers::text(StatusCode::PRECONDITION_FAILED, message),
        false => answers::text(StatusCode::OK, message),
    }
}

async fn receive(shared: &Arc<Shared>, target: Target, pieces: &mut RequestBody) -> Response {
    let (sender, receiver) = mpsc::channel(8);
    let taking = shared.clone();
    let taken = tokio::task::spawn_blocking(move || taking.take(&target, receiver));
    let mut broken = None;
    loop {
        let step = match pieces.next().await {
            Some(Ok(piece)) => Step::Bytes(piece),
            Some(Err(error)) => {
                broken = Some(error);
                break;
            }
            None => Step::End,
        };
        let is_end = matches!(step, Step::End);
        // The writer has stopped: the upload was rejected, and `taken` has the reason.
        if sender.send(step).await.is_err() || is_end {
            break;
        }
    }
    drop(sender);
    // Always wait: rejected content must be gone before the response.
    let taken = taken.await;
    if let Some(broken) = broken {
        return reading::refused(broken);
    }
    match taken {
        Ok(Ok(())) => answers::text(StatusCode::CREATED, "stored"),
        Ok(Err(refused)) => {
            let _ = pieces.discard().await;
            refused.answer()
        }
        Err(error) => answers::failed(&error),
    }
}

fn said(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

impl Shared {
    /// The size limit of an upload to `target`.
    fn most(&self, target: &Target) -> u64 {
        match target {
            Target::Object { .. } => self.limits.blob,
            Target::Record { .. } => MOST_RECORD,
            // Signatures and revocations; trials are even smaller.
            _ => MOST_ENVELOPE,
        }
    }

    /// Whether an upload would change nothing.
    fn is_there(&self, target: &Target) -> io::Result<bool> {
        match target {
            // Withheld: a client must not learn that it is here.
            Target::Object { digest, .. } if self.store.is_withheld(digest) => Ok(false),
            Target::Object { digest, .. } => match self.store.path(digest) {
                Ok(_) => Ok(true),
                Err(BlobError::Missing(_) | BlobError::Damaged(_)) => Ok(false),
                Err(error) => Err(io::Error::other(error)),
            },
            Target::Record { key, record } => match self.record(key, record) {
                Ok(_) => Ok(true),
                Err(Refused::Here(error)) => Err(io::Error::other(error)),
                Err(_) => Ok(false),
            },
            Target::Trial(number) => Ok(self.trials.has(*number)),
            Target::Signature(signed) => self.has_signature(signed),
            Target::Revocation { signer, envelope } => Ok(self
                .small_file(&names::revocation(signer, envelope))?
                .is_some_and(|bytes| Digest::of(&bytes) == *envelope)),
            _ => Ok(false),
        }
    }

    /// Whether a valid signature of the record is here. An invalid one is removed to make room for
    /// the upload.
    fn has_signature(&self, signed: &Signed) -> io::Result<bool> {
        let name = names::signature(&signed.key, &signed.record, &signed.signer);
        let Some(envelope) = self.small_file(&name)? else {
            return Ok(false);
        };
        let signer = PublicKey::from_name(&signed.signer);
        let speaks = self
            .record(&signed.key, &signed.record)
            .is_ok_and(|record| {
                statement::verify(&envelope, &signer, &signed.record, &record).is_ok()
            });
        if !speaks {
            tracing::warn!("removed because it is damaged: {name}");
            self.below.remove(&name)?;
        }
        Ok(speaks)
    }

    /// The content of a small file, if it exists.
    fn small_file(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = Vec::new();
        match self.below.file(name) {
            Ok(file) => file.take(MOST_RECORD).read_to_end(&mut bytes)?,
            Err(error) if is_nothing(name, &error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(bytes))
    }

    /// Receives an upload through `steps`, and stores it if it matches `target`.
    fn take(&self, target: &Target, steps: mpsc::Receiver<Step>) -> Result<(), Refused> {
        let incoming = self.store.incoming().map_err(Refused::here)?;
        // A link in its path could lead out of the store.
        let name = target.name();
        let above = name.rsplit_once('/').map_or("", |(above, _)| above);
        if !matches!(target, Target::Trial(_)) {
            self.below.make_folders(above).map_err(Refused::here)?;
        }
        match target {
            Target::Object {
                digest,
                compressed: true,
            } => {
                let incoming = decompressed(incoming, steps, self.limits.blob)?;
                self.keep(incoming, digest)
            }
            Target::Object { digest, .. } => self.keep(plain(incoming, steps)?, digest),
            Target::Record { key, record } => {
                let bytes = small(plain(incoming, steps)?)?;
                let record = record_check::record(&bytes, key, record).map_err(Refused::Wrong)?;
                self.adopt(record)
            }
            Target::Signature(signed) => {
                let envelope = small(plain(incoming, steps)?)?;
                self.add_signature(signed, envelope)
            }
            Target::Revocation { signer, envelope } => {
                self.add_revocation(signer, envelope, plain(incoming, steps)?)
            }
            Target::Trial(number) => {
                plain(incoming, steps)?;
                self.trials.add(*number);
                Ok(())
            }
            _ => Err(Refused::Wrong("this is read-only".to_string())),
        }
    }

    fn keep(&self, incoming: Incoming, digest: &Digest) -> Result<(), Refused> {
        let found = incoming.digest();
        match self.store.keep_incoming(incoming, digest) {
            Err(BlobError::Damaged(_)) => Err(Refused::Digest { found }),
            result => result.map_err(Refused::here),
        }
    }

    fn adopt(&self, record: Record) -> Result<(), Refused> {
        // Sets damaged records aside, so that they can be uploaded again.
        self.store.records(&record.key).map_err(Refused::here)?;
        let foreign = ForeignRecord {
            record,
            signatures: Vec::new(),
        };
        self.store.adopt(&[foreign]).map_err(Refused::here)
    }

    /// A record that is here and intact.
    fn record(&self, key: &Digest, digest: &Digest) -> Result<Record, Refused> {
        let bytes = self.small_file(&names::record(key, digest));
        match bytes.map_err(Refused::here)? {
            Some(bytes) => record_check::record(&bytes, key, digest).map_err(|_| Refused::NoRecord),
            None => Err(Refused::NoRecord),
        }
    }

    fn add_signature(&self, signed: &Signed, envelope: Vec<u8>) -> Result<(), Refused> {
        let record = self.record(&signed.key, &signed.record)?;
        let signer = PublicKey::from_name(&signed.signer);
        statement::verify(&envelope, &signer, &signed.record, &record)
            .map_err(|error| Refused::Wrong(error.to_string()))?;
        let signature = Signature {
            signer: signed.signer,
            envelope,
        };
        let added = self
            .store
            .add_signature(&signed.key, &signed.record, &signature);
        added.map_err(Refused::here)
    }

    fn add_revocation(
        &self,
        signer: &Digest,
        digest: &Digest,
        incoming: Incoming,
    ) -> Result<(), Refused> {
        let found = incoming.digest();
        if found != *digest {
            return Err(Refused::Digest { found });
        }
        let envelope = calls::read(incoming.path()).map_err(Refused::here)?;
        Revocation::open(&envelope, &PublicKey::from_name(signer))
            .map_err(|error| Refused::Wrong(error.to_string()))?;
        let path = self.store.root().join(names::revocation(signer, digest));
        incoming.place_durably(&path).map_err(Refused::here)
    }
}

/// The bytes of a small upload.
fn small(incoming: Incoming) -> Result<Vec<u8>, Refused> {
    calls::read(incoming.path()).map_err(Refused::here)
}

fn plain(mut incoming: Incoming, mut steps: mpsc::Receiver<Step>) -> Result<Incoming, Refused> {
    while let Some(step) = steps.blocking_recv() {
        match step {
            Step::Bytes(bytes) => incoming.write_all(&bytes).map_err(Refused::here)?,
            Step::End => return Ok(incoming),
        }
    }
    Err(Refused::Off)
}

fn decompressed(
    incoming: Incoming,
    mut steps: mpsc::Receiver<Step>,
    most: u64,
) -> Result<Incoming, Refused> {
    let bounded = Bounded {
        incoming,
        left: most,
        over: false,
    };
    let mut decoder = zstd::stream::write::Decoder::new(bounded).map_err(Refused::here)?;
    while let Some(step) = steps.blocking_recv() {
        let done = match &step {
            Step::Bytes(bytes) => decoder.write_all(bytes),
            Step::End => decoder.flush(),
        };
        match (done, step) {
            (Ok(()), Step::Bytes(_)) => {}
            (Ok(()), Step::End) => return Ok(decoder.into_inner().incoming),
            (Err(_), _) if decoder.get_ref().over => {
                return Err(Refused::Large(BodyError::Large(most)));
            }
            (Err(error), _) => return Err(Refused::Compressed(error)),
        }
    }
    Err(Refused::Off)
}

/// Refuses to grow beyond a limit: a few compressed bytes may expand to any size.
struct Bounded {
    incoming: Incoming,
    left: u64,
    over: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len() as u64;
        if count > self.left {
            self.over = true;
            return Err(io::Error::other("it is larger than allowed"));
        }
        let count = self.incoming.write(bytes)?;
        self.left -= count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.incoming.flush()
    }
}
