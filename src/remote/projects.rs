//! The paths of the user's workflow files, by the digest that represents each in the journals and
//! pins of a store. The digest does not reveal the path, since stores are shared; this folder is
//! private.
//!
//! Each entry is a symbolic link to the path: it needs no space beyond its name, and any number of
//! processes can create entries concurrently. Nothing opens the links.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::home::Home;
use crate::digest::Digest;

/// Only the owner may read the paths.
const PRIVATE_FOLDER: u32 = 0o700;

/// Records that `place` represents the workflow file at `path`.
pub fn note(home: &Home, place: &Digest, path: &Path) -> io::Result<()> {
    let folder = home.projects();
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(PRIVATE_FOLDER);
    builder.create(&folder)?;
    match symlink(path, folder.join(place.to_hex())) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// The path that `place` represents; `None` if this user has never used it.
pub fn path(home: &Home, place: &Digest) -> Option<PathBuf> {
    fs::read_link(home.projects().join(place.to_hex())).ok()
}
