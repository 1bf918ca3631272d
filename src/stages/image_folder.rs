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
    if classes.values().all(Vec::is_empty) {
        return Err(TaskError::Input(
            "no images: expected a subfolder with JPEG or PNG files for each class".to_string(),
        ));
    }
    // As torchvision: a class without images is a mistake in the data.
    if let Some((class, _)) = classes.iter().find(|(_, files)| files.is_empty()) {
        return Err(TaskError::Input(format!(
            "the class folder `{class}` contains no images"
        )));
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

/// The images of every folder at the top of the tree.
fn by_class(tree: &Files) -> ByClass<'_> {
    let mut classes = ByClass::new();
    for (path, file) in &tree.files {
        if let Some((class, rest)) = path.split_once('/') {
            let files = classes.entry(class).or_default();
            if ends_with(rest, &IMAGE_ENDINGS) {
                files.push((path, file));
            }
        }
    }
    // The empty path is the tree itself.
    for path in tree.empty_folders.iter().filter(|path| !path.is_empty()) {
        let class = path
            .split_once('/')
            .map_or(path.as_str(), |(class, _)| class);
        classes.entry(class).or_default();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::store::artifact::Blob;

    fn classes(
        files: &[&str],
        empty: &[&str],
        wanted: Option<&[&str]>,
    ) -> Result<Vec<String>, String> {
        let blob = Blob {
            bytes: 0,
            digest: Digest::of(b""),
        };
        let named = files.iter().map(|path| (path.to_string(), blob.clone()));
        let mut tree: Files = named.collect();
        tree.empty_folders = empty.iter().map(|path| path.to_string()).collect();
        let input = TaskInput {
            axes: Default::default(),
            artifact: Artifact::Files(tree),
            roots: Vec::new(),
        };
        let selection = ImageSelection {
            classes: wanted.map(|names| names.iter().map(|name| name.to_string()).collect()),
            ..Default::default()
        };
        let found = images(&input, &selection).map_err(|error| error.to_string())?;
        Ok(found.0)
    }

    #[test]
    fn a_selected_class_folder_without_images_is_an_error() {
        let refused = Err("the class folder `dog` contains no images".to_string());
        let cat = ["cat/a.png", "readme"];
        for empty in ["dog", "dog/deep"] {
            assert_eq!(classes(&cat, &[empty], None), refused);
        }
        assert_eq!(classes(&["cat/a.png", "dog/notes"], &[], None), refused);
        assert_eq!(classes(&cat, &["dog"], Some(&["dog", "cat"])), refused);
        let one = Ok(vec!["cat".to_string()]);
        assert_eq!(classes(&cat, &["dog"], Some(&["cat"])), one);
        for nothing in [&[][..], &[""], &["dog"]] {
            let error = classes(&["readme"], nothing, None).unwrap_err();
            assert!(
                error.starts_with("no images: expected a subfolder"),
                "{error}"
            );
        }
    }
}
