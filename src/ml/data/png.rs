//! PNG to RGB, bit for bit as Pillow's `Image.open(…).convert("RGB")`.
//!
//! Ignores transparency, gamma, profiles and orientation, as Pillow does. For an animation, decodes
//! the image that viewers without support for animations show.

use std::io::{Cursor, ErrorKind};

use png::{BitDepth, ColorType, DecodeOptions, Decoder, DecodingError, Info, Limits};

use super::picture::Picture;
use super::refusal::{DecodeError, MAX_PIXELS, check_size};

/// Decodes the bytes of a file. Like Pillow, does not require anything after the pixels.
pub fn decode(bytes: &[u8]) -> Result<Picture, DecodeError> {
    match whole(bytes, options()) {
        Err(DecodeError::Truncated) => {
            let mut options = options();
            // A truncated file may lack the checksum.
            options.set_ignore_adler32(true);
            ended(bytes)
                .and_then(|bytes| whole(&bytes, options).ok())
                .ok_or(DecodeError::Truncated)
        }
        decoded => decoded,
    }
}

/// The file up to its last pixel data, with an end marker. `None` if it has no pixels, or is
/// complete.
fn ended(bytes: &[u8]) -> Option<Vec<u8>> {
    const END: [u8; 12] = *b"\0\0\0\0IEND\xae\x42\x60\x82";
    const PIXELS: &[u8] = b"IDAT";
    // The start of the last pixel chunk's content, and its declared end.
    let mut last = None;
    let mut at: usize = 8;
    while let Some(header) = bytes.get(at..at.checked_add(8)?) {
        let length = u32::from_be_bytes(*header.first_chunk()?) as usize;
        let begin = at + 8;
        let end = begin.checked_add(length)?;
        if header.ends_with(PIXELS) {
            last = Some((begin, end.min(bytes.len())));
        }
        at = end.checked_add(4)?;
    }
    let (begin, end) = last?;
    // Room for a truncated checksum; anything after the pixels is ignored.
    let content = [PIXELS, &bytes[begin..end], &[0; 4]].concat();
    let length = u32::try_from(content.len() - PIXELS.len()).ok()?;
    let mut mended = bytes[..begin - 8].to_vec();
    mended.extend(length.to_be_bytes());
    mended.extend(&content);
    mended.extend(checksum(&content).to_be_bytes());
    mended.extend(END);
    Some(mended)
}

/// CRC-32 as PNG defines it.
fn checksum(bytes: &[u8]) -> u32 {
    let shift = |sum: u32, _: u32| match sum & 1 {
        0 => sum >> 1,
        _ => 0xedb8_8320 ^ (sum >> 1),
    };
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), shift)
    })
}

fn whole(bytes: &[u8], options: DecodeOptions) -> Result<Picture, DecodeError> {
    let mut decoder = Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_limits(Limits {
        bytes: MAX_PIXELS * 8,
    });
    let header = decoder.read_header_info().map_err(refused)?;
    let (width, height) = (header.width as usize, header.height as usize);
    check_size(width, height)?;
    let mut reader = decoder.read_info().map_err(refused)?;
    check_transparency(bytes, reader.info().color_type)?;
    let size = reader.output_buffer_size().unwrap_or_default();
    let mut samples = vec![0; size];
    let frame = reader.next_frame(&mut samples).map_err(refused)?;
    if (frame.width as usize, frame.height as usize) != (width, height) {
        let why = "its first frame does not fill the picture";
        return Err(DecodeError::Damaged(why.to_string()));
    }
    Ok(Picture {
        pixels: to_rgb(&samples, frame.line_size, reader.info())?,
        width,
        height,
    })
}

/// As strict as Pillow about the chunks before the pixels and their checksums.
fn options() -> DecodeOptions {
    let mut options = DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_skip_ancillary_crc_failures(false);
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    options
}

