//! Recomputed samples: that some records of an older version of a kind were computed again by the
//! version of today and agreed, and which records they stand for. `run --accept` takes no other.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::inventory::entries;
use super::layout::SAMPLES;
use super::{Store, StoreError};
use crate::digest::{Digest, canonical_json};
use crate::fsx;

/// The version of the file's format.
const FORMAT: u32 = 1;

/// A sample that agreed. The file's name is the digest of its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    format: u32,
    pub kind: String,
    /// The version that made the records.
    pub from: u32,
    /// The version that recomputed them.
    pub to: u32,
    /// Version of ribflow.
    pub ribflow: String,
    /// What the sample was recomputed on.
    pub device_class: String,
    /// Seconds since 1970, UTC.
    pub at: u64,
    /// The records that were recomputed.
    pub recomputed: Vec<Digest>,
    /// The records from which they were drawn, themselves included.
    pub stands_for: Vec<Digest>,
}

impl Sample {
    /// A sample of `kind`, from version `from` to `to`, that stands for no record yet.
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

    /// The same with the records that were `recomputed`, which stand for all of `stands_for`.
    pub fn of(self, recomputed: Vec<Digest>, stands_for: Vec<Digest>) -> Self {
        Self {
            recomputed,
            stands_for,
            ..self
        }
    }
}

impl Store {
    /// Keeps a sample that agreed.
    pub fn keep_sample(&self, sample: &Sample) -> Result<(), StoreError> {
        // Names, numbers and digests always encode.
        let value = serde_json::to_value(sample).unwrap_or_default();
        let bytes = canonical_json(&value).into_bytes();
        let tmp = self.session_folder()?;
        let path = self.sample_path(&Digest::of(&bytes));
        fsx::replace(&path, &tmp, fsx::SEALED, &bytes).map_err(StoreError::io(&path))?;
        fsx::sync_filesystem(&self.root, std::slice::from_ref(&path)).map_err(StoreError::io(&path))
    }

    /// The records of version `from` of `kind` that samples recomputed by version `to` stand for.
    pub fn sampled(&self, kind: &str, from: u32, to: u32) -> Result<HashSet<Digest>, StoreError> {
        let samples = self.samples()?.into_iter();
        let fitting = samples.filter(|(_, one)| (&*one.kind, one.from, one.to) == (kind, from, to));
        Ok(fitting.flat_map(|(_, one)| one.stands_for).collect())
    }

    /// Takes away the samples that stand for a record: it was recomputed and differs.
    pub fn drop_samples_of(&self, record: &Digest) -> Result<usize, StoreError> {
        let is_meant = |sample: &Sample| sample.stands_for.contains(record);
        self.drop_samples(is_meant)
    }

    /// Takes away the samples that stand for none of the records that are left.
    pub(super) fn drop_stale_samples(&self, left: &HashSet<Digest>) -> Result<usize, StoreError> {
        let is_stale = |sample: &Sample| !sample.stands_for.iter().any(|one| left.contains(one));
        self.drop_samples(is_stale)
    }

    fn drop_samples(&self, is_meant: impl Fn(&Sample) -> bool) -> Result<usize, StoreError> {
        let mut dropped = 0;
        for (path, sample) in self.samples()? {
            if is_meant(&sample) {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.map_err(StoreError::io(&path))?,
                }
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// Every sample that is whole and of a format that this build reads. Any other stands for
    /// nothing.
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
                _ => tracing::warn!("{}: damaged, or of a later ribflow", path.display()),
            }
        }
        Ok(samples)
    }

    fn sample_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(SAMPLES).join(format!("{digest}.json"))
    }
}
