//! A record: one observed outcome of a recipe key. Immutable, named by its own digest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::artifact::Artifact;
use crate::contract::port::PortType;
use crate::contract::recipe::Recipe;
use crate::digest::{Digest, canonical_json};

/// The newest record format that this build reads. A record gets the oldest format that can express
/// it ([`format_of`]), so that older builds can read it.
pub const RECORD_FORMAT: u32 = 2;
/// The format of records whose trees have neither executable files nor empty folders.
const PLAIN_FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    pub key: Digest,
    /// The key in readable form, for `why`.
    pub recipe: Recipe,
    pub ports: BTreeMap<String, Port>,
    pub provenance: Provenance,
}

/// One observed output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Port {
    #[serde(rename = "type")]
    pub gives: PortType,
    /// The digest of the artifact's canonical bytes, which enters the keys of consumers.
    pub digest: Digest,
    /// Bytes of the artifact and of all blobs that it references.
    pub bytes: u64,
    /// The artifact itself if it is small (metrics and tables always), so that a report needs only
    /// records. Large ones are read from the blob `digest`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inline: Option<Artifact>,
}

/// Who, where, when: never part of a key, never compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The version of ribflow.
    pub ribflow: String,
    /// Backend + instruction set: `cpu/x86-64-v4`.
    pub device_class: String,
    pub threads: usize,
    /// Seconds since 1970, UTC.
    pub started: u64,
    pub wall_seconds: f64,
    /// Notes of the kind on the execution: decoder, images per second.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub notes: BTreeMap<String, Value>,
    /// The records of older versions of the kind that this one repeats, nearest first; empty if the
    /// kind's own version produced it. All fields above describe the execution that produced the
    /// outcome.
    ///
    /// This field needs no higher format: a build that does not know it is older than the version
    /// of the kind, and never looks up such a record.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub accepted: Vec<Accepted>,
}

/// A record of an older version of a kind that was accepted as valid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub kind: String,
    pub version: u32,
    pub key: Digest,
    pub record: Digest,
    /// Its signers at that time: if they revoke it later, that revokes this record, too.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub signers: Vec<Digest>,
}

/// A record with its digest.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    pub digest: Digest,
    pub record: Record,
    /// The key is known to have no other record, so its folder need not be read.
    pub alone: bool,
}

impl StoredRecord {
    pub fn of(record: Record) -> Self {
        Self::named(record.digest(), record)
    }

    /// A record with a known digest.
    pub fn named(digest: Digest, record: Record) -> Self {
        Self {
            digest,
            record,
            alone: false,
        }
    }

    /// A record of `recipe` that repeats this outcome. `recipe` differs from that of this record
    /// only in the version of the kind. `signers` have signed this one.
    pub fn accepted_for(&self, recipe: &Recipe, signers: Vec<Digest>) -> Record {
        let mut record = self.record.clone();
        record.provenance.accepted.insert(
            0,
            Accepted {
                kind: record.recipe.kind.clone(),
                version: record.recipe.version,
                key: record.key,
                record: self.digest,
                signers,
            },
        );
        Record {
            key: recipe.key(),
            recipe: recipe.clone(),
            ..record
        }
    }
}

impl Record {
    /// The stored bytes, whose digest is the record's name.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Encoding can't fail: a record has only maps with string keys, and finite numbers.
        let value = serde_json::to_value(self).unwrap_or_default();
        canonical_json(&value).into_bytes()
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }
}

/// The format of a record with these outputs.
pub fn format_of<'a>(outputs: impl IntoIterator<Item = &'a Artifact>) -> u32 {
    let formats = outputs.into_iter().map(Artifact::format);
    formats.max().unwrap_or(PLAIN_FORMAT)
}

impl Artifact {
    /// The oldest record format that can express this artifact.
    pub fn format(&self) -> u32 {
        match self {
            Artifact::Files(files) if !files.is_plain() => RECORD_FORMAT,
            _ => PLAIN_FORMAT,
        }
    }

