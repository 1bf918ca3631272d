//! Cached digests of whole trees of outside files, valid while the listing of every folder and the
//! stamp of every file are unchanged. So a tree of millions of files is confirmed without reading
//! the entry of each.
//!
//! An index is a line with the BLAKE3 of the rest, followed by JSON.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::walk::Folder;
use crate::digest::Digest;
use crate::fsx::Stamp;

/// Increase it when the same tree gets another fingerprint or another content.
const FORMAT: u32 = 1;

/// The cache entry of one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tree {
    /// The fingerprint of all listings and stamps; `None` if some files were too young.
    pub fingerprint: Option<Digest>,
    /// The folder of the tree.
    pub root: Stamp,
    /// The digest of the artifact.
    pub digest: Digest,
    pub files: u64,
    pub bytes: u64,
}

/// By the digest of the selection in the folder.
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
    // Encoding strings and numbers can't fail.
    let text = serde_json::to_string(&document).unwrap_or_default();
    format!("{}\n{text}", Digest::of(text.as_bytes())).into_bytes()
}

/// The trees in `folder`; `None` for bytes that [`encode`] did not write for it.
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
