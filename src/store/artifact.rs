//! Artifacts: the content of ports, as plain data. A port's digest is the BLAKE3 of its artifact's
//! canonical bytes. Those bytes are a blob, too, so the digest is enough to read an artifact.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;

/// The content of a port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Artifact {
    Files(Files),
    Dataset(Dataset),
    /// A model or named arrays; the port's type says which.
    Tensors(Tensors),
    Metrics(Metrics),
    Table(Table),
}

/// Bytes, by content. The fields are in alphabetical order: see [`Artifact::to_bytes`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blob {
    pub bytes: u64,
    pub digest: Digest,
}

/// A tree of files: maps relative paths with `/` to content. A single file (not a folder) has the
/// empty path.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Files {
    /// Paths of empty folders; the empty path is the tree itself.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub empty_folders: BTreeSet<String>,
    pub files: BTreeMap<String, TreeFile>,
}

/// A file of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeFile {
    pub bytes: u64,
    pub digest: Digest,
    /// Whether its owner may execute it.
    #[serde(skip_serializing_if = "is_false", default)]
    pub executable: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl TreeFile {
    pub fn blob(&self) -> Blob {
        Blob {
            bytes: self.bytes,
            digest: self.digest,
        }
    }
}

impl From<Blob> for TreeFile {
    /// A file that is not executable.
    fn from(blob: Blob) -> Self {
        Self {
            bytes: blob.bytes,
            digest: blob.digest,
            executable: false,
        }
    }
}

impl Files {
    /// Whether the tree consists of content and paths only, as in every record of format 1.
    pub fn is_plain(&self) -> bool {
        self.empty_folders.is_empty() && !self.files.values().any(|file| file.executable)
    }
}

impl FromIterator<(String, Blob)> for Files {
    /// A tree without executable files or empty folders.
    fn from_iter<I: IntoIterator<Item = (String, Blob)>>(files: I) -> Self {
        let files = files.into_iter();
        Self {
            empty_folders: BTreeSet::new(),
            files: files.map(|(path, blob)| (path, blob.into())).collect(),
        }
    }
}

/// Labelled images: an index into blobs or into files on disk, never their location.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Class names; an image's label is an index into them.
    pub classes: Vec<String>,
    /// The licence's restriction on training, if there is one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub clause: Option<String>,
    /// One part, or several where datasets were joined.
    pub parts: Vec<Part>,
}

/// A part of a dataset that evaluation reports on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The gathered axes that distinguish this part from the others; empty for an undivided
    /// dataset.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub axes: BTreeMap<String, String>,
    pub images: Images,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Images {
    /// Pixels in one blob: u8, row-major `[count, height, width, 3]`, RGB.
    Packed {
        height: usize,
        labels: Vec<u32>,
        pixels: Blob,
        width: usize,
    },
    /// Encoded image files, in order.
    Encoded {
        /// Pixels to cut off each side after decoding.
        #[serde(skip_serializing_if = "is_zero", default)]
        border: usize,
        files: Vec<ImageFile>,
    },
}

fn is_zero(value: &usize) -> bool {
    *value == 0
}

/// One encoded image. `path` is relative to the folder it came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageFile {
    pub blob: Blob,
    pub label: u32,
    pub path: String,
}

/// A tree of tensors with a config: a checkpoint, or arrays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tensors {
    /// For a model, its architecture and input; for arrays, their description.
    pub config: Value,
    /// By name.
    pub tensors: BTreeMap<String, TensorEntry>,
}

/// One tensor: its content is the row-major little-endian bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorEntry {
    /// The safetensors name: `F32`, `U8`, `I64`.
    pub dtype: String,
    pub shape: Vec<usize>,
    pub digest: Digest,
    /// The bytes in hexadecimal, for tensors of at most [`INLINE_BYTES`], which have no blob of
    /// their own.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inline: Option<String>,
}

/// Tensors up to this size are stored inline, in the artifact. Part of the format.
pub const INLINE_BYTES: usize = 256;

/// Named numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    pub values: BTreeMap<String, Metric>,
}

/// A number with what is needed to interpret it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    pub value: f64,
    /// The number of samples (images, domains) behind it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub n: Option<u64>,
    /// `percent`, `points`, `nats`; empty: dimensionless.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub unit: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub better: Option<Better>,
    /// The value at chance level.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub chance: Option<f64>,
    /// A 95 % confidence interval around `value`, if there are repeats.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interval: Option<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    Higher,
    Lower,
}

impl Metric {
    pub fn new(value: f64, unit: &str) -> Self {
        Self {
            value,
            n: None,
            unit: unit.to_string(),
            better: None,
            chance: None,
            interval: None,
        }
    }
}

