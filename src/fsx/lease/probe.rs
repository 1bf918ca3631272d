//! Whether a file system has what leases need.

use std::io;
use std::path::Path;

use crate::fsx::plain::is_folder;
use crate::fsx::{DraftFolder, calls};

/// Whether the file system of `folder` has what leases need: hard links, and names that are taken
/// only once.
pub fn check(folder: &Path) -> io::Result<()> {
    let place = DraftFolder::new(folder, "probe-")?;
    let (one, two) = (place.path().join("one"), place.path().join("two"));
    calls::write(&one, b"1")?;
    calls::hard_link(&one, &two)?;
    match calls::hard_link(&one, &two) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        _ => return Err(io::Error::other("it makes a hard link over another file")),
    }
    calls::write(&one, b"2")?;
    match calls::read(&two)? == b"2" && is_folder(place.path()) {
        true => Ok(()),
        false => Err(io::Error::other("its hard links are copies")),
    }
}
