//! The file format of the stat cache: what was known of the files under one folder.
//!
//! ```text
//! "ribflow stat 1\n"  folder  count:u64  count × (path  device inode size modified changed  digest)  BLAKE3 of all before
//! ```
//!
//! Texts are preceded by their length as u32, numbers are little-endian, times are nanoseconds
//! since 1970. Whatever is torn, foreign or of another version reads as nothing.

use std::collections::HashMap;

use crate::digest::Digest;
use crate::fsx::Stamp;

const MAGIC: &[u8] = b"ribflow stat 1\n";
const DIGEST: usize = 32;

/// What is known of one file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Known {
    pub stamp: Stamp,
    pub digest: Digest,
}

/// By path relative to the folder.
pub(super) type Entries = HashMap<String, Known>;

pub(super) fn encode(folder: &str, entries: &Entries) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    put_text(&mut bytes, folder);
    bytes.extend((entries.len() as u64).to_le_bytes());
    for (path, Known { stamp, digest }) in entries {
        put_text(&mut bytes, path);
        for number in [stamp.device, stamp.inode, stamp.size] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(stamp.modified.to_le_bytes());
        bytes.extend(stamp.changed.to_le_bytes());
        bytes.extend(digest.as_bytes());
    }
    let seal = seal(&bytes);
    bytes.extend(seal.as_bytes());
    bytes
}

/// The entries for `folder`; `None` for bytes that are not exactly what [`encode`] wrote for it.
pub(super) fn decode(folder: &str, bytes: &[u8]) -> Option<Entries> {
    let (content, found) = bytes.split_at_checked(bytes.len().checked_sub(DIGEST)?)?;
    if seal(content).as_bytes() != found {
        return None;
    }
    let mut reader = Reader(content.strip_prefix(MAGIC)?);
    if reader.text()? != folder {
        return None;
    }
    let count = reader.number()?;
    // The seal is no secret: a count that the bytes can't hold must not reserve memory.
    let mut entries = Entries::with_capacity((count as usize).min(content.len() / 76));
    for _ in 0..count {
        let path = reader.text()?.to_string();
        let stamp = Stamp {
            device: reader.number()?,
            inode: reader.number()?,
            size: reader.number()?,
            modified: reader.number()? as i64,
            changed: reader.number()? as i64,
        };
        let digest = Digest::from_bytes(reader.take(DIGEST)?.try_into().ok()?);
        entries.insert(path, Known { stamp, digest });
    }
    reader.0.is_empty().then_some(entries)
}

fn seal(content: &[u8]) -> blake3::Hash {
    blake3::Hasher::new().update_rayon(content).finalize()
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        std::str::from_utf8(self.take(length as usize)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entries() -> impl Strategy<Value = Entries> {
        let known = (any::<[u64; 3]>(), any::<[i64; 2]>(), any::<[u8; 32]>());
        let known = known.prop_map(
            |([device, inode, size], [modified, changed], digest)| Known {
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
        prop::collection::hash_map(".{0,12}", known, 0..6)
    }

    proptest! {
        #[test]
        fn an_index_reads_back_and_nothing_else_does(
            entries in entries(), at in any::<prop::sample::Index>(), bit in 0..8u8,
        ) {
            let bytes = encode("/data", &entries);
            prop_assert_eq!(decode("/data", &bytes), Some(entries));
            prop_assert_eq!(decode("/other", &bytes), None);
            prop_assert_eq!(decode("/data", &bytes[..at.index(bytes.len())]), None);
            let mut flipped = bytes.clone();
            flipped[at.index(bytes.len())] ^= 1 << bit;
            prop_assert_eq!(decode("/data", &flipped), None);
        }

        #[test]
        fn sealed_nonsense_is_refused_without_harm(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = [MAGIC, &content].concat();
            let seal = seal(&bytes);
            bytes.extend(seal.as_bytes());
            // Whatever comes out, nothing panics and no memory is reserved on its word.
            let _ = decode("", &bytes);
        }
    }
}
