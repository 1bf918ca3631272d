//! Zip archives byte by byte, as no library would write them.

use serde_json::{Value, json};

/// An entry, with what its two headers say.
#[derive(Clone)]
pub struct Entry {
    pub name: Vec<u8>,
    pub content: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    /// Sizes as both headers have them: packed, unpacked.
    pub sizes: (u32, u32),
    pub crc: u32,
    /// Mode of Unix in the upper half.
    pub attributes: u32,
    pub extra: Vec<u8>,
    /// Where the header before the content says something else.
    pub local_name: Option<Vec<u8>>,
    pub local_sizes: Option<(u32, u32)>,
    /// What stands behind the content.
    pub behind: Vec<u8>,
}

impl Entry {
    pub fn new(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let content = content.as_ref().to_vec();
        let bytes = content.len() as u32;
        Self {
            name: name.as_ref().to_vec(),
            flags: 1 << 11,
            method: 0,
            sizes: (bytes, bytes),
            crc: crc32fast::hash(&content),
            content,
            attributes: 0o100_644 << 16,
            extra: Vec::new(),
            local_name: None,
            local_sizes: None,
            behind: Vec::new(),
        }
    }

    /// The fields that both headers have, from the flags on, but for the comment.
    fn fields(&self, name: &[u8], sizes: (u32, u32)) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.method.to_le_bytes());
        // Midnight of the first of January 1980.
        bytes.extend(0x0021_0000_u32.to_le_bytes());
        bytes.extend(self.crc.to_le_bytes());
        bytes.extend(sizes.0.to_le_bytes());
        bytes.extend(sizes.1.to_le_bytes());
        bytes.extend((name.len() as u16).to_le_bytes());
        bytes.extend((self.extra.len() as u16).to_le_bytes());
        bytes
    }

    fn local(&self) -> Vec<u8> {
        let name = self.local_name.as_ref().unwrap_or(&self.name);
        let sizes = self.local_sizes.unwrap_or(self.sizes);
        let head = [b"PK\x03\x04".as_slice(), &20_u16.to_le_bytes()].concat();
        let fields = self.fields(name, sizes);
        [
            head.as_slice(),
            &fields,
            name,
            &self.extra,
            &self.content,
            &self.behind,
        ]
        .concat()
    }

    fn central(&self, at: u32) -> Vec<u8> {
        // Made by Unix.
        let mut bytes = b"PK\x01\x02\x14\x03\x14\x00".to_vec();
        bytes.extend(self.fields(&self.name, self.sizes));
        // No comment, the first disk, no text.
        bytes.extend([0; 6]);
        bytes.extend(self.attributes.to_le_bytes());
        bytes.extend(at.to_le_bytes());
        bytes.extend(&self.name);
        bytes.extend(&self.extra);
        bytes
    }
}

/// The archive of `entries`, in their order.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        directory.extend(entry.central(bytes.len() as u32));
        bytes.extend(entry.local());
    }
    closed(bytes, &directory, entries.len() as u16)
}

/// The archive with its directory and its end.
pub fn closed(mut bytes: Vec<u8>, directory: &[u8], entries: u16) -> Vec<u8> {
    let at = bytes.len() as u32;
    bytes.extend(directory);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend(entries.to_le_bytes());
    bytes.extend(entries.to_le_bytes());
    bytes.extend((directory.len() as u32).to_le_bytes());
    bytes.extend(at.to_le_bytes());
    bytes.extend([0, 0]);
    bytes
}

/// `bundle.json` as a ribflow that knew no digests wrote it.
pub fn about(workflow: &str) -> Entry {
    let about = json!({ "ribflow_bundle": 1, "workflow": workflow, "profiles": [] });
    Entry::new("bundle.json", about.to_string())
}

/// The same with the digests of `files`, and other fields.
pub fn about_with(workflow: &str, files: &[(&str, &str)], more: Value) -> Entry {
    let digest = |content: &str| ribflow::digest::Digest::of(content.as_bytes());
    let digests = files.iter().map(|(path, content)| (*path, digest(content)));
    let digests: std::collections::BTreeMap<_, _> = digests.collect();
    let mut about =
        json!({ "ribflow_bundle": 1, "workflow": workflow, "profiles": [], "files": digests });
    if let (Value::Object(about), Value::Object(more)) = (&mut about, more) {
        about.extend(more);
    }
    Entry::new("bundle.json", about.to_string())
}

/// A bundle of these files below `workflow/`, the first of which is the workflow.
pub fn bundle(files: &[(&str, &str)]) -> Vec<u8> {
    let entries = files
        .iter()
        .map(|(path, content)| Entry::new(format!("workflow/{path}"), content));
    let entries: Vec<Entry> = std::iter::once(about_with(files[0].0, files, Value::Null))
        .chain(entries)
        .collect();
    archive(&entries)
}
