//! Loads the images of a dataset artifact as pixels, for every kind that reads images.

mod file;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;

use self::file::{cropped, line, transformed, undecorated};
pub use self::file::{file_bytes, picture, read_file};
use super::derived::{self, Work};
use super::task::{Context, TaskError, TaskInput};
use crate::ml;
use crate::ml::data::photograph;
use crate::ml::data::picture::Picture;
use crate::ml::data::pixels::{Joined, Pixels, Rows};
use crate::ml::data::resize::Transform;
use crate::ml::data::{ImagePart, ImageSet};
use crate::ml::ops::parallel;
use crate::store::artifact::{Artifact, Blob, Dataset, Images, Part};

/// The number of images decoded between checks for an interrupt.
const BATCH: usize = 256;
/// The maximum size of pixels that one node keeps in memory if the cache is full. Above it, images
/// are decoded on every read.
const IN_MEMORY: u64 = 1 << 30;

/// The images of a dataset as a model expects them.
///
/// Packed pixels with the size of `target` are used unchanged; all other images are transformed,
/// once for all nodes if the cache has room, see [`derived`]. Without a target, images keep their
/// size, which must be the same for all. Encoded files are read from the input's roots or from the
/// blobs, and must match their digest. Decoding uses `context.threads` threads; the result does not
/// depend on their number.
pub fn load<'a>(
    context: &'a Context,
    input: &'a TaskInput,
    target: Option<&Transform>,
) -> Result<ImageSet<'a>, TaskError> {
    load_within(context, input, target, IN_MEMORY)
}

/// Like [`load`], with at most `memory` bytes of resized images in memory.
pub fn load_within<'a>(
    context: &'a Context,
    input: &'a TaskInput,
    target: Option<&Transform>,
    memory: u64,
) -> Result<ImageSet<'a>, TaskError> {
    let dataset = dataset(input)?;
    let mut whole = ImageCollector::new(count(dataset), memory);
    for part in &dataset.parts {
        let origin = Origin {
            context,
            input,
            part,
            target: target.copied(),
        };
        whole.part(origin)?;
    }
    whole.finish(dataset)
}

/// The images at some positions of a dataset, transformed. Nothing is cached.
pub fn at(
    context: &Context,
    input: &TaskInput,
    positions: &[usize],
    target: &Transform,
) -> Result<Vec<Picture>, TaskError> {
    let dataset = dataset(input)?;
    let mut starts = Vec::with_capacity(dataset.parts.len());
    let mut total = 0;
    for part in &dataset.parts {
        starts.push(total);
        total += count_of(part);
    }
    let picture = |position: &usize| {
        let place = starts.partition_point(|start| start <= position);
        let part = place.checked_sub(1).filter(|_| *position < total);
        let none = || TaskError::Input(format!("the dataset has {total} images, not {position}"));
        let place = part.ok_or_else(none)?;
        let origin = Origin {
            context,
            input,
            part: &dataset.parts[place],
            target: Some(*target),
        };
        origin.picture(position - starts[place])
    };
    positions.iter().map(picture).collect()
}

/// The dataset of an input.
pub fn dataset(input: &TaskInput) -> Result<&Dataset, TaskError> {
    match &input.artifact {
        Artifact::Dataset(dataset) => Ok(dataset),
        _ => Err(TaskError::Input("the input is not a dataset".to_string())),
    }
}

/// The number of images of a dataset.
pub fn count(dataset: &Dataset) -> usize {
    dataset.parts.iter().map(count_of).sum()
}

pub fn count_of(part: &Part) -> usize {
    match &part.images {
        Images::Packed { labels, .. } => labels.len(),
        Images::Encoded { files, .. } => files.len(),
    }
}

/// The ids of its axes, `fog/1`; empty for a dataset without parts.
pub fn part_name(part: &Part) -> String {
    let ids: Vec<&str> = part.axes.values().map(String::as_str).collect();
    ids.join("/")
}

/// A rayon pool with the context's number of threads.
pub fn pool(context: &Context) -> Result<rayon::ThreadPool, TaskError> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(context.threads.max(1))
        .build()
        .map_err(|error| TaskError::Failed(error.to_string()))
}

