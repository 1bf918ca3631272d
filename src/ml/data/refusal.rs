//! Errors of decoding.

/// Larger images are refused, as Pillow refuses "decompression bombs".
pub const MAX_PIXELS: usize = 178_956_970;

/// Why bytes can't be decoded as an image.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("is neither a JPEG nor a PNG file")]
    Unknown,
    #[error("is cut short")]
    Truncated,
    #[error("has {width} x {height} pixels; at most {MAX_PIXELS} are decoded")]
    TooLarge { width: usize, height: usize },
    #[error("is damaged: {0}")]
    Damaged(String),
}

pub fn check_size(width: usize, height: usize) -> Result<(), DecodeError> {
    match width.checked_mul(height) {
        Some(pixels) if pixels > 0 && pixels <= MAX_PIXELS => Ok(()),
        Some(0) => Err(DecodeError::Damaged("no pixels".to_string())),
        _ => Err(DecodeError::TooLarge { width, height }),
    }
}
