//! A picture: PNG as it is, SVG without scripts, links and references to other files.

use std::io::{self, Cursor, Write};

use png::{Decoder, Limits};

use super::{OutputFile, one_file};
use crate::stages::command::outputs::extension_of;
use crate::stages::task::{Context, TaskError};
use crate::store::artifact::Files;

const MOST_BYTES: u64 = 16 << 20;
/// Pixels on a side of a PNG.
const LARGEST: u32 = 10_000;
/// Bytes of a PNG's pixels.
const MOST_PIXEL_BYTES: usize = 512 << 20;

pub(super) fn read(file: &OutputFile, path: &str, context: &Context) -> Result<Files, TaskError> {
    let bytes = file.bytes(MOST_BYTES)?;
    let kept = match extension_of(path) {
        Some("png") => {
            check_png(&bytes).map_err(|wrong| file.wrong(wrong))?;
            bytes
        }
        _ => sanitized(&bytes).map_err(|wrong| file.wrong(wrong))?,
    };
    one_file(path, &kept, context)
}

/// Decodes a PNG, within limits.
///
/// # Errors
/// Why it is refused.
pub fn check_png(bytes: &[u8]) -> Result<(), String> {
    let limits = Limits {
        bytes: MOST_PIXEL_BYTES,
    };
    let decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
    let (width, height) = reader.info().size();
    if width.max(height) > LARGEST {
        return Err(format!(
            "{width} × {height} pixels are more than {LARGEST} on a side"
        ));
    }
    let size = reader.output_buffer_size();
    let size = size
        .filter(|size| *size <= MOST_PIXEL_BYTES)
        .ok_or_else(|| {
            format!("{width} × {height} pixels are more than {MOST_PIXEL_BYTES} bytes")
        })?;
    let decoded = reader.next_frame(&mut vec![0; size]);
    decoded.map(drop).map_err(|error| error.to_string())
}

/// The SVG without anything that runs, links or loads.
///
/// # Errors
/// Why it is refused.
pub fn sanitized(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut filter = svg_hush::Filter::new();
    filter.set_data_url_filter(svg_hush::data_url_filter::allow_standard_images);
    let mut kept = Bounded::default();
    let mut source = bytes;
    let filtered = filter.filter(&mut source, &mut kept);
    if kept.is_full {
        let most = MOST_BYTES >> 20;
        return Err(format!(
            "sanitised, the SVG is larger than {most} MiB: its elements are nested too deeply"
        ));
    }
    filtered.map_err(|error| format!("not a picture in SVG: {error}"))?;
    match kept.bytes.is_empty() {
        true => Err("not a picture in SVG".to_string()),
        false => Ok(kept.bytes),
    }
}

/// At most [`MOST_BYTES`]: the filter indents, so that what it writes grows with the square of the depth.
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + bytes.len()) as u64 > MOST_BYTES {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_picture_runs_or_loads() {
        let hostile = r##"<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"
            width="10" height="10" onload="steal()"><script>steal()</script>
            <style>@import url(https://evil.example/a.css); rect { fill: url(https://evil.example/b) }</style>
            <a href="javascript:steal()"><rect id="r" width="5" height="5" fill="#f00"/></a>
            <image xlink:href="https://evil.example/c.png"/><use href="#r"/>
            <foreignObject><iframe src="https://evil.example"/></foreignObject></svg>"##;
        let kept = String::from_utf8(sanitized(hostile.as_bytes()).unwrap()).unwrap();
        for gone in [
            "steal",
            "script",
            "iframe",
            "onload",
            "@import",
            "url(http",
            "=\"https:",
        ] {
            assert!(!kept.contains(gone), "{gone}: {kept}");
        }
        assert!(kept.contains("<rect") && kept.contains("#f00"), "{kept}");
        for other in ["", "<html/>", "<svg", "\u{1}"] {
            assert!(sanitized(other.as_bytes()).is_err(), "{other}");
        }
    }

    /// 1.4 MB that would become gigabytes.
    #[test]
    fn a_deep_picture_is_refused_before_it_fills_the_memory() {
        let depth = 100_000;
        let open = "<g>".repeat(depth);
        let close = "</g>".repeat(depth);
        let deep = format!("<svg xmlns=\"http://www.w3.org/2000/svg\">{open}{close}</svg>");
        let refused = sanitized(deep.as_bytes()).unwrap_err();
        assert!(refused.contains("nested too deeply"), "{refused}");
    }
}
