//! Receipts: the inputs of a run that found everything done. While all inputs are unchanged, a run
//! with the same arguments has nothing to do or write, and does not even read the workflow.
//!
//! Derived: without a receipt, a run checks every node.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::layout::{RECEIPTS, RECORDS, TMP};
use super::packed::{Reader, Writer};
use super::recordindex::folder_path;
use super::statcache::StatCache;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::fsx::{self, Stamp, nanoseconds_since_1970};
use crate::workflow::kind::{Source, SourceShape};

const MAGIC: &[u8] = b"ribflow receipt 1\n";
const DIGEST: usize = 32;

/// The inputs and the messages of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The arguments, and the version of the program.
    pub asked: Digest,
    /// The environment variables that the workflow reads, with their values.
    pub variables: BTreeMap<String, Option<String>>,
    /// Further files that it read, and those that it wrote, by absolute path; `None`: missing.
    pub files: BTreeMap<String, Option<Digest>>,
    pub grounds: RunInputs,
    /// The id of the run.
    pub run: String,
    /// The name of the workflow.
    pub workflow: String,
    pub nodes: u64,
    /// The messages about the results.
    pub text: String,
    /// The path of the report page.
    pub page: PathBuf,
}

/// The inputs of the keys and records of all nodes of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunInputs {
    /// The keys, each with exactly one record, and the stamps of their folders.
    pub records: Vec<(Digest, Stamp)>,
    pub sources: Vec<RunInput>,
    /// The state of the markers of withheld blobs ([`Store::markers`]): a run sets missing markers.
    pub markers: Digest,
}

/// An outside input.
#[derive(Clone, Debug, PartialEq)]
pub struct RunInput {
    pub source: Source,
    /// The digest of its content.
    pub digest: Digest,
    /// The stamp of a single file, if it identifies the content.
    pub stamp: Option<Stamp>,
}

impl RunInput {
    /// `digest` is the digest of the content of `source`.
    pub fn new(source: Source, digest: Digest, stats: &StatCache, base: &Path) -> Self {
        let stamp = match source.shape {
            SourceShape::File | SourceShape::FileOrFolder => settled(&source, &digest, stats, base),
            _ => None,
        };
        Self {
            source,
            digest,
            stamp,
        }
    }

    fn holds(&self, stats: &StatCache, base: &Path, folder: Option<impl AsFd>) -> bool {
        let is_settled = || {
            let stamp = Stamp::at(folder?, &self.source.location)?;
            Some(stamp == self.stamp?)
        };
        is_settled() == Some(true)
            || stats
                .identify(&self.source, base)
                .is_ok_and(|found| found.digest == self.digest)
    }
}

/// The stamp that identifies the content of a file as that of this digest.
fn settled(source: &Source, digest: &Digest, stats: &StatCache, base: &Path) -> Option<Stamp> {
    let now = nanoseconds_since_1970();
    let stamp = || {
        let metadata = fs::metadata(base.join(&source.location)).ok()?;
        Some(Stamp::of(&metadata))
    };
    let before = stamp()?;
    let found = stats.identify(source, base).ok()?;
    let settled = found.digest == *digest && stamp()? == before && !before.is_young(now);
    settled.then_some(before)
}

impl RunInputs {
    /// Whether nothing has changed. Relative locations start from `base`.
    pub fn hold(&self, store: &Store, base: &Path) -> bool {
        let Some(records) = fsx::open_folder(&store.root().join(RECORDS)) else {
            return false;
        };
        let same = |(key, folder): &(Digest, Stamp)| {
            Stamp::at(&records, folder_path(key)) == Some(*folder)
        };
        let stats = StatCache::open(store);
        let folder = fsx::open_folder(base);
        let holds = |ground: &RunInput| ground.holds(&stats, base, folder.as_ref());
        let hold = store.markers() == Some(self.markers)
            && self.records.iter().all(same)
            && self.sources.iter().all(holds);
        // The cache only saves time.
        if let Err(error) = stats.save()
            && !error.is_unwritable()
        {
            tracing::warn!("the stat cache could not be saved: {error}");
        }
        hold
    }
}

impl Receipt {
    /// The receipt of this name; `None` if there is none of this version.
    pub fn read(store: &Store, name: &Digest) -> Option<Self> {
        let bytes = fsx::read_regular(&path(store, name)).ok()?;
        let (content, seal) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
        if Digest::of(content).as_bytes() != seal {
            return None;
        }
        decode(content.strip_prefix(MAGIC)?)
    }

    /// Stores it for the next run.
    pub fn write(&self, store: &Store, name: &Digest) -> Result<(), StoreError> {
        let path = path(store, name);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(encode(self));
        let seal = Digest::of(&bytes);
        bytes.extend(seal.as_bytes());
        let tmp = store.root().join(TMP);
        fsx::replace(&path, &tmp, fsx::SHARED, &bytes).map_err(StoreError::io(&path))
    }
}

fn path(store: &Store, name: &Digest) -> PathBuf {
    store.root().join(RECEIPTS).join(name.to_hex())
}

fn encode(receipt: &Receipt) -> Vec<u8> {
    let mut writer = Writer(Vec::new());
    writer.digest(&receipt.asked);
    writer.json(&receipt.variables);
    writer.json(&receipt.files);
    writer.text(&receipt.run);
    writer.text(&receipt.workflow);
    writer.number(receipt.nodes);
    writer.text(&receipt.text);
    writer.json(&receipt.page);
    writer.digest(&receipt.grounds.markers);
    writer.length(receipt.grounds.records.len());
    for (key, folder) in &receipt.grounds.records {
        writer.digest(key);
        writer.0.extend(folder.to_bytes());
    }
    writer.length(receipt.grounds.sources.len());
    for ground in &receipt.grounds.sources {
        writer.json(&ground.source);
        writer.digest(&ground.digest);
        writer.0.push(u8::from(ground.stamp.is_some()));
        writer.0.extend(ground.stamp.unwrap_or_default().to_bytes());
    }
    writer.0
}

fn decode(bytes: &[u8]) -> Option<Receipt> {
    let mut reader = Reader(bytes);
    Some(Receipt {
        asked: reader.digest()?,
        variables: reader.json()?,
        files: reader.json()?,
        run: reader.text()?.to_string(),
        workflow: reader.text()?.to_string(),
        nodes: reader.number()?,
        text: reader.text()?.to_string(),
        page: reader.json()?,
        grounds: RunInputs {
            markers: reader.digest()?,
            records: reader.list(|reader| Some((reader.digest()?, stamp(reader)?)))?,
            sources: reader.list(ground)?,
        },
    })
}

fn ground(reader: &mut Reader) -> Option<RunInput> {
    let (source, digest) = (reader.json()?, reader.digest()?);
    let (is_settled, stamp) = (reader.tag()? == 1, stamp(reader)?);
    Some(RunInput {
        source,
        digest,
        stamp: is_settled.then_some(stamp),
    })
}

fn stamp(reader: &mut Reader) -> Option<Stamp> {
    Some(Stamp::from_bytes(&reader.array()?))
}
