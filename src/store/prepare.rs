//! Opens a folder as a store, or creates one: only in a folder without other content, and never
//! through links.

use std::io;
use std::path::Path;

use super::StoreError;
use super::description::{self, ClaimsForm, Description};
use super::layout::{DESCRIPTION, FOLDERS, NAMES, TMP};
use crate::digest::Digest;
use crate::fsx;
use crate::fsx::calls;

/// Ensures that `root` holds a store that this build can use; a new one gets the identity `id` and locks of
/// this form, or of the usual one.
pub(super) fn prepare(
    root: &Path,
    id: Option<Digest>,
    form: Option<ClaimsForm>,
) -> Result<Description, StoreError> {
    if root.is_file() {
        return Err(StoreError::NotAStore {
            root: root.to_path_buf(),
            why: "it is a file; a store is a folder".to_string(),
        });
    }
    refuse_links(root)?;
    let description = match Description::read(root)? {
        Some(description) => description,
        None => make(root, id, form)?,
    };
    for folder in FOLDERS.map(|name| root.join(name)) {
        // Ignore a failure to create it: a later write reports that, and reading works without it.
        let _ = fsx::make_folders(&folder);
    }
    Ok(description)
}

fn make(
    root: &Path,
    id: Option<Digest>,
    form: Option<ClaimsForm>,
) -> Result<Description, StoreError> {
    refuse_other_content(root)?;
    let id = id.map_or_else(description::new_id, Ok)?;
    description::create(root, id, form)?;
    Description::read(root)?.ok_or_else(|| StoreError::NotAStore {
        root: root.to_path_buf(),
        why: format!("its {DESCRIPTION} was removed right after it was created"),
    })
}

/// A store is one folder tree without links. A link in place of one of its folders would let
/// ribflow write or remove files outside the store.
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

/// A store is created only in a folder that is missing or empty, apart from files that a repository
/// keeps there: a mistyped `--store` must not mix a store into other files.
fn refuse_other_content(root: &Path) -> Result<(), StoreError> {
    let entries = match calls::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(StoreError::io(root)(error)),
    };
    for entry in entries {
        let name = entry.map_err(StoreError::io(root))?.file_name();
        let name = name.to_string_lossy();
        // While another process creates the same store, `tmp` appears first and `store.json`
        // second.
        let expected = name.starts_with('.') || ["README.md", "lost+found", TMP].contains(&&*name);
        if !expected && !root.join(DESCRIPTION).exists() {
            return Err(StoreError::NotAStore {
                root: root.to_path_buf(),
                why: format!("it contains `{name}` but no {DESCRIPTION}"),
            });
        }
    }
    Ok(())
}
