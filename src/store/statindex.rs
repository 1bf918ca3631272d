//! The file format of the stat cache for the files under one folder.
//!
//! ```text
//! "ribflow stat 2\n"  folder  count × (path  files:u32 names:u32  names  files × row)  BLAKE3 of all before
//! row: end of its name:u32  device inode size modified changed  digest
//! ```
//!
//! Sub-folders are sorted by path, the files of each by name; the names are contiguous. So an index
//! is used directly in mapped memory: binary search finds a file, and folders without a lookup are
//! never read. Times are nanoseconds since 1970.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use super::packed::{self, Format, Reader};
use crate::digest::Digest;
use crate::fsx::Stamp;

const FORMAT: Format = Format(b"ribflow stat 2\n");
const DIGEST: usize = 32;
const ROW: usize = 4 + Stamp::BYTES + DIGEST;

/// The cache entry of one file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct IndexedFile {
    pub stamp: Stamp,
    pub digest: Digest,
}

/// By the path of the folder below the root, then by the name of the file.
pub(super) type Entries = BTreeMap<String, BTreeMap<String, IndexedFile>>;

pub(super) fn encode(folder: &str, entries: &Entries) -> Vec<u8> {
    let mut writer = FORMAT.writer();
    writer.text(folder);
    for (path, files) in entries {
        writer.text(path);
        writer.length(files.len());
        writer.length(files.keys().map(String::len).sum());
        files
            .keys()
            .for_each(|name| writer.0.extend(name.as_bytes()));
        let mut end = 0;
        for (name, IndexedFile { stamp, digest }) in files {
            end += name.len();
            writer.length(end);
            writer.stamp(stamp);
            writer.digest(digest);
        }
    }
    writer.sealed()
}

/// A mapped index file.
#[derive(Debug, Default)]
pub(super) struct Index<B> {
    bytes: B,
    folders: HashMap<String, FolderRanges>,
}

/// The offsets of the parts of a folder.
#[derive(Debug)]
struct FolderRanges {
    names: Range<usize>,
    rows: Range<usize>,
}

/// `None` if there is no such file, or if it is not an index of `folder`.
pub(super) fn open(path: &Path, folder: &str) -> Option<Index<Mmap>> {
    decode(folder, packed::map(path)?)
}

/// The index for `folder`; `None` for bytes that are not exactly what [`encode`] wrote for it.
fn decode<B: AsRef<[u8]>>(folder: &str, bytes: B) -> Option<Index<B>> {
    let content = FORMAT.content(bytes.as_ref())?;
    let mut reader = Reader(content);
    if reader.text()? != folder {
        return None;
    }
    let offset = |reader: &Reader| FORMAT.head() + content.len() - reader.0.len();
    let mut folders = HashMap::new();
    while !reader.0.is_empty() {
        let path = reader.text()?.to_string();
        let (files, length) = (reader.length()?, reader.length()?);
        let start = offset(&reader);
        reader.take(length)?;
        let names = start..offset(&reader);
        reader.take(files.checked_mul(ROW)?)?;
        let rows = names.end..offset(&reader);
        folders.insert(path, FolderRanges { names, rows });
    }
    Some(Index { bytes, folders })
}

impl<B: AsRef<[u8]>> Index<B> {
    /// The entries of the files of a folder.
    pub fn block(&self, folder: &str) -> Block<'_> {
        let place = self.folders.get(folder);
        place.map_or_else(Block::default, |place| self.at(place))
    }

    pub fn entries(&self) -> Entries {
        let folders = self.folders.iter().map(|(path, place)| {
            let block = self.at(place);
            let files = (0..block.len()).filter_map(|index| {
                let known = block.known(index)?;
                Some((block.name(index).to_string(), known))
            });
            (path.clone(), files.collect())
        });
        folders.collect()
    }

    fn at(&self, place: &FolderRanges) -> Block<'_> {
        let bytes = self.bytes.as_ref();
        let (rows, _) = bytes[place.rows.clone()].as_chunks::<ROW>();
        Block {
            names: &bytes[place.names.clone()],
            rows,
        }
    }
}

/// The files of one folder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Block<'a> {
    names: &'a [u8],
    rows: &'a [[u8; ROW]],
}

impl Block<'_> {
    pub fn find(&self, name: &str) -> Option<IndexedFile> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            match self.name(middle).cmp(name) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.known(middle),
            }
        }
        None
    }

    fn len(&self) -> usize {
        self.rows.len()
    }

    /// Empty if the index is malformed despite a valid checksum, which anyone can compute.
    fn name(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| self.end(before));
        let bytes = self.names.get(start..self.end(index)).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }

    fn end(&self, index: usize) -> usize {
        let (end, _) = self.rows[index].as_chunks::<4>();
        u32::from_le_bytes(end[0]) as usize
    }

    fn known(&self, index: usize) -> Option<IndexedFile> {
        let mut reader = Reader(&self.rows[index][4..]);
        Some(IndexedFile {
            stamp: reader.stamp()?,
            digest: reader.digest()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Entries> {
        let known = (any::<[u64; 3]>(), any::<[i64; 2]>(), any::<[u8; 32]>());
        let known =
            known.prop_map(
                |([device, inode, size], [modified, changed], digest)| IndexedFile {
                    stamp: Stamp {
                        device,
                        inode,
                        size,
                        modified,
                        changed,
                    },
                    digest: Digest::from_bytes(digest),
                },
            );
        let files = prop::collection::btree_map(".{0,12}", known, 0..6);
        prop::collection::btree_map(".{0,5}", files, 0..3)
    }

    #[test]
    fn the_bytes_of_an_index_stay_the_same() {
        let stamp = Stamp {
            device: 1,
            inode: 2,
            size: 3,
            modified: 4,
            changed: -5,
        };
        let digest = Digest::of(b"content");
        let files = ["a", "bc"].map(|name| (name.to_string(), IndexedFile { stamp, digest }));
        let entries = Entries::from([("sub".to_string(), files.into())]);
        let bytes = encode("/data", &entries);
        assert_eq!(
            Digest::of(&bytes).to_hex(),
            "275f9cdeeb0474187261054ab415c58d61f1b2f284654c5d1f881a3d5a5cd677"
        );
    }

    proptest! {
        #[test]
        fn an_index_reads_back_and_nothing_else_does(
            entries in entries(), at in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let bytes = encode("/data", &entries);
            let index = decode("/data", &bytes).unwrap();
            for (folder, files) in &entries {
                for (name, known) in files {
                    prop_assert_eq!(index.block(folder).find(name), Some(*known));
                }
                prop_assert_eq!(index.block(folder).find("no such name at all"), None);
            }
            prop_assert_eq!(index.entries(), entries);
            prop_assert!(decode("/other", &bytes).is_none());
            prop_assert!(decode("/data", &bytes[..at.index(bytes.len())]).is_none());
            let mut flipped = bytes.clone();
            flipped[at.index(bytes.len())] ^= 1 << bit;
            prop_assert!(decode("/data", &flipped).is_none());
        }

        #[test]
        fn sealed_nonsense_is_refused_without_harm(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = packed::seal([FORMAT.0, &[0; 4], &content].concat());
            // Whatever the result is, nothing panics and no memory is allocated on the input's
            // claim.
            if let Some(index) = decode("", &bytes) {
                index.block("").find("a");
                index.entries();
            }
        }
    }
}
