//! RGB to JPEG, as Pillow's `save(quality=…)`: libjpeg-turbo's baseline with default settings,
//! 4:2:0, with optimised Huffman tables.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Compress};

use super::picture::Picture;
use crate::{Error, Result};

/// The bytes of a JPEG file of `quality` 1 to 100.
pub fn jpeg(picture: &Picture, quality: u8) -> Result<Vec<u8>> {
    let writing = catch_unwind(AssertUnwindSafe(|| unwinding(picture, quality)));
    let failed = |why: String| Error::Invalid(format!("the JPEG library: {why}"));
    match writing {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("it gave up".to_string())),
    }
}

fn unwinding(picture: &Picture, quality: u8) -> std::io::Result<Vec<u8>> {
    let mut compress = Compress::new(ColorSpace::JCS_RGB);
    compress.set_size(picture.width, picture.height);
    // Without mozjpeg's own quantisation tables, trellis and scans.
    compress.set_fastest_defaults();
    compress.set_quality(f32::from(quality));
    compress.set_chroma_sampling_pixel_sizes((2, 2), (2, 2));
    compress.set_optimize_coding(true);
    let mut started = compress.start_compress(Vec::new())?;
    started.write_scanlines(&picture.pixels)?;
    started.finish()
}
