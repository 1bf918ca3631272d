//! Resizing exactly as Pillow does it (`src/libImaging/Resample.c`): weights in 22-bit fixed
//! point, the horizontal pass first, rounded to u8 between the passes.

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

/// Bits behind the point of a weight.
const PRECISION: u32 = 22;

/// How pixels are interpolated, antialiased when shrinking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// Cubic convolution with a = -0.5.
    #[default]
    Bicubic,
    Bilinear,
    /// The mean of the pixels that are covered.
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

/// What makes a model's square input of an image: the shorter side to `resize` (the longer in
/// proportion, truncated), then the middle `crop` × `crop` of it, as torchvision's
/// `Resize` and `CenterCrop` do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transform {
    pub resize: usize,
    pub crop: usize,
    pub filter: Filter,
}

impl Transform {
    /// The square of `side` pixels that the whole shorter side makes.
    pub fn square(side: usize, filter: Filter) -> Self {
        Self {
            resize: side,
            crop: side,
            filter,
        }
    }

    /// u8 RGB, row-major `[crop, crop, 3]`. Only what lies in the crop is computed.
    ///
    /// Fails where the crop is empty or larger than what it is cut from.
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

    /// The columns of a picture of this size that something is made of.
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

/// Half of what is left over, halves to the even side (Python's `round`).
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

/// The whole picture in another size.
pub fn resize(picture: &Picture, width: usize, height: usize, filter: Filter) -> Picture {
    let whole = Crop {
        left: 0,
        top: 0,
        width,
        height,
    };
    resize_part(&picture.into(), width, height, filter, whole)
}

/// The source of a resized part: all its lines, of each at least the columns that are needed.
pub(super) struct Lines<'a> {
    pub pixels: &'a [u8],
    /// Of the whole picture.
    pub width: usize,
    pub height: usize,
    /// The first column that is there, and how many are.
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
    /// What lies between the passes; kept, as images come one after the other.
    static NARROWED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The part `crop` of the picture in another size.
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
