//! From a dataset artifact to pixels in memory, for every kind that reads images.

use std::fs;
use std::path::{Component, Path};
use std::sync::Arc;

use rayon::prelude::*;

use super::task::{Context, TaskError, TaskInput};
use crate::digest::Digest;
use crate::ml::data::decode::decode;
use crate::ml::data::picture::Picture;
use crate::ml::data::resize::Transform;
use crate::ml::data::{ImagePart, ImageSet};
use crate::store::artifact::{Artifact, Blob, Dataset, ImageFile, Images, Part};

/// Images decoded between two looks at whether the run was interrupted.
const BATCH: usize = 256;

/// The images of a dataset as a model takes them.
///
/// Packed pixels that have the target's size stay as they are; everything else goes through
/// `target`. Without a target images keep their size, which then must be one for all.
/// Encoded files are looked for under the input's roots, then among the blobs, and must match
/// their digest. Decodes on `context.threads` threads; the result does not depend on it.
pub fn load(
    context: &Context,
    input: &TaskInput,
    target: Option<&Transform>,
) -> Result<ImageSet, TaskError> {
    let dataset = dataset(input)?;
    let total = count(dataset) as u64;
    let mut whole = Gathered::default();
    for part in &dataset.parts {
        let begin = whole.labels.len();
        match &part.images {
            Images::Packed {
                pixels,
                height,
                width,
                labels,
            } => {
                let bytes = read_packed(context, pixels, *height * *width * 3 * labels.len())?;
                whole.packed(bytes, *width, *height, target)?;
                whole.labels.extend(labels);
            }
            Images::Encoded { files, border } => {
                let pool = pool(context)?;
                for batch in files.chunks(BATCH) {
                    context.check_cancelled()?;
                    let pictures =
                        pool.install(|| decode_all(context, input, batch, *border, target))?;
                    for (picture, file) in pictures.into_iter().zip(batch) {
                        whole.picture(picture, &file.path)?;
                        whole.labels.push(file.label);
                    }
                    context
                        .progress
                        .advance(whole.labels.len() as u64, total, "images");
                }
            }
        }
        whole.parts.push(ImagePart {
            name: part_name(part),
            range: begin..whole.labels.len(),
        });
    }
    whole.finish(dataset)
}

/// The dataset of an input.
pub fn dataset(input: &TaskInput) -> Result<&Dataset, TaskError> {
    match &input.artifact {
        Artifact::Dataset(dataset) => Ok(dataset),
        _ => Err(TaskError::Input("the input is not a dataset".to_string())),
    }
}

/// How many images a dataset has.
pub fn count(dataset: &Dataset) -> usize {
    dataset
        .parts
        .iter()
        .map(|part| match &part.images {
            Images::Packed { labels, .. } => labels.len(),
            Images::Encoded { files, .. } => files.len(),
        })
        .sum()
}

/// The ids of its axes, `fog/1`; empty for a whole.
pub fn part_name(part: &Part) -> String {
    let ids: Vec<&str> = part.axes.values().map(String::as_str).collect();
    ids.join("/")
}

/// A rayon pool of the context's threads, for work of a stage's own.
pub fn pool(context: &Context) -> Result<rayon::ThreadPool, TaskError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(context.threads.max(1))
        .build()
        .map_err(|error| TaskError::Failed(error.to_string()))
}

/// Images so far, all of one size.
#[derive(Default)]
struct Gathered {
    pixels: Vec<u8>,
    /// Width and height.
    size: Option<(usize, usize)>,
    labels: Vec<u32>,
    parts: Vec<ImagePart>,
}

impl Gathered {
    fn packed(
        &mut self,
        bytes: Vec<u8>,
        width: usize,
        height: usize,
        target: Option<&Transform>,
    ) -> Result<(), TaskError> {
        let fits = target.is_none_or(|target| (target.crop, target.crop) == (width, height));
        if fits {
            self.agree(width, height, "packed images")?;
            if self.pixels.is_empty() {
                self.pixels = bytes;
            } else {
                self.pixels.extend_from_slice(&bytes);
            }
            return Ok(());
        }
        for pixels in bytes.chunks_exact((width * height * 3).max(1)) {
            let picture = Picture {
                pixels: pixels.to_vec(),
                width,
                height,
            };
            let picture = transformed(picture, target).map_err(TaskError::Input)?;
            self.picture(picture, "packed images")?;
        }
        Ok(())
    }

    fn picture(&mut self, picture: Picture, name: &str) -> Result<(), TaskError> {
        self.agree(picture.width, picture.height, name)?;
        self.pixels.extend_from_slice(&picture.pixels);
        Ok(())
    }

