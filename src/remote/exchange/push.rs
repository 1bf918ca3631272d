//! Pushes records and the blobs that they reference: blobs first, then the record, then its
//! signatures, so that the blobs of a visible record are available.

mod blobs;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;

use super::parallel;
use super::{Exchange, Peer};
use crate::digest::Digest;
use crate::remote::names::{self, COMPRESSED, InRecords, in_records};
use crate::remote::signing::{MOST_ENVELOPE, PublicKey, SecretKey};
use crate::remote::statement;
use crate::remote::transport::{self, Content, Part, Remote, RemoteError};
use crate::remote::trust::Standing;
use crate::store::{BlobError, Signature, Store, StoreError, StoredRecord};

/// Options of a push.
#[derive(Clone, Copy, Debug)]
pub struct PushOptions {
    /// Push only records and signatures, without blobs.
    pub records_only: bool,
    /// Only report what would be sent.
    pub dry_run: bool,
    /// Verify existing content by reading it, if the remote can't verify it itself.
    pub check: bool,
}

/// What was sent, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushReport {
    /// Records that the remote lacked.
    pub records: usize,
    /// Records that it had completely.
    pub there: usize,
    pub blobs: usize,
    /// Uncompressed bytes of the records and blobs sent.
    pub bytes: u64,
    /// Bytes on the wire: some blobs are sent compressed.
    pub sent: u64,
    /// Bytes of blobs that existed there already.
    pub spared: u64,
    /// Blobs that were not sent because `share: true` is missing, and records with such data
    /// inline.
    pub withheld: usize,
    /// Blobs that are missing in this store, too.
    pub absent: usize,
}

impl PushReport {
    /// Adds `more`.
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
    /// Pushes `records` of `store` to a peer, and reports what was sent.
    ///
    /// # Errors
    /// The first failure. What was pushed until then stays and is not pushed again.
    pub fn push(
        &self,
        peer: &Peer,
        store: &Store,
        records: &[StoredRecord],
        pushing: PushOptions,
    ) -> Result<PushReport, PushError> {
        let push = Push {
            exchange: self,
            peer,
            store,
            pushing,
        };
        let mut total = PushReport::default();
        // One batch after another, so that an interruption leaves complete records.
        for batch in records.chunks(256) {
            push.batch(batch, &mut total)?;
        }
        Ok(total)
    }
}

struct Push<'a> {
    exchange: &'a Exchange,
    peer: &'a Peer,
    store: &'a Store,
    pushing: PushOptions,
}

/// A record with what must be sent along.
struct PendingRecord<'a> {
    stored: &'a StoredRecord,
    signatures: Vec<Signature>,
    /// Whether the remote has the record already.
    there: bool,
}