    /// The canonical bytes; their digest is the artifact's name.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Trees of files and datasets may have millions of entries. Their maps and fields are
        // already sorted by name, so the output of serde is canonical.
        if let Artifact::Files(_) | Artifact::Dataset(_) = self {
            return serde_json::to_vec(self).unwrap_or_default();
        }
        // As above: encoding can't fail.
        let value = serde_json::to_value(self).unwrap_or_default();
        canonical_json(&value).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::artifact::{Blob, Dataset, Files, ImageFile, Images, Part, TreeFile};

    /// Keys depend on what serde writes for these types, and so on the order of their fields.
    #[test]
    fn what_is_written_as_it_stands_is_canonical() {
        let blob = |text: &str| Blob {
            bytes: text.len() as u64,
            digest: Digest::of(text.as_bytes()),
        };
        let odd = "a \"b\"\\\n\u{7f}\u{1}/é😀";
        let file = |path: &str, label| ImageFile {
            blob: blob(path),
            label,
            path: path.to_string(),
        };
        let encoded = |border| Images::Encoded {
            border,
            files: vec![file(odd, 1), file("z/a", 0)],
        };
        let packed = Images::Packed {
            height: 3,
            labels: vec![2, 0, 1],
            pixels: blob("pixels"),
            width: 4,
        };
        let axes: BTreeMap<String, String> = [("seed", "10"), ("domain", odd)]
            .map(|(axis, id)| (axis.to_string(), id.to_string()))
            .into();
        let part = |axes: &BTreeMap<String, String>, images| Part {
            axes: axes.clone(),
            images,
        };
        let dataset = |clause: Option<&str>, parts| {
            Artifact::Dataset(Dataset {
                classes: vec![odd.to_string(), "dog".to_string()],
                clause: clause.map(str::to_string),
                parts,
            })
        };
        let none = BTreeMap::new();
        let tree: Files = [(odd, blob("one")), ("", blob("two"))]
            .map(|(path, blob)| (path.to_string(), blob))
            .into_iter()
            .collect();
        let executable = |file: TreeFile| TreeFile {
            executable: true,
            ..file
        };
        for artifact in [
            dataset(None, vec![part(&none, packed.clone())]),
            dataset(
                Some(odd),
                vec![part(&axes, encoded(0)), part(&none, encoded(2))],
            ),
            dataset(Some(""), Vec::new()),
            Artifact::Files(tree.clone()),
            Artifact::Files(Files {
                empty_folders: ["z", "a/b", odd].map(str::to_string).into(),
                files: tree
                    .files
                    .into_iter()
                    .map(|(path, file)| (path, executable(file)))
                    .collect(),
            }),
        ] {
            let value = serde_json::to_value(&artifact).unwrap();
            let canonical = canonical_json(&value).into_bytes();
            assert_eq!(artifact.to_bytes(), canonical);
            let back: Artifact = serde_json::from_slice(&canonical).unwrap();
            assert_eq!(back, artifact);
        }
    }

    /// Documents of builds without executable files and empty folders keep their bytes.
    #[test]
    fn a_plain_tree_is_written_as_ever() {
        let file = r#"{"bytes":3,"digest":"9c4b7d6de3e8b1b7bba1c6e4d5b0a1c2e3f405162738495a6b7c8d9eafb0c1d2"}"#;
        let text = format!(r#"{{"files":{{"files":{{"a":{file}}}}}}}"#);
        let plain: Artifact = serde_json::from_str(&text).unwrap();
        assert_eq!(String::from_utf8(plain.to_bytes()).unwrap(), text);
        assert_eq!(plain.format(), 1);
        let marked = text.replace("}}}}", r#","executable":true}}}}"#);
        let marked: Artifact = serde_json::from_str(&marked).unwrap();
        assert_eq!(marked.format(), 2);
        let folder = r#"{"files":{"empty_folders":["e"],"files":{}}}"#;
        let folder: Artifact = serde_json::from_str(folder).unwrap();
        assert_eq!(format_of([&plain, &folder]), 2);
        assert_eq!(format_of([&plain]), 1);
    }
}
