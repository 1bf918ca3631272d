//! A folder of images as torchvision's `ImageFolder` lists it: one sub-folder for each class.

use std::fs;
use std::path::{Path, PathBuf};

use icu_normalizer::ComposingNormalizerBorrowed;
use rayon::prelude::*;

use super::source_error::{IMAGE_ENDINGS, SourceError};
use super::walk::{self, Walk, WalkOutput};
use crate::contract::source::ImageSelection;
use crate::fsx::Stamp;

/// Sorting relative paths of an image folder by this gives torchvision's order: by class, then by
/// folder, then by name. (A tree of files is sorted by whole path, which differs for nested
/// folders.)
pub fn image_folder_order(path: &str) -> (&str, &str, &str) {
    let class = path.split('/').next().unwrap_or_default();
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    (class, folder, name)
}

/// The images of `root` that torchvision would load, restricted to `selection`, class by class.
pub(super) fn images(
    root: &Path,
    selection: &ImageSelection,
    look: WalkOutput,
) -> Result<Vec<walk::Folder>, SourceError> {
    let walk = images_walk(root, look);
    let classes = selected(root, walk.folders()?, selection)?;
    let listed = classes.into_par_iter().map(|class| match selection.limit {
        Some(_) => limited(root, &class, selection.limit, look),
        None => {
            let folders = walk.under(&class)?;
            match look == WalkOutput::Rows && folders.iter().all(walk::Folder::is_empty) {
                true => Err(SourceError::EmptyClass(root.join(&class))),
                false => Ok(folders),
            }
        }
    });
    let listed: Vec<Vec<walk::Folder>> = listed.collect::<Result<_, SourceError>>()?;
    Ok(listed.into_iter().flatten().collect())
}

/// The first images of a class; only these are read.
fn limited(
    root: &Path,
    class: &str,
    limit: Option<usize>,
    look: WalkOutput,
) -> Result<Vec<walk::Folder>, SourceError> {
    let paths = class_images(root, class, limit)?;
    let paths: Vec<(&str, &str)> = paths
        .iter()
        .filter_map(|path| path.rsplit_once('/'))
        .collect();
    let folders = paths.chunk_by(|one, next| one.0 == next.0);
    let folders = folders.map(|files| {
        let mut rows = Vec::new();
        for (folder, name) in files {
            let full = root.join(folder).join(name);
            let metadata = fs::metadata(&full).map_err(SourceError::io(&full))?;
            if !metadata.is_file() {
                return Err(SourceError::NotAFile(full));
            }
            walk::put_row(&mut rows, Stamp::of(&metadata), name);
        }
        let folder = files[0].0.to_string();
        Ok(walk::Folder::new(folder, rows, look))
    });
    folders.collect()
}

/// The class folders of a selection.
fn selected(
    root: &Path,
    classes: Vec<String>,
    selection: &ImageSelection,
) -> Result<Vec<String>, SourceError> {
    if classes.is_empty() {
        return Err(SourceError::NoClasses(root.to_path_buf()));
    }
    let Some(wanted) = &selection.classes else {
        return Ok(classes);
    };
    for class in wanted {
        check_class(root, class, &classes)?;
    }
    let wanted = |class: &String| wanted.iter().any(|wanted| is_same_class(wanted, class));
    Ok(classes.into_iter().filter(wanted).collect())
}

fn images_walk(root: &Path, look: WalkOutput) -> Walk<'_> {
    Walk {
        root,
        wanted: is_image,
        look,
        ignore: None,
    }
}

/// The first of `places` below `root` that has a class folder of the selection.
pub fn first_place(
    root: &Path,
    places: &[String],
    selection: &ImageSelection,
) -> Result<PathBuf, SourceError> {
    if !root.exists() {
        return Err(SourceError::Missing(root.to_path_buf()));
    }
    let fits = |folder: &PathBuf| match &selection.classes {
        Some(classes) => classes.iter().any(|class| has_class(folder, class)),
        None => folder.is_dir(),
    };
    let mut folders = places.iter().map(|place| root.join(place));
    folders.find(fits).ok_or_else(|| SourceError::NoPlace {
        root: root.to_path_buf(),
        places: places.to_vec(),
    })
}

/// Whether two class names are the same text: file systems store accented letters as one character
/// or as two, and both look the same.
pub fn is_same_class(one: &str, other: &str) -> bool {
    let composed = |text| ComposingNormalizerBorrowed::new_nfc().normalize(text);
    one == other || composed(one) == composed(other)
}

fn has_class(folder: &Path, class: &str) -> bool {
    let listed = || {
        images_walk(folder, WalkOutput::Names)
            .folders()
            .unwrap_or_default()
    };
    let same = |name: &String| is_same_class(class, name);
    folder.join(class).is_dir() || (!class.is_ascii() && listed().iter().any(same))
}

fn check_class(root: &Path, class: &str, classes: &[String]) -> Result<(), SourceError> {
    if classes.iter().any(|known| is_same_class(class, known)) {
        return Ok(());
    }
    let nearest = crate::diag::nearest(class, classes.iter().map(String::as_str));
    Err(SourceError::NoSuchClass {
        root: root.to_path_buf(),
        class: class.to_string(),
        nearest: nearest.map(str::to_string),
    })
}

/// The images of one class folder, in torchvision's order, as paths below `root`.
pub fn class_images(
    root: &Path,
    class: &str,
    limit: Option<usize>,
) -> Result<Vec<String>, SourceError> {
    let folders = images_walk(root, WalkOutput::Names).under(class)?;
    let mut images: Vec<String> = folders
        .iter()
        .flat_map(|folder| {
            folder
                .files()
                .map(|(name, _)| walk::join(&folder.path, name))
        })
        .collect();
    images.sort_by(|a, b| image_folder_order(a).cmp(&image_folder_order(b)));
    images.truncate(limit.unwrap_or(usize::MAX));
    match images.is_empty() {
        true => Err(SourceError::EmptyClass(root.join(class))),
        false => Ok(images),
    }
}

fn is_image(name: &str) -> bool {
    let name = name.as_bytes();
    IMAGE_ENDINGS.iter().any(|ending| {
        let start = name.len().checked_sub(ending.len());
        start.is_some_and(|start| name[start..].eq_ignore_ascii_case(ending.as_bytes()))
    })
}
