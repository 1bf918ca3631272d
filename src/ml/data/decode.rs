//! JPEG and PNG to RGB, bit for bit as Pillow's `Image.open(…).convert("RGB")` gives it.
//!
//! Uses mozjpeg's C library with libjpeg-turbo's default settings (accurate integer DCT, fancy
//! upsampling), which are Pillow's. Ignores EXIF orientation, as Pillow does. Damage that the
//! library tolerates gives Pillow's pixels and a warning.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::jpeg::{Colours, Columns, DecodeReport, Jpeg};
use super::picture::Picture;
use super::png;
use super::refusal::check_size;
pub use super::refusal::{DecodeError, MAX_PIXELS};

/// Identifies the decoders, for the provenance and for the keys of derived pixels.
pub const DECODER: &str = "mozjpeg-sys 2 (libjpeg-turbo), saturating IDCT, png 0.18 as stored";

/// Decodes the bytes of a file by content, regardless of its name.
pub fn decode(bytes: &[u8]) -> Result<Picture, DecodeError> {
    decode_warned(bytes).map(|(picture, _)| picture)
}

/// As [`decode`], with the warnings of the decoder.
pub fn decode_warned(bytes: &[u8]) -> Result<(Picture, Option<String>), DecodeError> {
    match bytes {
        _ if is_jpeg(bytes) => jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => Ok((png::decode(bytes)?, None)),
        _ => Err(DecodeError::Unknown),
    }
}

fn jpeg(bytes: &[u8]) -> Result<(Picture, Option<String>), DecodeError> {
    let mut pixels = Vec::new();
    let part = jpeg_part(bytes, &|width, _| 0..width, &mut pixels)?;
    let picture = Picture {
        pixels,
        width: part.width,
        height: part.height,
    };
    Ok((picture, part.warning))
}

/// The decoded part of a JPEG file: all lines, `columns.width` pixels of each.
pub(super) struct JpegPart {
    pub width: usize,
    pub height: usize,
    pub columns: Columns,
    pub warning: Option<String>,
}

/// Replaces `pixels` by at least the columns that `wanted` returns for a width and height.
pub(super) fn jpeg_part(
    bytes: &[u8],
    wanted: &dyn Fn(usize, usize) -> Range<usize>,
    pixels: &mut Vec<u8>,
) -> Result<JpegPart, DecodeError> {
    let findings = DecodeReport::default();
    // The library reports damage by unwinding through its frames; nothing outlives them.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        jpeg_unwinding(bytes, &findings, wanted, pixels)
    }));
    if findings.starved.get() {
        return Err(DecodeError::Truncated);
    }
    decoded.unwrap_or_else(|payload| {
        let message = match payload.downcast::<String>() {
            Ok(text) => *text,
            Err(_) => "the JPEG library gave up".to_string(),
        };
        Err(DecodeError::Damaged(message))
    })
}

fn jpeg_unwinding(
    bytes: &[u8],
    findings: &DecodeReport,
    wanted: &dyn Fn(usize, usize) -> Range<usize>,
    pixels: &mut Vec<u8>,
) -> Result<JpegPart, DecodeError> {
    let damaged = |why: &str| DecodeError::Damaged(why.to_string());
    let opened = Jpeg::open(bytes, findings);
    let file = opened.ok_or_else(|| damaged("no image in the JPEG file"))?;
    let (width, height) = file.size();
    check_size(width, height)?;
    let colours = file.colours();
    let columns = file.read(wanted(width, height), pixels);
    let columns = columns.ok_or_else(|| damaged("the JPEG library stopped early"))?;
    match colours {
        Colours::Grey => *pixels = pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
        Colours::Cmyk => *pixels = pixels.chunks_exact(4).flat_map(inverted_cmyk).collect(),
        Colours::Rgb => {}
    }
    Ok(JpegPart {
        width,
        height,
        columns,
        warning: findings.warning(),
    })
}

/// Whether [`jpeg_part`] decodes a file. Like Pillow, requires a marker after the first one, if the
/// file is long enough.
pub(super) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8]) && bytes.get(2).is_none_or(|byte| *byte == 0xFF)
}

/// Adobe stores CMYK inverted, and Pillow treats every CMYK file as Adobe's; the rest is its
/// `cmyk2rgb`.
fn inverted_cmyk(samples: &[u8]) -> [u8; 3] {
    let key = u32::from(samples[3]); // 255 - (255 - key)
    std::array::from_fn(|channel| {
        let product = (255 - u32::from(samples[channel])) * key + 128;
        let share = ((product >> 8) + product) >> 8;
        key.saturating_sub(share) as u8
    })
}
