//! Pushes the blobs of records: those that the remote lacks, compressed if that is worthwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{PendingRecord, Push, PushError, PushReport, io_error};
use crate::digest::Digest;
use crate::fsx::calls::File;
use crate::remote::exchange::parallel;
use crate::remote::names;
use crate::remote::transport::{Content, Remote};
use crate::store::{BlobError, Blobs, StoredRecord};

/// The minimum size for trying compression.
const WORTH_COMPRESSING: u64 = 4096;
/// The size of the sample that decides whether to compress a blob.
const SAMPLE: usize = 256 << 10;
/// A blob is sent compressed if that reduces it to at most this share. Measured: float32 weights
/// reach 0.92, which is not worth the time; labels, JSON and drawn images are below 0.5.
const WORTH: f64 = 0.8;
const LEVEL: i32 = 3;

/// The form of a blob at a remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    /// Plain, with wrong content.
    Damaged,
    Missing,
}

impl Push<'_> {
    /// Sends the missing blobs.
    pub(super) fn blobs(
        &self,
        parcels: &[PendingRecord],
        total: &mut PushReport,
    ) -> Result<(), PushError> {
        let mut named: BTreeMap<Digest, u64> = BTreeMap::new();
        for parcel in parcels {
            named.extend(self.named(parcel.stored, total)?);
        }
        let blobs: Vec<(Digest, u64)> = named.into_iter().collect();
        let there = self.there(&blobs)?;
        let (missing, spared): (Vec<_>, Vec<_>) = blobs
            .into_iter()
            .partition(|(digest, _)| there.get(digest) != Some(&Form::Whole));
        total.spared += spared.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let sent = parallel::map(&missing, |(digest, bytes)| {
            let replaces = there.get(digest) == Some(&Form::Damaged);
            self.blob(digest, *bytes, replaces)
        });
        for (sent, (_, bytes)) in sent.into_iter().zip(&missing) {
            total.blobs += 1;
            total.bytes += bytes;
            total.sent += sent?;
        }
        Ok(())
    }

    /// The blobs of a record that are here and may be shared.
    fn named(
        &self,
        stored: &StoredRecord,
        total: &mut PushReport,
    ) -> Result<BTreeMap<Digest, u64>, PushError> {
        let mut named = BTreeMap::new();
        // Asked for all blobs first: what can't be inspected is not absent, and the push fails.
        let mut here = BTreeSet::new();
        for port in stored.record.ports.values() {
            if port.inline.is_none() {
                let Some(size) = self.size(&port.digest)? else {
                    total.absent += 1;
                    continue;
                };
                named.insert(port.digest, size);
                here.insert(port.digest);
            }
            let artifact = self.store.artifact(port)?;
            for blob in artifact.blobs() {
                let known = named.insert(blob.digest, blob.bytes).is_some();
                if !known && self.size(&blob.digest)?.is_some() {
                    here.insert(blob.digest);
                }
            }
            // Only encoded images that were made here are blobs; others are in their original
            // folder.
            for image in artifact.encoded_images() {
                if let Some(size) = self.size(&image)? {
                    named.insert(image, size);
                    here.insert(image);
                }
            }
        }
        let all = named.len();
        named.retain(|digest, _| !self.store.is_withheld(digest));
        total.withheld += all - named.len();
        let may_go = named.len();
        named.retain(|digest, _| here.contains(digest));
        total.absent += may_go - named.len();
        Ok(named)
    }

    /// The size of a blob; `None` if it is not here.
    fn size(&self, digest: &Digest) -> Result<Option<u64>, PushError> {
        match self.store.size(digest) {
            Ok(size) => Ok(Some(size)),
            Err(BlobError::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The forms of `blobs` at the remote.
    fn there(&self, blobs: &[(Digest, u64)]) -> Result<BTreeMap<Digest, Form>, PushError> {
        let batches: Vec<&[(Digest, u64)]> = blobs.chunks(128).collect();
        let found = parallel::map(&batches, |batch| {
            self.check_cancelled()?;
            let plain = batch.iter().map(|(digest, _)| names::object(digest));
            let compressed = batch.iter().map(|(digest, _)| names::compressed(digest));
            let names: Vec<String> = plain.chain(compressed).collect();
            let sizes = self.peer.remote.sizes(&names)?;
            let (plain, compressed) = sizes.split_at(sizes.len() / 2);
            let there = batch.iter().zip(plain.iter().zip(compressed));
            there
                .map(|((digest, bytes), (plain, compressed))| {
                    let form = self.form((digest, *bytes), *plain, *compressed)?;
                    Ok((*digest, form))
                })
                .collect::<Result<Vec<_>, PushError>>()
        });
        let found: Vec<Vec<_>> = found.into_iter().collect::<Result<_, _>>()?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The form that a fetch would get, from the sizes of both forms there: the plain form takes
    /// precedence.
    fn form(
        &self,
        (digest, bytes): (&Digest, u64),
        plain: Option<u64>,
        compressed: Option<u64>,
    ) -> Result<Form, PushError> {
        let name = match (plain, compressed) {
            (None, None) => return Ok(Form::Missing),
            (Some(size), _) if size != bytes => return Ok(Form::Damaged),
            (Some(_), _) => names::object(digest),
            (None, Some(_)) => names::compressed(digest),
        };
        let refused = self.exchange.was_refused(&self.peer.name, digest);
        let whole = !refused && self.is_whole(&name, digest)? != Some(false);
        Ok(match (whole, plain) {
            (true, _) => Form::Whole,
            (false, Some(_)) => Form::Damaged,
            // Sent again, it replaces the existing object, or takes precedence over it.
            (false, None) => Form::Missing,
        })
    }

    /// Sends a blob, compressed if that is worthwhile and it does not replace a plain one; returns
    /// the bytes sent.
    fn blob(&self, digest: &Digest, bytes: u64, replaces: bool) -> Result<u64, PushError> {
        self.check_cancelled()?;
        // Verified: damage must not spread.
        let path = self.store.path(digest)?;
        if !replaces && bytes >= WORTH_COMPRESSING && compresses(&path)? {
            let plain = self.store.read(digest)?;
            let small = zstd::bulk::compress(&plain, LEVEL).map_err(io_error(&path))?;
            self.put(&names::compressed(digest), Content::Bytes(&small))?;
            return Ok(small.len() as u64);
        }
        self.put(&names::object(digest), Content::File(&path))?;
        Ok(bytes)
    }
}

/// Whether the start of a file compresses well.
fn compresses(path: &Path) -> Result<bool, PushError> {
    use std::io::Read;
    let mut sample = Vec::new();
    let file = File::open(path).map_err(io_error(path))?;
    file.take(SAMPLE as u64)
        .read_to_end(&mut sample)
        .map_err(io_error(path))?;
    let small = zstd::bulk::compress(&sample, 1).map_err(io_error(path))?;
    Ok((small.len() as f64) <= WORTH * sample.len() as f64)
}