/// The images of one part, and their transform.
#[derive(Clone, Copy)]
struct Origin<'a> {
    context: &'a Context<'a>,
    input: &'a TaskInput,
    part: &'a Part,
    target: Option<Transform>,
}

impl fmt::Debug for Origin<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "images of {}", part_name(self.part))
    }
}

impl Origin<'_> {
    fn labels(&self) -> Vec<u32> {
        match &self.part.images {
            Images::Packed { labels, .. } => labels.clone(),
            Images::Encoded { files, .. } => files.iter().map(|file| file.label).collect(),
        }
    }

    /// Image `index` of the part, transformed. Warnings of the decoder go to the log.
    fn picture(&self, index: usize) -> Result<Picture, TaskError> {
        let (picture, warning) = self.picture_warned(index)?;
        if let Some(warning) = warning {
            self.context.progress.log(&warning);
        }
        Ok(picture)
    }

    /// Like [`Self::picture`], but returns the log line.
    fn picture_warned(&self, index: usize) -> Result<(Picture, Option<String>), TaskError> {
        match &self.part.images {
            Images::Encoded { files, border } => {
                let file = &files[index];
                let made = match self.target {
                    Some(target) if *border == 0 => {
                        let bytes = read_file(self.context, self.input, file)?;
                        photograph::pixels_warned(&bytes, &target)
                            .map(|(pixels, warning)| (cropped(pixels, &target), warning))
                            .map_err(|error| error.to_string())
                    }
                    _ => {
                        let (picture, warning) =
                            undecorated(self.context, self.input, file, *border)?;
                        let made = transformed(picture, self.target.as_ref());
                        made.map(|picture| (picture, warning))
                    }
                };
                let made = made.map(|(picture, warning)| (picture, line(file, warning)));
                made.map_err(|error| TaskError::Input(format!("image `{}` {error}", file.path)))
            }
            Images::Packed { .. } => {
                let mut pictures = self.packed(index..index + 1)?;
                let none = || TaskError::Input(format!("there is no packed image {index}"));
                Ok((pictures.pop().ok_or_else(none)?, None))
            }
        }
    }

    /// A range of the packed images.
    fn packed(&self, range: Range<usize>) -> Result<Vec<Picture>, TaskError> {
        let Images::Packed {
            pixels,
            height,
            width,
            labels,
        } = &self.part.images
        else {
            return Ok(Vec::new());
        };
        let size = height * width * 3;
        let bytes = read_packed(self.context, pixels, size * labels.len())?;
        let pictures = bytes.chunks_exact(size.max(1)).skip(range.start);
        let pictures = pictures.take(range.len()).map(|pixels| Picture {
            pixels: pixels.to_vec(),
            width: *width,
            height: *height,
        });
        let target = self.target.as_ref();
        let made = pictures.map(|picture| transformed(picture, target).map_err(TaskError::Input));
        made.collect()
    }

    /// A range of the images, decoded on all threads.
    fn pictures(&self, range: Range<usize>) -> Result<Vec<Picture>, TaskError> {
        let Images::Encoded { files, .. } = &self.part.images else {
            return self.packed(range);
        };
        let mut pictures = Vec::with_capacity(range.len());
        let indices: Vec<usize> = range.collect();
        for batch in indices.chunks(BATCH) {
            self.context.check_cancelled()?;
            let made: Vec<Result<Picture, TaskError>> =
                parallel::scope(self.context.threads, || {
                    let batch = batch.par_iter();
                    batch.map(|index| self.picture(*index)).collect()
                });
            // Report the first failure in file order, whichever thread failed first.
            for picture in made {
                pictures.push(picture?);
            }
            let done = batch.last().map_or(0, |last| last + 1);
            let progress = self.context.progress;
            progress.advance(done as u64, files.len() as u64, "images decoded");
        }
        Ok(pictures)
    }

    /// The bytes of a range of images, which all have the size of the target.
    fn bytes(&self, range: Range<usize>) -> Result<Vec<u8>, TaskError> {
        let pictures = self.pictures(range)?.into_iter();
        Ok(pictures.flat_map(|picture| picture.pixels).collect())
    }
}

/// Images from the cache or, if they are not there, decoded on every read.
#[derive(Debug)]
struct Streamed<'a> {
    origin: Origin<'a>,
    work: Work,
    pieces: Vec<Option<Rows>>,
    /// Images whose warning has been logged: every epoch decodes them again.
    warned: Mutex<BTreeSet<usize>>,
}

