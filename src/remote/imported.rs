//! The digests of imported content: the files of imported workflows and their `command` stages.
//! Stages run only after the user has allowed them, wherever they are then.
//!
//! A second list has the user's own exports: importing one's own bundle does not make its content
//! foreign. Its folder is marked all the same.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;

use super::home::Home;
use super::mark;
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls;

/// Starts the last line, which has the digest of the lines above it. A list without one was written
/// by an older version of ribflow, and gets one at the next write.
const CHECKSUM: &str = "checksum ";

/// The list can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ImportedError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is damaged: line {line} has changed", path.display())]
    Damaged { path: PathBuf, line: usize },
}

/// The digests of everything imported so far.
///
/// # Errors
/// The list can't be read, or a part of it is lost.
pub fn read(home: &Home) -> Result<BTreeSet<Digest>, ImportedError> {
    list(home.imported())
}

/// Adds the content of an import, except own exports. Durable on return.
pub fn note(home: &Home, digests: &BTreeSet<Digest>) -> Result<(), ImportedError> {
    // Without the list of exports, everything counts as imported.
    let own = list(home.exported()).unwrap_or_default();
    add(home.imported(), &(digests - &own))
}

/// Adds the content of an export to the list of own exports, except imported content.
pub fn note_own(home: &Home, digests: &BTreeSet<Digest>) -> Result<(), ImportedError> {
    let own: BTreeSet<Digest> = digests - &read(home)?;
    match own.is_subset(&list(home.exported())?) {
        true => Ok(()),
        false => add(home.exported(), &own),
    }
}

fn list(path: PathBuf) -> Result<BTreeSet<Digest>, ImportedError> {
    match fsx::read_regular_text(&path) {
        Ok(text) => parse(&text).map_err(|line| ImportedError::Damaged { path, line }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
        Err(source) => Err(ImportedError::Io { path, source }),
    }
}

/// The digests of a list, or the number of the first invalid line.
fn parse(text: &str) -> Result<BTreeSet<Digest>, usize> {
    // A list is never written without a line.
    if text.is_empty() {
        return Err(1);
    }
    let mut digests = BTreeSet::new();
    let mut read = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let wrong = index + 1;
        let content = line.strip_suffix('\n').ok_or(wrong)?;
        match content.strip_prefix(CHECKSUM) {
            Some(checksum) => {
                let above = Digest::of(&text.as_bytes()[..read]);
                let is_last = read + line.len() == text.len();
                if !is_last || checksum.parse().ok() != Some(above) {
                    return Err(wrong);
                }
            }
            None => {
                digests.insert(content.parse().map_err(|_| wrong)?);
            }
        }
        read += line.len();
    }
    Ok(digests)
}

/// Adds digests to a list. Durable on return.
fn add(path: PathBuf, digests: &BTreeSet<Digest>) -> Result<(), ImportedError> {
    let failed = |source| ImportedError::Io {
        path: path.clone(),
        source,
    };
    let folder = path.parent().unwrap_or(&path);
    calls::create_dir_all(folder).map_err(failed)?;
    let _lock = fsx::Lock::acquire(&path.with_extension("lock")).map_err(failed)?;
    let mut all = list(path.clone())?;
    all.extend(digests);
    let lines: String = all.iter().map(|digest| format!("{digest}\n")).collect();
    let checksum = Digest::of(lines.as_bytes());
    let text = format!("{lines}{CHECKSUM}{checksum}\n");
    fsx::replace(&path, folder, fsx::SHARED, text.as_bytes()).map_err(failed)?;
    mark::flush(&path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_bit_of_the_list_is_lost_without_a_word() {
        let space = tempfile::tempdir().unwrap();
        let folder = space.path().to_path_buf();
        let home = Home::of(|name| (name == "HOME").then(|| folder.clone().into_os_string()));
        let home = home.unwrap();
        assert!(read(&home).unwrap().is_empty());
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        note(&home, &BTreeSet::from([one])).unwrap();
        note(&home, &BTreeSet::from([two])).unwrap();
        let both = BTreeSet::from([one, two]);
        assert_eq!(read(&home).unwrap(), both);

        let whole = fs::read(home.imported()).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(home.imported(), damaged).unwrap();
            assert!(read(&home).is_err(), "bit {bit}");
        }
        // As an older version of ribflow wrote it.
        fs::write(home.imported(), format!("{one}\n{two}\n")).unwrap();
        assert_eq!(read(&home).unwrap(), both);
        fs::write(home.imported(), format!("{one}\n{}", &two.to_hex()[..9])).unwrap();
        assert!(read(&home).is_err(), "a truncated list");
    }
}
