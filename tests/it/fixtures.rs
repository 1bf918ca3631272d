//! Reference numbers, found at run time: the folder in `RIBFLOW_FIXTURES`, else `tests/reference`.

use std::path::PathBuf;

/// The folder of reference numbers.
pub fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("RIBFLOW_FIXTURES") {
        return PathBuf::from(folder);
    }
    copies()
}

/// The copies in this repository; cargo names the package's folder when it runs a test.
pub fn copies() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or(PathBuf::from("."), PathBuf::from);
    package.join("tests/reference")
}
