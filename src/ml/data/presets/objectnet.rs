//! ObjectNet's folders and ImageNet's classes.

use serde::Deserialize;

use super::{Folder, ObjectnetLabels};
use crate::data::classes;

#[derive(Deserialize)]
struct Row {
    folder: String,
    /// Labels of the ImageNet classes that the object is.
    classes: Vec<usize>,
    /// The one label that the benchmark's released code gives the folder.
    released: usize,
}

/// The folders that ImageNet has classes for, in the order of their names.
pub fn folders(labels: ObjectnetLabels) -> Vec<Folder> {
    // The file is part of the program and read by its tests.
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
