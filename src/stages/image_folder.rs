//! Reads a file tree as torchvision's ImageFolder does: the first folder of a path is the class,
//! labels follow the sorted names, and files are in sorted order, folder by folder.

use std::collections::BTreeMap;

use super::task::{TaskError, TaskInput};
use crate::contract::source::ImageSelection;
use crate::diag::nearest;
use crate::store::artifact::{Artifact, Files, ImageFile, TreeFile};
use crate::store::sources::{IMAGE_ENDINGS, image_folder_order, is_same_class};

/// Extensions, in lower case, of the files that can be decoded. Other image types that torchvision
/// supports are an error, because skipping them would give a smaller dataset.
const DECODED: [&str; 3] = [".jpg", ".jpeg", ".png"];

/// The class names and the selected images, with their paths in the tree.
pub fn images(
    input: &TaskInput,
    selection: &ImageSelection,
) -> Result<(Vec<String>, Vec<ImageFile>), TaskError> {
    let Artifact::Files(tree) = &input.artifact else {
        return Err(TaskError::Input("`folder` is not a file tree".to_string()));
    };
    let mut classes = by_class(tree);
    if let Some(wanted) = &selection.classes {
        if let Some(missing) = wanted
            .iter()
            .find(|name| !classes.keys().any(|class| is_same_class(name, class)))
        {
            return Err(TaskError::Input(no_such_class(missing, &classes)));
        }
        classes.retain(|name, _| wanted.iter().any(|class| is_same_class(class, name)));
    }
    if classes.is_empty() {
        return Err(TaskError::Input(
            "no images: expected a subfolder with JPEG or PNG files for each class".to_string(),
        ));
    }
    let mut images = Vec::new();
    for (label, files) in classes.values().enumerate() {
        let limit = selection.limit.unwrap_or(files.len());
        images.extend(files.iter().take(limit).map(|(path, file)| ImageFile {
            path: path.to_string(),
            blob: file.blob(),
            label: label as u32,
        }));
    }
    if let Some(image) = images
        .iter()
        .find(|image| !ends_with(&image.path, &DECODED))
    {
        return Err(TaskError::Input(format!(
            "image `{}` has an unsupported extension: only JPEG and PNG can be decoded",
            image.path
        )));
    }
    Ok((classes.into_keys().map(str::to_string).collect(), images))
}

type ByClass<'a> = BTreeMap<&'a str, Vec<(&'a str, &'a TreeFile)>>;

fn by_class(tree: &Files) -> ByClass<'_> {
    let mut classes = ByClass::new();
    for (path, file) in &tree.files {
        if let Some((class, rest)) = path.split_once('/')
            && ends_with(rest, &IMAGE_ENDINGS)
        {
            classes.entry(class).or_default().push((path, file));
        }
    }
    for files in classes.values_mut() {
        files.sort_by_key(|(path, _)| image_folder_order(path));
    }
    classes
}

fn ends_with(path: &str, endings: &[&str]) -> bool {
    let path = path.to_lowercase();
    endings.iter().any(|ending| path.ends_with(ending))
}

fn no_such_class(missing: &str, classes: &ByClass) -> String {
    match nearest(missing, classes.keys().copied()) {
        Some(name) => format!("there is no class folder `{missing}`; did you mean `{name}`?"),
        None => format!(
            "there is no class folder `{missing}` among {}",
            classes.len()
        ),
    }
}
