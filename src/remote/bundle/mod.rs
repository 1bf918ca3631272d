//! Bundles: a workflow, its lock, records, signatures and perhaps blobs in one file, for labs with
//! no network in common. A bundle is a zip archive of uncompressed entries, laid out as a store
//! beside a `workflow/` folder, so it is read and written as any other remote.

mod reader;
mod writer;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use reader::BundleReader;
pub use writer::BundleWriter;

use super::names::{COMPRESSED, in_records};
use crate::digest::Digest;

/// The version of the format that this build writes.
pub const BUNDLE_FORMAT: u32 = 1;
pub(super) const ABOUT: &str = "bundle.json";
pub(super) const WORKFLOW: &str = "workflow/";

/// What a bundle says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    pub ribflow_bundle: u32,
    /// The workflow's file, below `workflow/`.
    pub workflow: String,
    /// The profiles that its records are of, in the order in which they are applied.
    pub profiles: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is no bundle: {why}", path.display())]
    Format { path: PathBuf, why: String },
    #[error("{} has format {found}, this ribflow reads {BUNDLE_FORMAT}", path.display())]
    Later { path: PathBuf, found: u32 },
}

/// Whether an entry of this name has a place in a bundle. Anything else may be meant to be written
/// somewhere that it should not.
pub(super) fn is_known(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let is_prefix = |prefix: &str, rest: &str| {
        prefix.len() == 2 && format!("{prefix}{rest}").parse::<Digest>().is_ok()
    };
    match parts.as_slice() {
        [ABOUT] => true,
        ["workflow", rest @ ..] => is_plain(rest),
        ["objects", prefix, rest] => {
            let rest = rest.strip_suffix(COMPRESSED).unwrap_or(rest);
            is_prefix(prefix, rest)
        }
        ["records", prefix, key, name] => {
            key.parse::<Digest>().is_ok() && key.starts_with(prefix) && in_records(name).is_some()
        }
        ["revocations", signer, name] => {
            let digest = name.strip_suffix(".sig").unwrap_or_default();
            signer.parse::<Digest>().is_ok() && digest.parse::<Digest>().is_ok()
        }
        _ => false,
    }
}

/// Whether a path can only lead below the folder that it starts from.
fn is_plain(parts: &[&str]) -> bool {
    let plain = |part: &&str| {
        let odd = part
            .chars()
            .any(|it| it.is_control() || it == '\\' || it == ':');
        !part.is_empty() && !part.starts_with("..") && *part != "." && !odd
    };
    !parts.is_empty() && parts.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_a_store_and_plain_paths_are_known() {
        let key = "ab".repeat(32);
        let known = [
            "bundle.json".to_string(),
            "workflow/grid.yaml".to_string(),
            "workflow/published/x.yaml".to_string(),
            format!("objects/ab/{}", &key[2..]),
            format!("objects/ab/{}.zst", &key[2..]),
            format!("records/ab/{key}/{key}.json"),
            format!("records/ab/{key}/{key}.{key}.sig"),
            format!("revocations/{key}/{key}.sig"),
        ];
        for name in &known {
            assert!(is_known(name), "{name}");
        }
        for name in [
            "../x",
            "/etc/passwd",
            "workflow",
            "workflow/",
            "workflow/../x",
            "workflow//x",
            "workflow/a/./b",
            "workflow/..\\x",
            "workflow/C:x",
            "workflow/a\0b",
            "objects/ab/cd",
            "objects/ab",
            "records/ab/x/y.json",
            "tmp/x",
            "",
        ] {
            assert!(!is_known(name), "{name}");
        }
        let other = format!("records/cd/{key}/{key}.json");
        assert!(!is_known(&other), "a key stands in its own folder");
    }
}
