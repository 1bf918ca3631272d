//! The encoding of a record in an index.

use std::collections::BTreeMap;

use crate::contract::port::PortType;
use crate::contract::recipe::Recipe;
use crate::digest::Digest;
use crate::store::artifact::{Artifact, Blob};
use crate::store::packed::{Reader, Writer};
use crate::store::record::{Port, Provenance, Record};

const NOTHING: u8 = 0;
/// An artifact as JSON.
const JSON: u8 = 1;
/// A tree without executable files or empty folders.
const TREE: u8 = 2;

const PORT_TYPES: [PortType; 6] = [
    PortType::Dataset,
    PortType::Model,
    PortType::Arrays,
    PortType::Metrics,
    PortType::Table,
    PortType::Files,
];

/// Everything except the key, which is stored beside the copy, and the recipe, which the caller
/// has: recipes are equal exactly if their keys are.
#[derive(Debug, PartialEq)]
pub(super) struct Copied {
    format: u32,
    ports: BTreeMap<String, Port>,
    provenance: Provenance,
}

impl Copied {
    pub fn provenance(&self) -> &Provenance {
        &self.provenance
    }

    pub fn into_record(self, key: Digest, recipe: Recipe) -> Record {
        Record {
            format: self.format,
            key,
            recipe,
            ports: self.ports,
            provenance: self.provenance,
        }
    }
}

pub(super) fn encode(record: &Record) -> Vec<u8> {
    let mut writer = Writer(Vec::with_capacity(512));
    writer.number(u64::from(record.format));
    writer.map(&record.ports, Writer::port);
    writer.provenance(&record.provenance);
    writer.0
}

/// `None` for bytes that [`encode`] can't have written.
pub(super) fn decode(bytes: &[u8]) -> Option<Copied> {
    let mut reader = Reader(bytes);
    Some(Copied {
        format: u32::try_from(reader.number()?).ok()?,
        ports: reader.map(Reader::port)?,
        provenance: reader.provenance()?,
    })
}

impl Writer {
    fn port(&mut self, port: &Port) {
        let known = PORT_TYPES.iter().position(|known| *known == port.gives);
        self.tag(known.map_or(u8::MAX, |place| place as u8));
        self.digest(&port.digest);
        self.number(port.bytes);
        match &port.inline {
            None => self.tag(NOTHING),
            Some(Artifact::Files(tree)) if tree.is_plain() => {
                self.tag(TREE);
                self.map(&tree.files, |writer, blob| {
                    writer.number(blob.bytes);
                    writer.digest(&blob.digest);
                });
            }
            Some(artifact) => {
                self.tag(JSON);
                self.json(artifact);
            }
        }
    }

    fn provenance(&mut self, provenance: &Provenance) {
        self.text(&provenance.ribflow);
        self.text(&provenance.device_class);
        self.number(provenance.threads as u64);
        self.number(provenance.started);
        self.number(provenance.wall_seconds.to_bits());
        self.map(&provenance.notes, |writer, note| writer.json(note));
        self.length(provenance.accepted.len());
        provenance.accepted.iter().for_each(|one| self.json(one));
    }
}

impl Reader<'_> {
    fn port(&mut self) -> Option<Port> {
        Some(Port {
            gives: *PORT_TYPES.get(usize::from(self.tag()?))?,
            digest: self.digest()?,
            bytes: self.number()?,
            inline: match self.tag()? {
                NOTHING => None,
                TREE => {
                    let files = self.map(Self::blob)?;
                    Some(Artifact::Files(files.into_iter().collect()))
                }
                _ => Some(self.json()?),
            },
        })
    }

    fn blob(&mut self) -> Option<Blob> {
        Some(Blob {
            bytes: self.number()?,
            digest: self.digest()?,
        })
    }

    fn provenance(&mut self) -> Option<Provenance> {
        Some(Provenance {
            ribflow: self.text()?.to_string(),
            device_class: self.text()?.to_string(),
            threads: usize::try_from(self.number()?).ok()?,
            started: self.number()?,
            wall_seconds: f64::from_bits(self.number()?),
            notes: self.map(Self::json)?,
            accepted: self.list(Self::json)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record that uses every part of a copy.
    fn record() -> Record {
        let digest = Digest::of(b"content");
        let blob = serde_json::json!({ "bytes": 7, "digest": digest });
        let tool = serde_json::json!({ "bytes": 7, "digest": digest, "executable": true });
        let text = serde_json::json!({
            "format": 2,
            "key": Digest::of(b"key"),
            "recipe": {
                "kind": "command", "version": 3, "with": { "run": "true", "rate": 0.1 },
                "inputs": { "data": [{ "axes": { "seed": "1" }, "digest": digest }] },
                "device": "cpu/x86-64-v4",
            },
            "ports": {
                "all": { "type": "files", "digest": digest, "bytes": 7,
                         "inline": { "files": { "files": { "a/b": blob } } } },
                "tools": { "type": "files", "digest": digest, "bytes": 7,
                           "inline": { "files": { "empty_folders": ["c"], "files": { "a/b": tool } } } },
                "numbers": { "type": "metrics", "digest": digest, "bytes": 9,
                             "inline": { "metrics": { "values": { "x": { "value": 0.3 } } } } },
                "weights": { "type": "model", "digest": digest, "bytes": 1000 },
            },
            "provenance": {
                "ribflow": "0.1.0", "device_class": "cpu", "threads": 2, "started": 17,
                "wall_seconds": 0.25, "notes": { "decoder": "mozjpeg" },
                "accepted": [{ "kind": "command", "version": 2, "key": digest, "record": digest,
                               "signers": [digest] }],
            },
        });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_copy_is_the_record_and_a_part_of_it_is_none() {
        let record = record();
        let bytes = encode(&record);
        assert_eq!(
            Digest::of(&bytes).to_hex(),
            "4b984438f795f989de890ffcdde28a361abc672564856922f9624da1073d2e32"
        );
        let copy = decode(&bytes).unwrap();
        let copy = copy.into_record(record.key, record.recipe.clone());
        assert_eq!(copy, record);
        assert_eq!(copy.digest(), record.digest());
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), None);
        }
    }
}
