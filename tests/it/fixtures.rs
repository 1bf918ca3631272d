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

/// ImageNet-R's classes among the thousand, ascending.
pub fn imagenet_r() -> Vec<u32> {
    let read = |name: &str| -> Vec<String> {
        let path = PathBuf::from("parity/classes").join(name);
        let given = folder().join(&path);
        let path = if given.exists() {
            given
        } else {
            copies().join(path)
        };
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let all = read("imagenet_wnids.json");
    let some = read("imagenet_r_wnids.json");
    let mut classes: Vec<u32> = some
        .iter()
        .map(|wnid| all.iter().position(|other| other == wnid).unwrap() as u32)
        .collect();
    classes.sort_unstable();
    classes
}
