//! Packed images as they are.

use std::sync::Arc;

use super::task::{Context, TaskError, TaskInput};
use crate::ml::data::{ImagePart, ImageSet};
use crate::store::artifact::{Artifact, Images};

/// The images of a dataset whose parts are all packed in one size.
pub(super) fn load(context: &Context, input: &TaskInput) -> Result<ImageSet, TaskError> {
    let Artifact::Dataset(dataset) = &input.artifact else {
        return Err(TaskError::Input("a dataset is expected".to_string()));
    };
    let mut set = ImageSet {
        pixels: Arc::default(),
        height: 0,
        width: 0,
        labels: Vec::new(),
        classes: dataset.classes.clone(),
        parts: Vec::new(),
    };
    let mut all = Vec::new();
    for part in &dataset.parts {
        let Images::Packed {
            pixels,
            height,
            width,
            labels,
        } = &part.images
        else {
            return Err(TaskError::Input("packed images are expected".to_string()));
        };
        let start = set.labels.len();
        if start > 0 && (set.height, set.width) != (*height, *width) {
            return Err(TaskError::Input("parts of different sizes".to_string()));
        }
        (set.height, set.width) = (*height, *width);
        all.extend(context.blobs.read(&pixels.digest)?);
        set.labels.extend(labels);
        let ids: Vec<&str> = part.axes.values().map(String::as_str).collect();
        set.parts.push(ImagePart {
            name: ids.join("/"),
            range: start..set.labels.len(),
        });
    }
    if all.len() != set.labels.len() * set.image_bytes() {
        return Err(TaskError::Input(
            "pixels and labels differ in number".to_string(),
        ));
    }
    set.pixels = Arc::new(all);
    Ok(set)
}
