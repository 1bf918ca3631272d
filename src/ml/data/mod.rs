//! Images as models take them: decoding, resizing, and the built-in rendered dataset.

pub mod classes;
pub mod corrupt;
pub mod decode;
pub mod encode;
pub mod mini_rib;
pub mod picture;
pub mod presets;
pub mod resize;

use std::sync::Arc;

/// Decoded, equally sized, labelled images.
#[derive(Clone, Debug)]
pub struct ImageSet {
    /// u8 RGB, row-major `[count, height, width, 3]`.
    pub pixels: Arc<Vec<u8>>,
    pub height: usize,
    pub width: usize,
    /// Indices into `classes`, one an image.
    pub labels: Vec<u32>,
    pub classes: Vec<String>,
    /// Parts in order that cover all images; one unless datasets were joined.
    pub parts: Vec<ImagePart>,
}

/// A run of images that is reported on its own.
#[derive(Clone, Debug, PartialEq)]
pub struct ImagePart {
    pub name: String,
    pub range: std::ops::Range<usize>,
}

impl ImageSet {
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
    pub fn image(&self, index: usize) -> &[u8] {
        let size = self.image_bytes();
        &self.pixels[index * size..(index + 1) * size]
    }
}
