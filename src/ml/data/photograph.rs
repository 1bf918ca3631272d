//! From the bytes of a file straight to the pixels that a model takes.

use std::cell::RefCell;

use super::decode::{self, DecodeError};
use super::resize::{Lines, Transform};

/// Why a file gives no pixels.
#[derive(Debug, thiserror::Error)]
pub enum PhotographError {
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error(transparent)]
    Transform(#[from] crate::Error),
}

thread_local! {
    /// A decoded picture; kept, as files come one after the other.
    static DECODED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes of a decoded picture that a thread holds on to: 2048 × 2048 pixels.
const KEPT: usize = 3 << 22;

/// The same bytes as [`decode::decode`] and [`Transform::apply`] give, one after the other. Of a
/// JPEG file, what lies beside the crop is neither transformed nor coloured.
pub fn pixels(bytes: &[u8], transform: &Transform) -> Result<Vec<u8>, PhotographError> {
    pixels_warned(bytes, transform).map(|(pixels, _)| pixels)
}

/// As [`pixels`], with what the decoder warns of.
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
