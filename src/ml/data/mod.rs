//! Images for models: decoding, resizing, corruptions, and the built-in rendered dataset. Knows
//! bytes and pixels; the caller decides which files form a dataset.

pub mod classes;
pub mod corrupt;
pub mod decode;
pub mod drawing;
pub mod encode;
mod idct;
mod jpeg;
pub mod mini_rib;
pub mod photograph;
pub mod picture;
pub mod pixels;
mod png;
pub mod presets;
mod refusal;
pub mod resize;

use std::borrow::Cow;
use std::sync::Arc;

use rayon::prelude::*;

use super::Result;
use pixels::{Pixels, Rows};

/// Decoded, labelled images of equal size.
#[derive(Clone, Debug)]
pub struct ImageSet<'a> {
    pub pixels: Arc<dyn Pixels + 'a>,
    pub height: usize,
    pub width: usize,
    /// Indices into `classes`, one per image.
    pub labels: Vec<u32>,
    pub classes: Vec<String>,
    /// Consecutive parts that cover all images; one unless datasets were joined.
    pub parts: Vec<ImagePart>,
}

/// The pixels of a set in memory, `[count, height, width, 3]`.
pub fn in_memory(bytes: Vec<u8>, height: usize, width: usize) -> Arc<dyn Pixels> {
    Arc::new(Rows::whole(height * width * 3, bytes))
}

/// Consecutive images that are reported separately.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePart {
    pub name: String,
    pub range: std::ops::Range<usize>,
}

impl ImageSet<'_> {
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes of one image: height × width × 3.
    pub fn image_bytes(&self) -> usize {
        self.height * self.width * 3
    }

    /// The pixels of image `index`.
    pub fn image(&self, index: usize) -> Result<Cow<'_, [u8]>> {
        self.pixels.image(index)
    }

    /// The pixels of all images, `[count, height, width, 3]`.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.len() * self.image_bytes());
        for index in 0..self.len() {
            bytes.extend_from_slice(&self.image(index)?);
        }
        Ok(bytes)
    }

    /// The pixels of several images, in parallel on the current pool.
    pub fn images(&self, indices: &[usize]) -> Result<Vec<Cow<'_, [u8]>>> {
        let images: Vec<_> = indices.par_iter().map(|index| self.image(*index)).collect();
        // The first failure by index, regardless of the order of threads.
        images.into_iter().collect()
    }
}
