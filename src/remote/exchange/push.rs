//! Pushing records and what they name: blobs first, then the record, then the word for it, so that
//! whoever sees a record can have its blobs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;

use super::parallel;
use super::{Exchange, Neighbour};
use crate::digest::Digest;
use crate::remote::names::{self, InRecords, in_records};
use crate::remote::signing::{PublicKey, SecretKey};
use crate::remote::statement;
use crate::remote::transport::{Content, Remote, RemoteError};
use crate::remote::trust::Standing;
use crate::store::{BlobError, Blobs, Signature, Store, StoreError, StoredRecord};

/// From this size on it is tried whether a blob compresses.
const WORTH_COMPRESSING: u64 = 4096;
/// So much of a blob is compressed to see whether the whole should be.
const SAMPLE: usize = 256 << 10;
/// A compressed blob is kept where it is at most this share of the plain one. Measured: float32
/// weights come to 0.92, which is not worth the time; labels, JSON and drawn images to below 0.5.
const WORTH: f64 = 0.8;
const LEVEL: i32 = 3;

/// What is pushed.
#[derive(Clone, Copy, Debug)]
pub struct Pushing {
    /// The records and who vouches for them, and no blob.
    pub records_only: bool,
    /// Find out what would move, and move nothing.
    pub dry_run: bool,
}

/// What has moved, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Records that the remote did not have.
    pub records: usize,
    /// Records that it had, with everything.
    pub there: usize,
    pub blobs: usize,
    /// Bytes of the records and blobs that moved, as they are here.
    pub bytes: u64,
    /// The same as they were sent: some blobs go compressed.
    pub sent: u64,
    /// Bytes of blobs that were there already.
    pub spared: u64,
    /// Blobs that a licence keeps here, and records that hold such data themselves.
    pub withheld: usize,
    /// Blobs that are not in this store either.
    pub absent: usize,
}

impl Pushed {
    /// Counts `more` too.
    pub fn add(&mut self, more: &Self) {
        self.records += more.records;
        self.there += more.there;
        self.blobs += more.blobs;
        self.bytes += more.bytes;
        self.sent += more.sent;
        self.spared += more.spared;
        self.withheld += more.withheld;
        self.absent += more.absent;
    }
}

/// Why something could not be pushed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    #[error(transparent)]
    Remote(#[from] RemoteError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("there is no key to sign with")]
    NoKey,
    #[error("interrupted")]
    Cancelled,
    #[error("{path}: {source}")]
    Io {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
}

impl Exchange {
    /// Pushes `records` of `store` to a neighbour, and says what moved.
    ///
    /// # Errors
    /// The first failure; what was pushed until then stays and is not pushed again.
    pub fn push(
        &self,
        neighbour: &Neighbour,
        store: &Store,
        records: &[StoredRecord],
        pushing: Pushing,
    ) -> Result<Pushed, PushError> {
        let push = Push {
            exchange: self,
            neighbour,
            store,
            pushing,
        };
        let mut total = Pushed::default();
        // One batch after another, so that an interruption leaves whole records behind.
        for batch in records.chunks(256) {
            push.batch(batch, &mut total)?;
        }
        Ok(total)
    }
}

struct Push<'a> {
    exchange: &'a Exchange,
    neighbour: &'a Neighbour,
    store: &'a Store,
    pushing: Pushing,
}

/// One record with what has to go along.
struct Parcel<'a> {
    stored: &'a StoredRecord,
    signatures: Vec<Signature>,
    /// The remote has the record already.
    there: bool,
}