/// A truncated transparent colour is damage, which `png` ignores.
fn check_transparency(bytes: &[u8], colour: ColorType) -> Result<(), DecodeError> {
    let least = match colour {
        ColorType::Grayscale => 2,
        ColorType::Rgb => 6,
        _ => 0,
    };
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some(([l0, l1, l2, l3, kind @ ..], _)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
        match kind {
            b"IDAT" => break,
            b"tRNS" if length < least => {
                let why = "its transparent colour is cut short";
                return Err(DecodeError::Damaged(why.to_string()));
            }
            _ => {}
        }
        // Length, type and checksum surround the content.
        let next = length.saturating_add(12);
        rest = rest.get(next..).unwrap_or_default();
    }
    Ok(())
}

fn refused(error: DecodingError) -> DecodeError {
    match &error {
        DecodingError::IoError(inner) if inner.kind() == ErrorKind::UnexpectedEof => {
            DecodeError::Truncated
        }
        _ => DecodeError::Damaged(error.to_string()),
    }
}

/// Converts stored samples to RGB, line by line.
///
/// Pillow takes the high byte of 16-bit colours and of 16-bit grey with alpha. 16-bit grey alone is
/// its mode `I;16`, which it clips at 255 with and without a transparent value, so that such files
/// become nearly white.
fn to_rgb(samples: &[u8], line: usize, info: &Info) -> Result<Vec<u8>, DecodeError> {
    let wide = info.bit_depth == BitDepth::Sixteen;
    Ok(match info.color_type {
        ColorType::Rgb if wide => first_three(samples, 6, 2),
        ColorType::Rgb => samples.to_vec(),
        ColorType::Rgba if wide => first_three(samples, 8, 2),
        ColorType::Rgba => first_three(samples, 4, 1),
        ColorType::GrayscaleAlpha if wide => greys(samples.iter().step_by(4).copied()),
        ColorType::GrayscaleAlpha => greys(samples.iter().step_by(2).copied()),
        ColorType::Grayscale if wide => greys(samples.chunks_exact(2).map(clipped)),
        ColorType::Grayscale => {
            let bits = info.bit_depth as u8;
            let scale = 255 / (u8::MAX >> (8 - bits));
            let values = values(samples, line, info).map(|value| value * scale);
            greys(values)
        }
        ColorType::Indexed => {
            let palette = palette(info)?;
            let values = values(samples, line, info);
            values.flat_map(|value| palette[value as usize]).collect()
        }
    })
}

/// The first byte of each of three channels.
fn first_three(samples: &[u8], pixel: usize, channel: usize) -> Vec<u8> {
    let pixels = samples.chunks_exact(pixel);
    pixels
        .flat_map(|pixel| [pixel[0], pixel[channel], pixel[2 * channel]])
        .collect()
}

fn greys(values: impl Iterator<Item = u8>) -> Vec<u8> {
    values.flat_map(|value| [value; 3]).collect()
}

fn clipped(pair: &[u8]) -> u8 {
    match pair[0] {
        0 => pair[1],
        _ => u8::MAX,
    }
}

/// Samples of at most eight bits, one per pixel. Lines begin at whole bytes.
fn values<'a>(samples: &'a [u8], line: usize, info: &Info) -> impl Iterator<Item = u8> + 'a {
    let (bits, width) = (info.bit_depth as usize, info.width as usize);
    let each = 8 / bits;
    let mask = u8::MAX >> (8 - bits);
    samples.chunks_exact(line.max(1)).flat_map(move |line| {
        (0..width).map(move |at| {
            let shift = 8 - bits * (at % each + 1);
            (line[at / each] >> shift) & mask
        })
    })
}

/// All colours that a pixel can refer to. Those beyond the file's palette are black.
fn palette(info: &Info) -> Result<[[u8; 3]; 256], DecodeError> {
    let given = info.palette.as_deref();
    let given = given.ok_or_else(|| DecodeError::Damaged("it has no palette".to_string()))?;
    let mut palette = [[0; 3]; 256];
    for (colour, given) in palette.iter_mut().zip(given.chunks_exact(3)) {
        colour.copy_from_slice(given);
    }
    Ok(palette)
}