impl Pixels for Streamed<'_> {
    fn image(&self, index: usize) -> ml::Result<Cow<'_, [u8]>> {
        let (piece, row) = self.work.place(index);
        if let Some(Some(rows)) = self.pieces.get(piece) {
            return Ok(Cow::Borrowed(rows.row(row)?));
        }
        let made = self.origin.picture_warned(index);
        let (picture, warning) = made.map_err(|error| ml::Error::Images(Box::new(error)))?;
        if let Some(warning) = warning {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            if warned.insert(index) {
                self.origin.context.progress.log(&warning);
            }
        }
        Ok(Cow::Owned(picture.pixels))
    }
}

/// The images so far, all of the same size.
struct ImageCollector<'a> {
    pixels: Joined<'a>,
    /// Width and height.
    size: Option<(usize, usize)>,
    labels: Vec<u32>,
    parts: Vec<ImagePart>,
    total: usize,
    /// The remaining budget of bytes in memory.
    memory: u64,
}

impl<'a> ImageCollector<'a> {
    fn new(total: usize, memory: u64) -> Self {
        Self {
            pixels: Joined::default(),
            size: None,
            labels: Vec::with_capacity(total),
            parts: Vec::new(),
            total,
            memory,
        }
    }

    fn part(&mut self, origin: Origin<'a>) -> Result<(), TaskError> {
        let part = origin.part;
        let labels = origin.labels();
        let begin = self.labels.len();
        let pixels: Box<dyn Pixels + 'a> = match derived::pixels(part, origin.target.as_ref()) {
            Some(work) => {
                let side = origin.target.map_or(0, |target| target.crop);
                if work.rows > 0 {
                    self.agree(side, side, "resized images")?;
                }
                self.derived(origin, work)?
            }
            None => match &part.images {
                Images::Packed {
                    pixels,
                    height,
                    width,
                    labels,
                } => {
                    let size = height * width * 3;
                    let bytes = read_packed(origin.context, pixels, size * labels.len())?;
                    self.agree(*width, *height, "packed images")?;
                    Box::new(Rows::whole(size, bytes))
                }
                Images::Encoded { files, .. } => {
                    let mut bytes = Vec::new();
                    for (picture, file) in origin.pictures(0..files.len())?.iter().zip(files) {
                        self.agree(picture.width, picture.height, &file.path)?;
                        bytes.extend_from_slice(&picture.pixels);
                    }
                    let size = self.size.map_or(0, |(width, height)| 3 * width * height);
                    Box::new(Rows::whole(size, bytes))
                }
            },
        };
        self.pixels.push(labels.len(), pixels);
        self.labels.extend(labels);
        self.parts.push(ImagePart {
            name: part_name(part),
            range: begin..self.labels.len(),
        });
        let progress = origin.context.progress;
        progress.advance(
            self.labels.len() as u64,
            self.total as u64,
            "images decoded",
        );
        Ok(())
    }

    fn derived(
        &mut self,
        origin: Origin<'a>,
        work: Work,
    ) -> Result<Box<dyn Pixels + 'a>, TaskError> {
        let mut make = |range: Range<usize>| origin.bytes(range);
        let shards = (origin.context.derived).pieces(origin.context, &work, &mut make)?;
        let mut pieces = Vec::with_capacity(shards.len());
        for (piece, shard) in shards.into_iter().enumerate() {
            let range = work.range(piece);
            let bytes = (range.len() * work.width) as u64;
            let rows = |shard| Rows::new(work.width, usize::MAX, vec![shard]);
            pieces.push(match shard {
                Some(shard) => Some(rows(shard)),
                None if bytes <= self.memory => {
                    self.memory -= bytes;
                    Some(rows(Arc::new(origin.bytes(range)?)))
                }
                None => None,
            });
        }
        Ok(Box::new(Streamed {
            origin,
            work,
            pieces,
            warned: Mutex::default(),
        }))
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

    fn finish(self, dataset: &Dataset) -> Result<ImageSet<'a>, TaskError> {
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

/// The pixels of packed images. Fails unless they have the expected number of bytes.
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
