//! What was known of whole trees of outside files: their content, as long as the listing of every
//! folder and the stamp of every file in it stay the same. A tree of millions is then confirmed
//! without reading what was known of each of them.
//!
//! An index is a line with the BLAKE3 of what follows, and JSON.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::walk::Folder;
use crate::digest::Digest;
use crate::fsx::Stamp;

/// Raised when the same tree gives another fingerprint or another content.
const FORMAT: u32 = 1;

/// What is known of one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tree {
    /// Of all listings and stamps; `None` where some of the files were too young for that.
    pub fingerprint: Option<Digest>,
    /// The folder that the tree lies in.
    pub root: Stamp,
    /// Of the artifact.
    pub digest: Digest,
    pub files: u64,
    pub bytes: u64,
}

/// By the digest of what counts of the folder.
pub(super) type Trees = HashMap<Digest, Tree>;

#[derive(Serialize, Deserialize)]
struct Document {
    format: u32,
    folder: String,
    trees: Vec<(Digest, Tree)>,
}

pub(super) fn encode(folder: &str, trees: &Trees) -> Vec<u8> {
    let document = Document {
        format: FORMAT,
        folder: folder.to_string(),
        trees: trees
            .iter()
            .map(|(shape, tree)| (*shape, tree.clone()))
            .collect(),
    };
    // Texts and numbers always encode.
    let text = serde_json::to_string(&document).unwrap_or_default();
    format!("{}\n{text}", Digest::of(text.as_bytes())).into_bytes()
}

/// The trees in `folder`; `None` for bytes that are not what [`encode`] wrote for it.
pub(super) fn decode(folder: &str, bytes: &[u8]) -> Option<Trees> {
    let (seal, text) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    if Digest::of(text.as_bytes()) != seal.parse().ok()? {
        return None;
    }
    let document: Document = serde_json::from_str(text).ok()?;
    let fits = document.format == FORMAT && document.folder == folder;
    fits.then(|| document.trees.into_iter().collect())
}

/// The digest of all listings and stamps.
pub(super) fn fingerprint(folders: &[Folder]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("ribflow 2026 listed tree v1");
    for folder in folders {
        hasher.update(&(folder.path.len() as u64).to_le_bytes());
        hasher.update(folder.path.as_bytes());
        hasher.update(
            folder
                .digest
                .unwrap_or(Digest::from_bytes([0; 32]))
                .as_bytes(),
        );
    }
    Digest::finish(&hasher)
}