impl Push<'_> {
    fn batch(&self, records: &[StoredRecord], total: &mut Pushed) -> Result<(), PushError> {
        let (records, held): (Vec<_>, Vec<_>) = records
            .iter()
            .partition(|stored| self.store.may_share(&stored.record));
        total.withheld += held.len();
        let parcels = parallel::map(&records, |stored| self.parcel(stored));
        let parcels: Vec<Parcel> = parcels.into_iter().collect::<Result<_, _>>()?;
        if !self.pushing.records_only {
            // Also of records that are there: a blob may have been lost since, or come only now.
            self.blobs(&parcels, total)?;
        }
        let sent = parallel::map(&parcels, |parcel| self.send(parcel));
        for (parcel, sent) in parcels.iter().zip(sent) {
            let bytes = sent?;
            match parcel.there && parcel.signatures.is_empty() {
                true => total.there += 1,
                false => total.records += 1,
            }
            total.bytes += bytes;
            total.sent += bytes;
        }
        Ok(())
    }

    /// What of a record the remote does not have.
    fn parcel<'a>(&self, stored: &'a StoredRecord) -> Result<Parcel<'a>, PushError> {
        self.check_cancelled()?;
        let key = &stored.record.key;
        let listed = self.neighbour.remote.list(&names::records(key))?;
        let listed: BTreeSet<InRecords> =
            listed.iter().filter_map(|name| in_records(name)).collect();
        let mut signatures = self.signatures(stored)?;
        signatures.retain(|signature| {
            !listed.contains(&InRecords::Signature {
                record: stored.digest,
                signer: signature.signer,
            })
        });
        Ok(Parcel {
            stored,
            signatures,
            there: listed.contains(&InRecords::Record(stored.digest)),
        })
    }

    /// Who vouches for a record. What nobody else has signed was made here, so this lab does.
    fn signatures(&self, stored: &StoredRecord) -> Result<Vec<Signature>, PushError> {
        let known = self.store.signatures(&stored.record.key, &stored.digest)?;
        if !known.is_empty() && !self.is_to_sign_again(&known, &stored.digest) {
            return Ok(known);
        }
        let key = match (&self.exchange.key, self.pushing.dry_run) {
            (Some(key), _) => key,
            (None, true) => return Ok(Vec::new()),
            (None, false) => return Err(PushError::NoKey),
        };
        let signature = signed(stored, key);
        if !self.pushing.dry_run {
            self.store
                .add_signature(&stored.record.key, &stored.digest, &signature)?;
        }
        Ok(known.into_iter().chain([signature]).collect())
    }

    /// Whether all that vouches for a record is this lab's own word under keys that have been
    /// taken back, and it has another key by now.
    fn is_to_sign_again(&self, known: &[Signature], record: &Digest) -> bool {
        let Some(key) = &self.exchange.key else {
            return false;
        };
        known.iter().all(|signature| {
            let signer = PublicKey::from_name(&signature.signer);
            let trust = &self.exchange.trust;
            signer != key.public()
                && self.exchange.own.contains(&signer)
                && trust.taken_back(&signer).is_some()
                && matches!(trust.standing(&signer, record), Standing::Revoked(_))
        })
    }

    /// Sends the blobs that are not there.
    fn blobs(&self, parcels: &[Parcel], total: &mut Pushed) -> Result<(), PushError> {
        let mut named: BTreeMap<Digest, u64> = BTreeMap::new();
        for parcel in parcels {
            named.extend(self.named(parcel.stored, total)?);
        }
        let blobs: Vec<(Digest, u64)> = named.into_iter().collect();
        let there = self.there(&blobs)?;
        let (missing, spared): (Vec<_>, Vec<_>) = blobs
            .into_iter()
            .partition(|(digest, _)| !there.contains(digest));
        total.spared += spared.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let sent = parallel::map(&missing, |(digest, bytes)| self.blob(digest, *bytes));
        for (sent, (_, bytes)) in sent.into_iter().zip(&missing) {
            total.blobs += 1;
            total.bytes += bytes;
            total.sent += sent?;
        }
        Ok(())
    }

    /// The blobs of a record that are here and may go.
    fn named(
        &self,
        stored: &StoredRecord,
        total: &mut Pushed,
    ) -> Result<BTreeMap<Digest, u64>, PushError> {
        let mut named = BTreeMap::new();
        for port in stored.record.ports.values() {
            if port.inline.is_none() {
                if !self.store.has(&port.digest) {
                    total.absent += 1;
                    continue;
                }
                let size = self.store.size(&port.digest)?;
                named.insert(port.digest, size);
            }
            let artifact = self.store.artifact(port)?;
            for blob in artifact.blobs() {
                named.insert(blob.digest, blob.bytes);
            }
            // Those that were made here; others lie in the folder that they came from.
            for image in artifact.encoded_images() {
                if self.store.has(&image) {
                    named.insert(image, self.store.size(&image)?);
                }
            }
        }
        let all = named.len();
        named.retain(|digest, _| !self.store.is_withheld(digest));
        total.withheld += all - named.len();
        let may_go = named.len();
        named.retain(|digest, _| self.store.has(digest));
        total.absent += may_go - named.len();
        Ok(named)
    }

    /// Which of `blobs` the remote has, in either form.
    fn there(&self, blobs: &[(Digest, u64)]) -> Result<BTreeSet<Digest>, PushError> {
        let batches: Vec<&[(Digest, u64)]> = blobs.chunks(128).collect();
        let found = parallel::map(&batches, |batch| {
            self.check_cancelled()?;
            let plain = batch.iter().map(|(digest, _)| names::object(digest));
            let compressed = batch.iter().map(|(digest, _)| names::compressed(digest));
            let names: Vec<String> = plain.chain(compressed).collect();
            let sizes = self.neighbour.remote.sizes(&names)?;
            let (plain, compressed) = sizes.split_at(sizes.len() / 2);
            let there = batch.iter().zip(plain.iter().zip(compressed));
            let there = there.filter(|((_, bytes), (plain, compressed))| {
                // One of another size is damaged there, and written again.
                **plain == Some(*bytes) || compressed.is_some()
            });
            let digests = there.map(|((digest, _), _)| *digest);
            Ok::<Vec<Digest>, PushError>(digests.collect())
        });
        let found: Vec<Vec<Digest>> = found.into_iter().collect::<Result<_, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Sends a blob, compressed where that pays; the bytes that went.
    fn blob(&self, digest: &Digest, bytes: u64) -> Result<u64, PushError> {
        self.check_cancelled()?;
        // Verified: what is damaged here must not spread.
        let path = self.store.path(digest)?;
        if bytes >= WORTH_COMPRESSING && compresses(&path)? {
            let plain = self.store.read(digest)?;
            let small = zstd::bulk::compress(&plain, LEVEL).map_err(io_error(&path))?;
            self.put(&names::compressed(digest), Content::Bytes(&small))?;
            return Ok(small.len() as u64);
        }
        self.put(&names::object(digest), Content::File(&path))?;
        Ok(bytes)
    }

    /// Sends a record and what vouches for it; the bytes that went.
    fn send(&self, parcel: &Parcel) -> Result<u64, PushError> {
        self.check_cancelled()?;
        let StoredRecord { digest, record } = parcel.stored;
        let mut bytes = 0;
        if !parcel.there {
            let content = record.to_bytes();
            bytes += content.len() as u64;
            let name = names::record(&record.key, digest);
            self.put(&name, Content::Bytes(&content))?;
        }
        for Signature { signer, envelope } in &parcel.signatures {
            bytes += envelope.len() as u64;
            let name = names::signature(&record.key, digest, signer);
            self.put(&name, Content::Bytes(envelope))?;
        }
        Ok(bytes)
    }

    fn put(&self, name: &str, content: Content) -> Result<(), PushError> {
        if self.pushing.dry_run {
            return Ok(());
        }
        let bytes = content.size().map_err(io_error(Path::new(name)))?;
        self.neighbour.remote.put(name, content)?;
        self.exchange.sent.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    fn check_cancelled(&self) -> Result<(), PushError> {
        match self.exchange.is_cancelled() {
            true => Err(PushError::Cancelled),
            false => Ok(()),
        }
    }
}

fn signed(stored: &StoredRecord, key: &SecretKey) -> Signature {
    Signature {
        signer: key.public().in_names(),
        envelope: statement::sign(&stored.record, key),
    }
}

/// Whether the beginning of a file compresses well.
fn compresses(path: &Path) -> Result<bool, PushError> {
    use std::io::Read;
    let mut sample = Vec::new();
    let file = std::fs::File::open(path).map_err(io_error(path))?;
    file.take(SAMPLE as u64)
        .read_to_end(&mut sample)
        .map_err(io_error(path))?;
    let small = zstd::bulk::compress(&sample, 1).map_err(io_error(path))?;
    Ok((small.len() as f64) <= WORTH * sample.len() as f64)
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> PushError + '_ {
    |source| PushError::Io {
        path: path.to_path_buf(),
        source,
    }
}
