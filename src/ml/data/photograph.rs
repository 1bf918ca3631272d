//! From the bytes of a file directly to the pixels of a model's input.

use std::cell::RefCell;

use super::decode::{self, DecodeError};
use super::resize::{Lines, Transform};

/// Why a file can't be used as an image.
#[derive(Debug, thiserror::Error)]
pub enum PhotographError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Transform(#[from] crate::Error),
}

thread_local! {
    /// A buffer for a decoded image, reused for the next file.
    static DECODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The maximum size of the buffer that a thread keeps: 2048 × 2048 pixels.
const KEPT: usize = 3 << 22;

/// The same bytes as [`decode::decode`] followed by [`Transform::apply`]. For a JPEG file, blocks
/// outside the crop are neither transformed nor colour-converted.
pub fn pixels(bytes: &[u8], transform: &Transform) -> Result<Vec<u8>, PhotographError> {
    pixels_warned(bytes, transform).map(|(pixels, _)| pixels)
}

/// As [`pixels`], with the warnings of the decoder.
pub fn pixels_warned(
    bytes: &[u8],
    transform: &Transform,
) -> Result<(Vec<u8>, Option<String>), PhotographError> {
    transform.check()?;
    if !decode::is_jpeg(bytes) {
        let (picture, warning) = decode::decode_warned(bytes)?;
        return Ok((transform.apply(&picture)?, warning));
    }
    DECODED.with_borrow_mut(|decoded| {
        let wanted = |width, height| transform.columns(width, height);
        let part = decode::jpeg_part(bytes, &wanted, decoded)?;
        let pixels = transform.apply_to(&Lines {
            pixels: decoded,
            width: part.width,
            height: part.height,
            left: part.columns.left,
            kept: part.columns.width,
        });
        if decoded.capacity() > KEPT {
            *decoded = Vec::new();
        }
        Ok((pixels, part.warning))
    })
}
