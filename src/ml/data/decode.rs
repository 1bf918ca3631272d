//! JPEG and PNG to RGB, bit for bit as Pillow's `Image.open(…).convert("RGB")` gives it.
//!
//! JPEG goes through mozjpeg's C library in libjpeg-turbo's default settings (accurate integer
//! DCT, fancy upsampling), which are Pillow's. EXIF orientation is ignored, as Pillow does.

use std::cell::Cell;
use std::io::{self, Cursor};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::codecs::png::PngDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::jpeg::{Colours, Columns, Jpeg};
use super::picture::Picture;

/// What decodes, for the provenance and for whoever compares pixels.
pub const DECODER: &str = "mozjpeg-sys 2 (libjpeg-turbo), image 0.25 (png)";

/// More pixels than this are refused, as Pillow refuses "decompression bombs".
pub const MAX_PIXELS: usize = 178_956_970;

/// Why bytes are no image.
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

/// Decodes the bytes of a file, whatever its name says.
pub fn decode(bytes: &[u8]) -> Result<Picture, DecodeError> {
    match bytes {
        _ if is_jpeg(bytes) => jpeg(bytes),
        [0x89, b'P', b'N', b'G', ..] => png(bytes),
        _ => Err(DecodeError::Unknown),
    }
}

fn check_size(width: usize, height: usize) -> Result<(), DecodeError> {
    match width.checked_mul(height) {
        Some(pixels) if pixels > 0 && pixels <= MAX_PIXELS => Ok(()),
        Some(0) => Err(DecodeError::Damaged("no pixels".to_string())),
        _ => Err(DecodeError::TooLarge { width, height }),
    }
}

fn jpeg(bytes: &[u8]) -> Result<Picture, DecodeError> {
    let mut pixels = Vec::new();
    let part = jpeg_part(bytes, &|width, _| 0..width, &mut pixels)?;
    Ok(Picture {
        pixels,
        width: part.width,
        height: part.height,
    })
}

/// Which part of a JPEG file was decoded: all its lines, `columns.width` pixels of each.
pub(super) struct JpegPart {
    pub width: usize,
    pub height: usize,
    pub columns: Columns,
}

/// Replaces `pixels` by at least the columns that `wanted` names for a width and height.
pub(super) fn jpeg_part(
    bytes: &[u8],
    wanted: &dyn Fn(usize, usize) -> Range<usize>,
    pixels: &mut Vec<u8>,
) -> Result<JpegPart, DecodeError> {
    let starved = Cell::new(false);
    // The library reports damage by unwinding through its own frames; nothing outlives them.
    let decoded = catch_unwind(AssertUnwindSafe(|| {
        jpeg_unwinding(bytes, &starved, wanted, pixels)
    }));
    if starved.get() {
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
    starved: &Cell<bool>,
    wanted: &dyn Fn(usize, usize) -> Range<usize>,
    pixels: &mut Vec<u8>,
) -> Result<JpegPart, DecodeError> {
    let damaged = |why: &str| DecodeError::Damaged(why.to_string());
    let opened = Jpeg::open(bytes, starved);
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
    })
}

/// Whether a file is decoded by [`jpeg_part`].
pub(super) fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xFF, 0xD8])
}

/// Adobe stores CMYK inverted, and Pillow takes every CMYK file for Adobe's; the rest is its
/// `cmyk2rgb`.
fn inverted_cmyk(samples: &[u8]) -> [u8; 3] {
    let key = u32::from(samples[3]); // 255 - (255 - key)
    std::array::from_fn(|channel| {
        let product = (255 - u32::from(samples[channel])) * key + 128;
        let share = ((product >> 8) + product) >> 8;
        key.saturating_sub(share) as u8
    })
}

fn png(bytes: &[u8]) -> Result<Picture, DecodeError> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_PIXELS as u64 * 8);
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(png_error)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height)?;
    let colour = decoder.color_type();
    let mut samples = vec![0; decoder.total_bytes() as usize];
    decoder.read_image(&mut samples).map_err(png_error)?;
    Ok(Picture {
        pixels: to_rgb(&samples, colour)?,
        width,
        height,
    })
}

fn png_error(error: ImageError) -> DecodeError {
    match &error {
        ImageError::IoError(inner) if inner.kind() == io::ErrorKind::UnexpectedEof => {
            DecodeError::Truncated
        }
        _ => DecodeError::Damaged(error.to_string()),
    }
}

/// Drops transparency. Of 16-bit colours Pillow takes the high byte; 16-bit grey without
/// transparency it clips at 255 (its mode `I;16`), so that such files come out nearly white.
fn to_rgb(samples: &[u8], colour: ColorType) -> Result<Vec<u8>, DecodeError> {
    let grey = |value: u8| [value; 3];
    Ok(match colour {
        ColorType::Rgb8 => samples.to_vec(),
        ColorType::Rgba8 => samples
            .chunks_exact(4)
            .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
            .collect(),
        ColorType::L8 => samples.iter().flat_map(|&value| grey(value)).collect(),
        ColorType::La8 => samples
            .chunks_exact(2)
            .flat_map(|pixel| grey(pixel[0]))
            .collect(),
        ColorType::L16 => words(samples)
            .flat_map(|word| grey(word.min(255) as u8))
            .collect(),
        ColorType::La16 => high_bytes(samples, 2)
            .flat_map(|pixel| grey(pixel[0]))
            .collect(),
        ColorType::Rgb16 => high_bytes(samples, 3).flatten().collect(),
        ColorType::Rgba16 => high_bytes(samples, 4).flatten().collect(),
        other => {
            return Err(DecodeError::Damaged(format!(
                "unexpected colours {other:?}"
            )));
        }
    })
}

/// 16-bit samples, which `image` gives in the machine's byte order.
fn words(samples: &[u8]) -> impl Iterator<Item = u16> {
    samples
        .chunks_exact(2)
        .map(|pair| u16::from_ne_bytes([pair[0], pair[1]]))
}

/// The high bytes of the colours of each 16-bit pixel: one of two channels, three of the others.
fn high_bytes(samples: &[u8], channels: usize) -> impl Iterator<Item = [u8; 3]> {
    samples.chunks_exact(2 * channels).map(|pixel| {
        let mut high = [0; 3];
        for (target, pair) in high.iter_mut().zip(pixel.chunks_exact(2)) {
            *target = (u16::from_ne_bytes([pair[0], pair[1]]) >> 8) as u8;
        }
        high
    })
}
