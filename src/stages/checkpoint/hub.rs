//! The Hugging Face hub: URLs of files, and the token of the official tools.

use std::fs;
use std::path::PathBuf;

use crate::diag::secrets;

const PUBLIC: &str = "https://huggingface.co";

/// A repository at a commit, tag or branch.
pub(super) struct Repository<'a> {
    pub name: &'a str,
    pub revision: &'a str,
}

impl Repository<'_> {
    /// The URL of `file`, at the endpoint in `HF_ENDPOINT`.
    pub fn url(&self, file: &str) -> String {
        let endpoint = variable("HF_ENDPOINT").unwrap_or_else(|| PUBLIC.to_string());
        let endpoint = endpoint.trim_end_matches('/');
        format!("{endpoint}/{}/resolve/{}/{file}", self.name, self.revision)
    }

    /// Whether the revision can't move.
    pub fn is_fixed(&self) -> bool {
        is_commit(self.revision)
    }
}

/// Whether a revision is a commit: not a branch or a tag, which may move.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.chars().all(|it| it.is_ascii_hexdigit())
}

/// The token in HF_TOKEN, or in the file that `hf auth login` writes.
pub(super) fn token() -> Option<String> {
    if let Some(token) = variable("HF_TOKEN") {
        return Some(token);
    }
    let file = variable("HF_TOKEN_PATH").map(PathBuf::from);
    let file = file.or_else(|| Some(home()?.join("token")))?;
    let token = fs::read_to_string(file).ok()?;
    let token = token.trim();
    secrets::keep(token);
    (!token.is_empty()).then(|| token.to_string())
}

/// The home folder of the hub's tools.
fn home() -> Option<PathBuf> {
    let cache = || {
        let given = variable("XDG_CACHE_HOME").map(PathBuf::from);
        let usual = || Some(PathBuf::from(variable("HOME")?).join(".cache"));
        Some(given.or_else(usual)?.join("huggingface"))
    };
    variable("HF_HOME").map(PathBuf::from).or_else(cache)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
