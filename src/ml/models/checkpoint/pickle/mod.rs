//! Pickles, parsed and never executed, and the tensors that they describe.

mod bytes;
mod machine;
mod tensors;
mod value;

pub(super) use machine::{Pickle, read};
use tensors::Storage;
pub(super) use tensors::{Stored, stored};
pub(super) use value::Node;

use std::collections::{HashMap, HashSet};

use value::Value;

/// The number at the start of the format from before PyTorch 1.6.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];

impl Pickle {
    pub fn root(&self) -> Node<'_> {
        Node {
            heap: &self.heap,
            id: self.root,
        }
    }

    /// Whether it is the number at the start of the format from before PyTorch 1.6.
    pub fn is_magic(&self) -> bool {
        matches!(self.heap.get(self.root), Value::Long(bytes) if *bytes == MAGIC)
    }

    /// Every storage that the pickle refers to, by key.
    pub fn storages(&self) -> Result<HashMap<String, Storage>, String> {
        let mut storages = HashMap::new();
        let mut seen = HashSet::new();
        for value in self.heap.all() {
            if let Value::Outside(id) = value
                && seen.insert(*id)
            {
                let storage = tensors::storage(self.root().at(*id))?;
                storages.insert(storage.key.clone(), storage);
            }
        }
        Ok(storages)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pickle(body: &[u8]) -> Result<Pickle, String> {
        let bytes = [b"\x80\x02".as_slice(), body, b"."].concat();
        read(&mut bytes.as_slice())
    }

    #[test]
    fn what_would_exhaust_the_machine_is_refused() {
        // A tuple nested a million times is parsed and dropped without recursion.
        let nested = [b")".as_slice(), &b"\x85".repeat(1_000_000)].concat();
        assert!(pickle(&nested).unwrap().root().members().is_some());
        let endless = b")".repeat(6_000_000);
        assert!(pickle(&endless).unwrap_err().contains("larger"));
        // A text of four gigabytes in a file of twenty bytes.
        for body in [
            b"X\xff\xff\xff\xffabc".as_slice(),
            b"T\xff\xff\xff\xffabc",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc",
            b"\x8a\xff12345678",
            b"U\xffabc",
            b"\x95frame",
            b"cposix",
        ] {
            assert!(pickle(body).unwrap_err().contains("short"), "{body:?}");
        }
        assert!(read(&mut [].as_slice()).unwrap_err().contains("short"));
        for body in [b"".as_slice(), b"t", b"(0", b"a", b"N)s", b"h\0", b"NNu"] {
            assert!(pickle(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn what_names_itself_ends() {
        let circle = pickle(b"}q\0X\x01\0\0\0ah\0s").unwrap();
        let entries = circle.root().entries().unwrap();
        assert_eq!(entries.len(), 1);
        assert!(entries[0].1.entries().is_some());
    }

    #[test]
    fn integers_of_any_length_are_read() {
        let count = |body: &[u8]| pickle(body).unwrap().root().count();
        assert_eq!(count(b"\x8a\x01\x07"), Some(7));
        assert_eq!(count(b"\x8a\x02\xff\x00"), Some(255));
        assert_eq!(count(b"\x8a\x01\xff"), None);
        // 2^63 and larger numbers are not part of weights.
        assert_eq!(count(b"\x8a\x09\0\0\0\0\0\0\0\x80\0"), None);
        assert_eq!(count(b"L9223372036854775808L\n"), None);
        assert_eq!(count(b"I12\n"), Some(12));
    }
}
