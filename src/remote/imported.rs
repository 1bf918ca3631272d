//! The `command` stages of workflows that came from elsewhere, by digest: they run only once the
//! user has allowed them, wherever the workflow file lies by then.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::home::Home;
use crate::digest::Digest;
use crate::fsx;

/// The list can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct ImportedError {
    path: PathBuf,
    source: io::Error,
}

/// The digests that came from elsewhere so far.
pub fn read(home: &Home) -> Result<BTreeSet<Digest>, ImportedError> {
    let path = home.imported();
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.lines().filter_map(|line| line.parse().ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(source) => Err(ImportedError { path, source }),
    }
}

/// Adds digests to the list.
pub fn note(home: &Home, digests: &BTreeSet<Digest>) -> Result<(), ImportedError> {
    let path = home.imported();
    let failed = |source| ImportedError {
        path: path.clone(),
        source,
    };
    let folder = path.parent().unwrap_or(&path);
    fs::create_dir_all(folder).map_err(failed)?;
    let _lock = fsx::Lock::acquire(&folder.join("imported.lock")).map_err(failed)?;
    let mut all = read(home)?;
    all.extend(digests);
    let text: String = all.iter().map(|digest| format!("{digest}\n")).collect();
    fsx::replace(&path, folder, fsx::SHARED, text.as_bytes()).map_err(failed)
}
