//! ObjectNet's folders and ImageNet's classes.

use serde::Deserialize;

use super::{Folder, ObjectnetLabels};
use crate::data::classes;

#[derive(Deserialize)]
struct Row {
    folder: String,
    /// Labels of the ImageNet classes of the object.
    classes: Vec<usize>,
    /// The label that the benchmark's released code gives the folder.
    released: usize,
}

/// The folders with ImageNet classes, sorted by name.
pub fn folders(labels: ObjectnetLabels) -> Vec<Folder> {
    // The file is compiled into the program, and its tests parse it.
    let rows: Vec<Row> = serde_json::from_str(include_str!("objectnet.json")).unwrap_or_default();
    let imagenet = classes::imagenet();
    let class = |row: &Row| match labels {
        ObjectnetLabels::Released => imagenet[row.released].clone(),
        ObjectnetLabels::Intended => {
            let names = row.classes.iter().map(|label| imagenet[*label].as_str());
            names.collect::<Vec<_>>().join("+")
        }
    };
    rows.iter()
        .map(|row| Folder {
            folder: row.folder.clone(),
            class: class(row),
        })
        .collect()
}