/// Rows under named columns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Value>>,
}

impl Artifact {
    /// The blobs that must be in the store to read the artifact.
    ///
    /// Encoded images are not among them: they may be in their original folder.
    pub fn blobs(&self) -> Vec<Blob> {
        match self {
            Artifact::Files(files) => files.files.values().map(TreeFile::blob).collect(),
            Artifact::Dataset(dataset) => dataset
                .parts
                .iter()
                .filter_map(|part| match &part.images {
                    Images::Packed { pixels, .. } => Some(pixels.clone()),
                    Images::Encoded { .. } => None,
                })
                .collect(),
            Artifact::Tensors(tensors) => tensors
                .tensors
                .values()
                .filter(|entry| entry.inline.is_none())
                .map(|entry| Blob {
                    digest: entry.digest,
                    bytes: entry.bytes(),
                })
                .collect(),
            Artifact::Metrics(_) | Artifact::Table(_) => Vec::new(),
        }
    }

    /// The encoded images that it references, wherever they are stored.
    pub fn encoded_images(&self) -> Vec<Digest> {
        let Artifact::Dataset(dataset) = self else {
            return Vec::new();
        };
        let files = dataset.parts.iter().filter_map(|part| match &part.images {
            Images::Encoded { files, .. } => Some(files),
            Images::Packed { .. } => None,
        });
        files.flatten().map(|file| file.blob.digest).collect()
    }

    /// Bytes of everything that the artifact references, including encoded images.
    pub fn content_bytes(&self) -> u64 {
        let encoded = match self {
            Artifact::Dataset(dataset) => dataset
                .parts
                .iter()
                .map(|part| match &part.images {
                    Images::Encoded { files, .. } => files.iter().map(|file| file.blob.bytes).sum(),
                    Images::Packed { .. } => 0,
                })
                .sum(),
            _ => 0u64,
        };
        encoded + self.blobs().iter().map(|blob| blob.bytes).sum::<u64>()
    }

    /// Rejects numbers that JSON can't represent.
    pub fn check_finite(&self) -> Result<(), BlobError> {
        let Artifact::Metrics(metrics) = self else {
            return Ok(());
        };
        let finite = |metric: &Metric| {
            let bounds = metric.interval.unwrap_or_default();
            let numbers = [metric.value, metric.chance.unwrap_or_default()];
            numbers
                .iter()
                .chain(&bounds)
                .all(|number| number.is_finite())
        };
        match metrics.values.iter().find(|(_, metric)| !finite(metric)) {
            Some((name, _)) => Err(BlobError::NotFinite(name.clone())),
            None => Ok(()),
        }
    }
}

impl TensorEntry {
    /// Bytes of the tensor's content; 0 for an unknown dtype.
    pub fn bytes(&self) -> u64 {
        size(&self.dtype, &self.shape).unwrap_or_default()
    }
}

/// Reads and writes blobs by content. A task sees nothing else of a store.
pub trait Blobs: Send + Sync {
    /// The verified bytes of `digest`.
    fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError>;
    /// A read-only file with the bytes of `digest`, verified.
    fn path(&self, digest: &Digest) -> Result<std::path::PathBuf, BlobError>;
    /// Stores `bytes` and returns their digest.
    fn write(&self, bytes: &[u8]) -> Result<Blob, BlobError>;
    /// Stores the content of a file; leaves the file where it is.
    fn write_file(&self, path: &std::path::Path) -> Result<Blob, BlobError>;
}

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("blob {0} is not in the store")]
    Missing(Digest),
    /// It was set aside; the node that produces it must run again.
    #[error("blob {0} was damaged and has been set aside")]
    Damaged(Digest),
    /// The bytes match the digest, but their content is not the expected one.
    #[error("blob {digest} can't be read: {why}")]
    Unreadable { digest: Digest, why: String },
    #[error("tensor `{name}`: {why}")]
    Tensor { name: String, why: String },
    #[error("`{0}` is not a finite number")]
    NotFinite(String),
    #[error("{}: {source}", path.display())]
    Io {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
}

/// `None` for a name that safetensors does not define.
pub fn dtype(name: &str) -> Option<Dtype> {
    serde_json::from_value(Value::from(name)).ok()
}

/// Bytes of a tensor of `dtype` and `shape`; `None` for an unknown dtype, and for a size that
/// overflows or is not a whole number of bytes.
pub fn size(name: &str, shape: &[usize]) -> Option<u64> {
    let bits = shape
        .iter()
        .try_fold(dtype(name)?.bitsize() as u64, |total, size| {
            total.checked_mul(*size as u64)
        })?;
    (bits % 8 == 0).then_some(bits / 8)
}
