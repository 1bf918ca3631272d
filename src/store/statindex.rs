//! The file format of the stat cache for the files under one folder.
//!
//! ```text
//! "ribflow stat 2\n"  folder  count × (path  files:u32 names:u32  names  files × row)  BLAKE3 of all before
//! row: end of its name:u32  device inode size modified changed  digest
//! ```
//!
//! Sub-folders are sorted by path, the files of each by name; the names are contiguous. So an index
//! is used directly in mapped memory: binary search finds a file, and folders without a lookup are
//! never read. Strings are prefixed by their length as u32, numbers are little-endian, times are
//! nanoseconds since 1970. Anything torn, foreign or of another version counts as empty.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use crate::digest::Digest;
use crate::fsx::{self, Stamp};

const MAGIC: &[u8] = b"ribflow stat 2\n";
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
    let mut bytes = MAGIC.to_vec();
    put_text(&mut bytes, folder);
    for (path, files) in entries {
        put_text(&mut bytes, path);
        let names: usize = files.keys().map(String::len).sum();
        for length in [files.len(), names] {
            bytes.extend((length as u32).to_le_bytes());
        }
        files.keys().for_each(|name| bytes.extend(name.as_bytes()));
        let mut end = 0;
        for (name, IndexedFile { stamp, digest }) in files {
            end += name.len() as u32;
            bytes.extend(end.to_le_bytes());
            bytes.extend(stamp.to_bytes());
            bytes.extend(digest.as_bytes());
        }
    }
    let seal = seal(&bytes);
    bytes.extend(seal.as_bytes());
    bytes
}

/// A mapped index file.
#[derive(Debug, Default)]
pub(super) struct Index<B> {
    bytes: B,
    folders: HashMap<String, Place>,
}

/// The offsets of the parts of a folder.
#[derive(Debug)]
struct Place {
    names: Range<usize>,
    rows: Range<usize>,
}

/// `None` if there is no such file, or if it is not an index of `folder`.
pub(super) fn open(path: &Path, folder: &str) -> Option<Index<Mmap>> {
    let file = fsx::open_regular(path).ok()?;
    // SAFETY: an index is written under another name and replaced as a whole, never changed.
    let bytes = unsafe { Mmap::map(&file) }.ok()?;
    decode(folder, bytes)
}

/// The index for `folder`; `None` for bytes that are not exactly what [`encode`] wrote for it.
fn decode<B: AsRef<[u8]>>(folder: &str, bytes: B) -> Option<Index<B>> {
    let all = bytes.as_ref();
    let (content, found) = all.split_at_checked(all.len().checked_sub(DIGEST)?)?;
    if seal(content).as_bytes() != found || !content.starts_with(MAGIC) {
        return None;
    }
    let mut reader = Reader {
        bytes: content,
        at: MAGIC.len(),
    };
    if reader.text()? != folder {
        return None;
    }
    let mut folders = HashMap::new();
    while reader.at < content.len() {
        let path = reader.text()?.to_string();
        let (files, names) = (reader.length()?, reader.length()?);
        let names = reader.take(names)?;
        let rows = reader.take(files.checked_mul(ROW)?)?;
        folders.insert(path, Place { names, rows });
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

    fn at(&self, place: &Place) -> Block<'_> {
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
        let (stamp, digest) = self.rows[index][4..].split_first_chunk()?;
        Some(IndexedFile {
            stamp: Stamp::from_bytes(stamp),
            digest: Digest::from_bytes(digest.try_into().ok()?),
        })
    }
}

fn seal(content: &[u8]) -> blake3::Hash {
    blake3::Hasher::new().update_rayon(content).finalize()
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<Range<usize>> {
        let range = self.at..self.at.checked_add(count)?;
        self.bytes.get(range.clone())?;
        self.at = range.end;
        Some(range)
    }

    fn length(&mut self) -> Option<usize> {
        let range = self.take(4)?;
        Some(u32::from_le_bytes(self.bytes[range].try_into().ok()?) as usize)
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = self.length()?;
        let range = self.take(length)?;
        std::str::from_utf8(&self.bytes[range]).ok()
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
            let mut bytes = [MAGIC, &[0; 4], &content].concat();
            let seal = seal(&bytes);
            bytes.extend(seal.as_bytes());
            // Whatever the result is, nothing panics and no memory is allocated on the input's
            // claim.
            if let Some(index) = decode("", &bytes) {
                index.block("").find("a");
                index.entries();
            }
        }
    }
}
