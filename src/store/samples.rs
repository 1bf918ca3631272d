//! Recomputed samples: evidence that records of an older version of a kind were recomputed by the
//! current version and agreed, and the records that they represent. `run --accept` accepts only
//! these.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::inventory::entries;
use super::layout::SAMPLES;
use super::{Store, StoreError};
use crate::digest::{Digest, canonical_json};
use crate::fsx;
use crate::fsx::calls;

/// The version of the file's format.
const FORMAT: u32 = 1;

/// A sample that agreed. Its file name is the digest of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    format: u32,
    pub kind: String,
    /// The version that produced the records.
    pub from: u32,
    /// The version that recomputed them.
    pub to: u32,
    /// The version of ribflow.
    pub ribflow: String,
    /// The device class of the recomputation.
    pub device_class: String,
    /// Seconds since 1970, UTC.
    pub at: u64,
    /// The records that were recomputed.
    pub recomputed: Vec<Digest>,
    /// The records from which they were drawn, including themselves.
    pub stands_for: Vec<Digest>,
}

impl Sample {
    /// A sample of `kind`, from version `from` to `to`, that represents no record yet.
    pub fn new(kind: &str, [from, to]: [u32; 2], device_class: &str, at: u64) -> Self {
        Self {
            format: FORMAT,
            kind: kind.to_string(),
            from,
            to,
            ribflow: env!("CARGO_PKG_VERSION").to_string(),
            device_class: device_class.to_string(),
            at,
            recomputed: Vec::new(),
            stands_for: Vec::new(),
        }
    }

    /// The same with the `recomputed` records, which represent all of `stands_for`.
    pub fn of(self, recomputed: Vec<Digest>, stands_for: Vec<Digest>) -> Self {
        Self {
            recomputed,
            stands_for,
            ..self
        }
    }
}

impl Store {
    /// Stores a sample that agreed.
    pub fn keep_sample(&self, sample: &Sample) -> Result<(), StoreError> {
        // Encoding names, numbers and digests can't fail.
        let value = serde_json::to_value(sample).unwrap_or_default();
        let bytes = canonical_json(&value).into_bytes();
        let tmp = self.session_folder()?;
        let path = self.sample_path(&Digest::of(&bytes));
        fsx::replace(&path, &tmp, fsx::SEALED, &bytes).map_err(StoreError::io(&path))?;
        self.flush(std::slice::from_ref(&path))
    }

    /// The records of version `from` of `kind` that samples recomputed by version `to` represent.
    pub fn sampled(&self, kind: &str, from: u32, to: u32) -> Result<HashSet<Digest>, StoreError> {
        let samples = self.samples()?.into_iter();
        let fitting = samples.filter(|(_, one)| (&*one.kind, one.from, one.to) == (kind, from, to));
        Ok(fitting.flat_map(|(_, one)| one.stands_for).collect())
    }

    /// Removes the samples that represent a record which was recomputed and differs.
    pub fn drop_samples_of(&self, record: &Digest) -> Result<usize, StoreError> {
        let is_meant = |sample: &Sample| sample.stands_for.contains(record);
        self.drop_samples(is_meant)
    }

    /// Removes the samples that represent none of the remaining records.
    pub(super) fn drop_stale_samples(&self, left: &HashSet<Digest>) -> Result<usize, StoreError> {
        let is_stale = |sample: &Sample| !sample.stands_for.iter().any(|one| left.contains(one));
        self.drop_samples(is_stale)
    }

    fn drop_samples(&self, is_meant: impl Fn(&Sample) -> bool) -> Result<usize, StoreError> {
        let mut dropped = 0;
        for (path, sample) in self.samples()? {
            if is_meant(&sample) {
                match calls::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.map_err(StoreError::io(&path))?,
                }
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// All intact samples of a format that this build reads. Others represent nothing.
    fn samples(&self) -> Result<Vec<(PathBuf, Sample)>, StoreError> {
        let mut samples = Vec::new();
        for (name, path) in entries(&self.root.join(SAMPLES))? {
            let stem = name.strip_suffix(".json");
            let Some(digest) = stem.and_then(|stem| stem.parse::<Digest>().ok()) else {
                continue;
            };
            let bytes = match fsx::read_regular(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                bytes => bytes.map_err(StoreError::io(&path))?,
            };
            match serde_json::from_slice::<Sample>(&bytes) {
                Ok(sample) if Digest::of(&bytes) == digest && sample.format <= FORMAT => {
                    samples.push((path, sample));
                }
                _ => tracing::warn!("{}: damaged, or written by a newer ribflow", path.display()),
            }
        }
        Ok(samples)
    }

    fn sample_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(SAMPLES).join(format!("{digest}.json"))
    }
}
