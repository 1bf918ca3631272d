//! Resizing exactly as in Pillow (`src/libImaging/Resample.c`): weights in 22-bit fixed point, the
//! horizontal pass first, rounded to u8 between the passes.

mod across;
mod down;
mod taps;
#[cfg(all(target_arch = "x86_64", feature = "avx512"))]
mod wide;

use std::cell::RefCell;
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::picture::Picture;
use crate::{Error, Result};

/// Fractional bits of a weight.
const PRECISION: u32 = 22;

/// The interpolation filter, antialiased when shrinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Cubic convolution with a = -0.5.
    #[default]
    Bicubic,
    Bilinear,
    /// The mean of the covered pixels.
    Box,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
            Self::Box => 0.5,
        }
    }

    fn at(self, offset: f64) -> f64 {
        const A: f64 = -0.5;
        let x = offset.abs();
        match self {
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bilinear if x < 1.0 => 1.0 - x,
            // Half open, so that no pixel counts twice.
            Self::Box if offset > -0.5 && offset <= 0.5 => 1.0,
            _ => 0.0,
        }
    }
}

/// How an image becomes a model's square input: the shorter side is resized to `resize` (the longer
/// in proportion, truncated), then the central `crop` × `crop` is cut out, as in torchvision's
/// `Resize` and `CenterCrop`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transform {
    pub resize: usize,
    pub crop: usize,
    pub filter: Filter,
}

impl Transform {
    /// Resizes the shorter side to `side` and crops the central square.
    pub fn square(side: usize, filter: Filter) -> Self {
        Self {
            resize: side,
            crop: side,
            filter,
        }
    }

    /// u8 RGB, row-major `[crop, crop, 3]`. Computes only what is inside the crop.
    ///
    /// Fails if the crop is empty or larger than the resized image.
    pub fn apply(&self, picture: &Picture) -> Result<Vec<u8>> {
        self.check()?;
        Ok(self.apply_to(&picture.into()))
    }

    /// As [`Transform::apply`], after [`Transform::check`].
    pub(super) fn apply_to(&self, lines: &Lines) -> Vec<u8> {
        let (width, height) = self.resized(lines.width, lines.height);
        let crop = self.middle(width, height);
        resize_part(lines, width, height, self.filter, crop).pixels
    }

    /// The columns of an image of this size that contribute to the result.
    pub(super) fn columns(&self, width: usize, height: usize) -> Range<usize> {
        let (target, target_height) = self.resized(width, height);
        let crop = self.middle(target, target_height);
        taps::axis(width, target, self.filter, crop.left, crop.width).source()
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.crop == 0 || self.crop > self.resize {
            return Err(Error::Invalid(format!(
                "a crop of {} can't be cut from a side of {}",
                self.crop, self.resize
            )));
        }
        Ok(())
    }

    fn middle(&self, width: usize, height: usize) -> Crop {
        Crop {
            left: centred(width, self.crop),
            top: centred(height, self.crop),
            width: self.crop,
            height: self.crop,
        }
    }

    /// Width and height before the crop.
    fn resized(&self, width: usize, height: usize) -> (usize, usize) {
        if width <= height {
            (self.resize, self.resize * height / width)
        } else {
            (self.resize * width / height, self.resize)
        }
    }
}

/// Half of the remainder, ties to even (Python's `round`).
fn centred(size: usize, crop: usize) -> usize {
    let spare = size - crop;
    let half = spare / 2;
    half + usize::from(spare % 2 == 1 && half % 2 == 1)
}

struct Crop {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

/// The whole image at another size.
pub fn resize(picture: &Picture, width: usize, height: usize, filter: Filter) -> Picture {
    let whole = Crop {
        left: 0,
        top: 0,
        width,
        height,
    };
    resize_part(&picture.into(), width, height, filter, whole)
}

/// The source of a resized part: all lines, with at least the required columns.
pub(super) struct Lines<'a> {
    pub pixels: &'a [u8],
    /// The width of the whole image.
    pub width: usize,
    pub height: usize,
    /// The first available column, and the number of columns.
    pub left: usize,
    pub kept: usize,
}

impl<'a> From<&'a Picture> for Lines<'a> {
    fn from(picture: &'a Picture) -> Self {
        Self {
            pixels: &picture.pixels,
            width: picture.width,
            height: picture.height,
            left: 0,
            kept: picture.width,
        }
    }
}

thread_local! {
    /// A buffer for the result of the horizontal pass, reused for the next image.
    static NARROWED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The part `crop` of the resized image.
fn resize_part(lines: &Lines, width: usize, height: usize, filter: Filter, crop: Crop) -> Picture {
    let columns = taps::axis(lines.width, width, filter, crop.left, crop.width);
    let rows = taps::axis(lines.height, height, filter, crop.top, crop.height);
    let range = rows.source();
    let mut pixels = vec![0; crop.height * crop.width * 3];
    NARROWED.with_borrow_mut(|narrowed| {
        let size = range.len() * crop.width * 3;
        if narrowed.len() < size {
            narrowed.resize(size, 0);
        }
        let stride = lines.kept * 3;
        let source = &lines.pixels[range.start * stride..range.end * stride];
        let narrowed = &mut narrowed[..size];
        across::across(source, lines, &columns, narrowed);
        down::down(narrowed, &rows, &mut pixels);
    });
    Picture {
        pixels,
        width: crop.width,
        height: crop.height,
    }
}

const HALF: i32 = 1 << (PRECISION - 1);

#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
