//! Where the user's workflow files are, by the digest that stands for each in the journals and pins
//! of a store. No path can be told from the digest, since stores are passed on; this folder is not.
//!
//! Each is a link to the path: it takes no room beside its name, and any number of processes may
//! make one at once. Nothing opens it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use super::home::Home;
use crate::digest::Digest;

/// Nobody but the owner may read where files are.
const PRIVATE_FOLDER: u32 = 0o700;

/// Notes that `place` stands for the workflow file at `path`.
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

/// The path that `place` stands for; `None` where this user has never used it.
pub fn path(home: &Home, place: &Digest) -> Option<PathBuf> {
    fs::read_link(home.projects().join(place.to_hex())).ok()
}
