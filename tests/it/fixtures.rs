//! Reference numbers, found at run time: the folder in `RIBFLOW_FIXTURES`, else `tests/reference`. And
//! a checkpoint that the program makes.

use std::path::PathBuf;

use crate::space::TestSpace;

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

/// The classes of a mask, ascending: their numbers, or the name of a list among the thousand
/// (`imagenet_r`); every one of `all` where there is no mask.
pub fn classes(mask: &serde_json::Value, all: usize) -> Vec<u32> {
    match mask {
        serde_json::Value::Null => (0..all as u32).collect(),
        serde_json::Value::String(name) => listed(name),
        numbers => {
            let mut classes: Vec<u32> = serde_json::from_value(numbers.clone()).unwrap();
            classes.sort_unstable();
            classes
        }
    }
}

/// The classes of a list of wnids among the thousand, ascending.
pub fn listed(name: &str) -> Vec<u32> {
    let read = |name: String| -> Vec<String> {
        let path = PathBuf::from("parity/classes").join(name);
        let given = folder().join(&path);
        let path = if given.exists() {
            given
        } else {
            copies().join(path)
        };
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let all = read("imagenet_wnids.json".to_string());
    let some = read(format!("{name}_wnids.json"));
    let mut classes: Vec<u32> = some
        .iter()
        .map(|wnid| all.iter().position(|other| other == wnid).unwrap() as u32)
        .collect();
    classes.sort_unstable();
    classes
}

/// A file of weights for `vit_mini`, which a training in `space` makes: `made/tensors.safetensors`.
pub fn small_checkpoint(space: &TestSpace) -> Vec<u8> {
    space.write(
        "make.yaml",
        "ribflow: 1
name: make
stages:
  images:
    use: dataset
    with: { builtin: mini-rib, domain: v2, images: 20 }
  model:
    use: pretrain
    needs: { data: images }
    with: { arch: vit_mini, epochs: 1, batch: 20 }
",
    );
    space.run(&["run", "make.yaml"]).ok();
    space.run(&["get", "make.yaml", "model", "-o", "made"]).ok();
    std::fs::read(space.path("made/tensors.safetensors")).unwrap()
}