impl Push<'_> {
    fn batch(&self, records: &[StoredRecord], total: &mut PushReport) -> Result<(), PushError> {
        let (records, held): (Vec<_>, Vec<_>) = records
            .iter()
            .partition(|stored| self.store.may_share(&stored.record));
        total.withheld += held.len();
        let parcels = parallel::map(&records, |stored| self.parcel(stored));
        let parcels: Vec<PendingRecord> = parcels.into_iter().collect::<Result<_, _>>()?;
        if !self.pushing.records_only {
            // This includes existing records: a blob may have been lost since, or be available only
            // now.
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

    /// The parts of a record that the remote lacks.
    fn parcel<'a>(&self, stored: &'a StoredRecord) -> Result<PendingRecord<'a>, PushError> {
        self.check_cancelled()?;
        let key = &stored.record.key;
        let listed = self.peer.remote.list(&names::records(key))?;
        let mut listed: BTreeSet<InRecords> =
            listed.iter().filter_map(|name| in_records(name)).collect();
        let mut signatures = self.signatures(stored)?;
        if listed.contains(&InRecords::Record(stored.digest)) {
            let name = names::record(key, &stored.digest);
            match self.is_whole(&name, &stored.digest)? {
                Some(true) => signatures = self.damaged(stored, signatures, &mut listed)?,
                Some(false) => listed.clear(),
                None => {}
            }
        }
        signatures.retain(|signature| {
            !listed.contains(&InRecords::Signature {
                record: stored.digest,
                signer: signature.signer,
            })
        });
        Ok(PendingRecord {
            stored,
            signatures,
            there: listed.contains(&InRecords::Record(stored.digest)),
        })
    }

    /// Removes signatures that are not valid at the remote from `listed`, so that they are sent
    /// again. Returns `signatures`.
    fn damaged(
        &self,
        stored: &StoredRecord,
        signatures: Vec<Signature>,
        listed: &mut BTreeSet<InRecords>,
    ) -> Result<Vec<Signature>, PushError> {
        let (key, record) = (&stored.record.key, stored.digest);
        for signature in &signatures {
            let signer = signature.signer;
            let name = names::signature(key, &record, &signer);
            let there = InRecords::Signature { record, signer };
            if !listed.contains(&there) {
                continue;
            }
            let signer = PublicKey::from_name(&signer);
            let speaks = match transport::read(&self.peer.remote, &name, MOST_ENVELOPE) {
                Ok(envelope) => {
                    statement::verify(&envelope, &signer, &record, &stored.record).is_ok()
                }
                Err(error) if error.is_passing() => return Err(error.into()),
                Err(_) => false,
            };
            if !speaks {
                listed.remove(&there);
            }
        }
        Ok(signatures)
    }

    /// Whether the object at the remote is intact, if that can be found out at acceptable cost.
    fn is_whole(&self, name: &str, digest: &Digest) -> Result<Option<bool>, PushError> {
        self.check_cancelled()?;
        let seen = (self.peer.name.clone(), name.to_string());
        if self.exchange.is_known_whole(&seen) {
            return Ok(Some(true));
        }
        let whole = match self.peer.remote.intact(name, digest)? {
            None if self.pushing.check => Some(self.reads_whole(name, digest)?),
            whole => whole,
        };
        if whole == Some(true) {
            self.exchange.note_whole(seen);
        }
        Ok(whole)
    }

    /// Reads an object completely to verify it.
    fn reads_whole(&self, name: &str, digest: &Digest) -> Result<bool, PushError> {
        let mut hasher = Hasher(blake3::Hasher::new());
        let all = Part {
            from: 0,
            most: u64::MAX,
        };
        let remote = &self.peer.remote;
        let read = match name.ends_with(COMPRESSED) {
            false => remote.get(name, all, &mut hasher),
            true => {
                let mut decoder = zstd::stream::write::Decoder::new(&mut hasher)
                    .map_err(io_error(Path::new(name)))?;
                let read = remote.get(name, all, &mut decoder);
                read.and_then(|read| {
                    decoder
                        .flush()
                        .map(|()| read)
                        .map_err(|source| RemoteError::Io {
                            path: name.into(),
                            source,
                        })
                })
            }
        };
        match read {
            Ok(_) => Ok(Digest::finish(&hasher.0) == *digest),
            // It does not decompress, or is not a file.
            Err(
                RemoteError::Io { .. } | RemoteError::Missing { .. } | RemoteError::Wrong { .. },
            ) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The signatures of a record. A record without signatures was made here, so this lab signs it.
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

    /// Whether all signatures of a record are this lab's own under revoked keys, and it has another
    /// key now.
    fn is_to_sign_again(&self, known: &[Signature], record: &Digest) -> bool {
        let Some(key) = &self.exchange.key else {
            return false;
        };
        known.iter().all(|signature| {
            let signer = PublicKey::from_name(&signature.signer);
            let trust = &self.exchange.trust;
            signer != key.public()
                && self.exchange.own.contains(&signer)
                && trust.revocation_of(&signer).is_some()
                && matches!(trust.standing(&signer, record), Standing::Revoked(_))
        })
    }

    /// Sends a record and its signatures; returns the bytes sent.
    fn send(&self, parcel: &PendingRecord) -> Result<u64, PushError> {
        self.check_cancelled()?;
        let StoredRecord { digest, record, .. } = parcel.stored;
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
        self.peer.remote.put(name, content)?;
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

/// Hashes what is written.
struct Hasher(blake3::Hasher);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn signed(stored: &StoredRecord, key: &SecretKey) -> Signature {
    Signature {
        signer: key.public().in_names(),
        envelope: statement::sign(&stored.record, key),
    }
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> PushError + '_ {
    |source| PushError::Io {
        path: path.to_path_buf(),
        source,
    }
}
