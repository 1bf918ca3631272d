//! Opening a folder as a store, or making one: only where nothing else is kept, and without links.

use std::fs;
use std::io;
use std::path::Path;

use super::StoreError;
use super::description::{self, Description};
use super::layout::{DESCRIPTION, FOLDERS, NAMES, TMP};
use crate::digest::Digest;
use crate::fsx;

/// Makes sure that `root` holds a store which this build may use; a new one gets the identity `id`.
pub(super) fn prepare(root: &Path, id: Option<Digest>) -> Result<Description, StoreError> {
    if root.is_file() {
        return Err(StoreError::NotAStore {
            root: root.to_path_buf(),
            why: "it is a file; a store is a folder".to_string(),
        });
    }
    refuse_links(root)?;
    let description = match Description::read(root)? {
        Some(description) => description,
        None => make(root, id)?,
    };
    for folder in FOLDERS.map(|name| root.join(name)) {
        // Where it can't be made, whoever wants to write into it says so: what is there can be
        // read all the same.
        let _ = fsx::make_folders(&folder);
    }
    Ok(description)
}

fn make(root: &Path, id: Option<Digest>) -> Result<Description, StoreError> {
    refuse_other_content(root)?;
    let id = id.map_or_else(description::new_id, Ok)?;
    description::create(root, id)?;
    Description::read(root)?.ok_or_else(|| StoreError::NotAStore {
        root: root.to_path_buf(),
        why: format!("its {DESCRIPTION} was removed when it had just been made"),
    })
}

/// A store lies in one piece. A link in place of one of its folders would have files written, or
/// removed, that belong to somebody else.
fn refuse_links(root: &Path) -> Result<(), StoreError> {
    let links = NAMES.iter().find(|name| fsx::is_link(&root.join(name)));
    match links {
        None => Ok(()),
        Some(name) => Err(StoreError::NotAStore {
            root: root.to_path_buf(),
            why: format!("its `{name}` is a link, and links in a store are not followed"),
        }),
    }
}

/// A store is only made in a folder that is missing or empty but for what a repository keeps
/// there: a mistyped `--store` must not mix a store into someone's files.
fn refuse_other_content(root: &Path) -> Result<(), StoreError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(root)(error)),
    };
    for entry in entries {
        let name = entry.map_err(StoreError::io(root))?.file_name();
        let name = name.to_string_lossy();
        // `tmp` is the first thing that appears while another process makes the same store, and
        // `store.json` the second.
        let expected = name.starts_with('.') || ["README.md", "lost+found", TMP].contains(&&*name);
        if !expected && !root.join(DESCRIPTION).exists() {
            return Err(StoreError::NotAStore {
                root: root.to_path_buf(),
                why: format!("it holds `{name}` and no {DESCRIPTION}"),
            });
        }
    }
    Ok(())
}
