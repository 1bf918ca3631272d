//! One encoded image: its bytes, its picture, the cut of its border.

use std::path::{Component, Path};

use crate::digest::Digest;
use crate::fsx;
use crate::ml::data::decode::decode_warned;
use crate::ml::data::picture::Picture;
use crate::ml::data::resize::Transform;
use crate::stages::task::{Context, TaskError, TaskInput};
use crate::store::artifact::{Blob, ImageFile};

/// The picture in a file, without `border` pixels on each side. Warnings of the decoder go to the
/// log.
pub fn picture(
    context: &Context,
    input: &TaskInput,
    file: &ImageFile,
    border: usize,
) -> Result<Picture, TaskError> {
    let (picture, warning) = undecorated(context, input, file, border)?;
    if let Some(warning) = line(file, warning) {
        context.progress.log(&warning);
    }
    Ok(picture)
}

/// The picture in a file without its border, and the warning of the decoder.
pub(super) fn undecorated(
    context: &Context,
    input: &TaskInput,
    file: &ImageFile,
    border: usize,
) -> Result<(Picture, Option<String>), TaskError> {
    let bytes = read_file(context, input, file)?;
    let decoded = decode_warned(&bytes).map_err(|error| error.to_string());
    decoded
        .and_then(|(picture, warning)| Ok((without_border(picture, border)?, warning)))
        .map_err(|error| TaskError::Input(format!("image `{}` {error}", file.path)))
}

/// The log line for a warning of the decoder.
pub(super) fn line(file: &ImageFile, warning: Option<String>) -> Option<String> {
    let warning = warning?;
    Some(format!("warning: image `{}`: {warning}", file.path))
}

/// The picture without `border` pixels on each side.
fn without_border(picture: Picture, border: usize) -> Result<Picture, String> {
    if border == 0 {
        return Ok(picture);
    }
    let (width, height) = (picture.width, picture.height);
    if width <= 2 * border || height <= 2 * border {
        return Err(format!(
            "has {width} x {height} pixels, too few to cut {border} off each side"
        ));
    }
    let rows = picture.pixels.chunks_exact(3 * width);
    let rows = rows.skip(border).take(height - 2 * border);
    Ok(Picture {
        pixels: rows
            .flat_map(|row| &row[3 * border..3 * (width - border)])
            .copied()
            .collect(),
        width: width - 2 * border,
        height: height - 2 * border,
    })
}

pub(super) fn transformed(picture: Picture, target: Option<&Transform>) -> Result<Picture, String> {
    let Some(target) = target else {
        return Ok(picture);
    };
    let pixels = target.apply(&picture).map_err(|error| error.to_string())?;
    Ok(cropped(pixels, target))
}

pub(super) fn cropped(pixels: Vec<u8>, target: &Transform) -> Picture {
    Picture {
        pixels,
        width: target.crop,
        height: target.crop,
    }
}

/// The bytes of a file, from a root or from the blobs. They match its digest.
pub fn read_file(
    context: &Context,
    input: &TaskInput,
    file: &ImageFile,
) -> Result<Vec<u8>, TaskError> {
    file_bytes(context, input, &file.path, &file.blob).map_err(|error| match error {
        TaskError::Input(message) => TaskError::Input(format!("image {message}")),
        TaskError::Lost { message, blob } => TaskError::Lost {
            message: format!("image {message}"),
            blob,
        },
        other => other,
    })
}

/// Like [`read_file`], for the file `name` with the content `blob`.
pub fn file_bytes(
    context: &Context,
    input: &TaskInput,
    name: &str,
    blob: &Blob,
) -> Result<Vec<u8>, TaskError> {
    let relative = Path::new(name);
    let inside = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let roots = if inside { &input.roots[..] } else { &[] };
    let mut changed = None;
    for path in roots.iter().map(|root| root.join(relative)) {
        match fsx::read_regular(&path) {
            Ok(bytes) if Digest::of(&bytes) == blob.digest => return Ok(bytes),
            Ok(_) => changed = Some(path),
            Err(_) => {} // Not here: another root, or the store, may have it.
        }
    }
    context.blobs.read(&blob.digest).map_err(|error| {
        let what = match (&changed, roots.first()) {
            (Some(path), _) => format!("has changed: {} has different content", path.display()),
            (None, Some(root)) => format!("is missing: it is not under {}", root.display()),
            (None, None) => "is missing".to_string(),
        };
        TaskError::Lost {
            message: format!("`{name}` {what}"),
            blob: error,
        }
    })
}