    fn agree(&mut self, width: usize, height: usize, name: &str) -> Result<(), TaskError> {
        let (w, h) = *self.size.get_or_insert((width, height));
        if (w, h) == (width, height) {
            return Ok(());
        }
        Err(TaskError::Input(format!(
            "images differ in size: {name} is {width} x {height}, those before are {w} x {h}"
        )))
    }

    fn finish(self, dataset: &Dataset) -> Result<ImageSet, TaskError> {
        let Some((width, height)) = self.size else {
            return Err(TaskError::Input("the dataset has no images".to_string()));
        };
        let classes = dataset.classes.len();
        if let Some(label) = self.labels.iter().find(|label| **label as usize >= classes) {
            return Err(TaskError::Input(format!(
                "label {label} is out of range: the dataset has {classes} classes"
            )));
        }
        Ok(ImageSet {
            pixels: Arc::new(self.pixels),
            height,
            width,
            labels: self.labels,
            classes: dataset.classes.clone(),
            parts: self.parts,
        })
    }
}

/// The pixels of packed images, which must be as many bytes as expected.
pub fn read_packed(context: &Context, blob: &Blob, expected: usize) -> Result<Vec<u8>, TaskError> {
    let bytes = context.blobs.read(&blob.digest)?;
    if bytes.len() != expected {
        return Err(TaskError::Input(format!(
            "packed pixels {} hold {} bytes, their shape needs {expected}",
            blob.digest.short(),
            bytes.len()
        )));
    }
    Ok(bytes)
}

fn decode_all(
    context: &Context,
    input: &TaskInput,
    files: &[ImageFile],
    border: usize,
    target: Option<&Transform>,
) -> Result<Vec<Picture>, TaskError> {
    let outcomes: Vec<Result<Picture, TaskError>> = files
        .par_iter()
        .map(|file| {
            let picture = picture(context, input, file, border)?;
            transformed(picture, target)
                .map_err(|error| TaskError::Input(format!("image `{}` {error}", file.path)))
        })
        .collect();
    // The first failure in the order of the files, whichever a thread met first.
    outcomes.into_iter().collect()
}

/// A file's picture, without `border` pixels on each side.
pub fn picture(
    context: &Context,
    input: &TaskInput,
    file: &ImageFile,
    border: usize,
) -> Result<Picture, TaskError> {
    let bytes = read_file(context, input, file)?;
    let picture = decode(&bytes).map_err(|error| error.to_string());
    picture
        .and_then(|picture| without_border(picture, border))
        .map_err(|error| TaskError::Input(format!("image `{}` {error}", file.path)))
}

/// The picture without `border` pixels on each side.
fn without_border(picture: Picture, border: usize) -> Result<Picture, String> {
    if border == 0 {
        return Ok(picture);
    }
    let (width, height) = (picture.width, picture.height);
    if width <= 2 * border || height <= 2 * border {
        return Err(format!(
            "is {width} x {height} pixels, and {border} are cut off each side"
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

fn transformed(picture: Picture, target: Option<&Transform>) -> Result<Picture, String> {
    let Some(target) = target else {
        return Ok(picture);
    };
    let pixels = target.apply(&picture).map_err(|error| error.to_string())?;
    Ok(Picture {
        pixels,
        width: target.crop,
        height: target.crop,
    })
}

/// The bytes of a file that have its digest: from a root, else from the blobs.
pub fn read_file(
    context: &Context,
    input: &TaskInput,
    file: &ImageFile,
) -> Result<Vec<u8>, TaskError> {
    file_bytes(context, input, &file.path, &file.blob).map_err(|error| match error {
        TaskError::Input(message) => TaskError::Input(format!("image {message}")),
        other => other,
    })
}

/// As [`read_file`], of the file `name` with the content `blob`.
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
        match fs::read(&path) {
            Ok(bytes) if Digest::of(&bytes) == blob.digest => return Ok(bytes),
            Ok(_) => changed = Some(path),
            Err(_) => {} // Not there: another root, or the store, may have it.
        }
    }
    context.blobs.read(&blob.digest).map_err(|error| {
        let place = match (&changed, roots.first()) {
            (Some(path), _) => format!("{} has another content now", path.display()),
            (None, Some(root)) => format!("it is not under {}", root.display()),
            // A node made it: whoever runs nodes can have it made again.
            (None, None) => return TaskError::Blob(error),
        };
        TaskError::Input(format!("`{name}` is missing: {place}, and {error}"))
    })
}
