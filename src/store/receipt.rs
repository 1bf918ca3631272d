//! Receipts: the inputs of a run that found everything done. While all inputs are unchanged, a run
//! with the same arguments has nothing to do or write, and does not even read the workflow.
//!
//! Derived: without a receipt, a run checks every node.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::layout::{RECEIPTS, RECORDS, TMP};
use super::packed::{Format, Reader};
use super::recordindex::folder_path;
use super::statcache::StatCache;
use super::{Store, StoreError};
use crate::contract::source::{Source, SourceShape};
use crate::digest::Digest;
use crate::fsx::calls;
use crate::fsx::{self, Stamp, nanoseconds_since_1970};

const FORMAT: Format = Format(b"ribflow receipt 1\n");

/// The inputs and the messages of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// The arguments, and the version of the program.
    pub asked: Digest,
    /// The environment variables that the workflow reads, with their values.
    pub variables: BTreeMap<String, Option<String>>,
    /// Further files that it read, and those that it wrote, by absolute path; `None`: missing.
    pub files: BTreeMap<String, Option<Digest>>,
    pub inputs: RunInputs,
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
            SourceShape::File | SourceShape::FileOrFolder | SourceShape::FileOrFolderWithout(_) => {
                settled(&source, &digest, stats, base)
            }
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
        let metadata = calls::metadata(base.join(&source.location)).ok()?;
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
        let holds = |input: &RunInput| input.holds(&stats, base, folder.as_ref());
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
        decode(&bytes)
    }

    /// Stores it for the next run.
    pub fn write(&self, store: &Store, name: &Digest) -> Result<(), StoreError> {
        let path = path(store, name);
        let tmp = store.root().join(TMP);
        fsx::replace(&path, &tmp, fsx::SHARED, &encode(self)).map_err(StoreError::io(&path))
    }
}

fn path(store: &Store, name: &Digest) -> PathBuf {
    store.root().join(RECEIPTS).join(name.to_hex())
}

fn encode(receipt: &Receipt) -> Vec<u8> {
    let mut writer = FORMAT.writer();
    writer.digest(&receipt.asked);
    writer.json(&receipt.variables);
    writer.json(&receipt.files);
    writer.text(&receipt.run);
    writer.text(&receipt.workflow);
    writer.number(receipt.nodes);
    writer.text(&receipt.text);
    writer.json(&receipt.page);
    writer.digest(&receipt.inputs.markers);
    writer.length(receipt.inputs.records.len());
    for (key, folder) in &receipt.inputs.records {
        writer.digest(key);
        writer.stamp(folder);
    }
    writer.length(receipt.inputs.sources.len());
    for input in &receipt.inputs.sources {
        writer.json(&input.source);
        writer.digest(&input.digest);
        writer.tag(u8::from(input.stamp.is_some()));
        writer.stamp(&input.stamp.unwrap_or_default());
    }
    writer.sealed()
}

fn decode(bytes: &[u8]) -> Option<Receipt> {
    let mut reader = Reader(FORMAT.content(bytes)?);
    Some(Receipt {
        asked: reader.digest()?,
        variables: reader.json()?,
        files: reader.json()?,
        run: reader.text()?.to_string(),
        workflow: reader.text()?.to_string(),
        nodes: reader.number()?,
        text: reader.text()?.to_string(),
        page: reader.json()?,
        inputs: RunInputs {
            markers: reader.digest()?,
            records: reader.list(|reader| Some((reader.digest()?, reader.stamp()?)))?,
            sources: reader.list(run_input)?,
        },
    })
}

fn run_input(reader: &mut Reader) -> Option<RunInput> {
    let (source, digest) = (reader.json()?, reader.digest()?);
    let (is_settled, stamp) = (reader.tag()? == 1, reader.stamp()?);
    Some(RunInput {
        source,
        digest,
        stamp: is_settled.then_some(stamp),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt() -> Receipt {
        let digest = Digest::of(b"content");
        let stamp = Stamp {
            device: 1,
            inode: 2,
            size: 3,
            modified: 4,
            changed: -5,
        };
        let source = |location: &str| Source {
            name: "data".to_string(),
            location: PathBuf::from(location),
            shape: SourceShape::File,
            sealed: false,
        };
        let input = |location: &str, stamp| RunInput {
            source: source(location),
            digest,
            stamp,
        };
        Receipt {
            asked: digest,
            variables: BTreeMap::from([("A".to_string(), None)]),
            files: BTreeMap::from([("/b".to_string(), Some(digest))]),
            inputs: RunInputs {
                records: vec![(digest, stamp)],
                sources: vec![input("a.csv", Some(stamp)), input("b.csv", None)],
                markers: digest,
            },
            run: "run".to_string(),
            workflow: "grid".to_string(),
            nodes: 3,
            text: "accuracy 1.0".to_string(),
            page: PathBuf::from("/out/report.html"),
        }
    }

    #[test]
    fn the_bytes_of_a_receipt_stay_the_same_and_a_part_is_none() {
        let receipt = receipt();
        let bytes = encode(&receipt);
        assert_eq!(
            Digest::of(&bytes).to_hex(),
            "fce9807d9c688d4e3127d05699c621a890720ac9ff917fbe17fb917447811e76"
        );
        assert_eq!(decode(&bytes), Some(receipt));
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None);
        }
    }
}
