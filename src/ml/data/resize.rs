//! Resizing exactly as Pillow does it (`src/libImaging/Resample.c`): weights in 22-bit fixed
//! point, the horizontal pass first, rounded to u8 between the passes.

use pulp::Arch;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::picture::Picture;
use crate::ml::{Error, Result};

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
        if self.crop == 0 || self.crop > self.resize {
            return Err(Error::Invalid(format!(
                "a crop of {} can't be cut from a side of {}",
                self.crop, self.resize
            )));
        }
        let (width, height) = self.resized(picture.width, picture.height);
        let crop = Crop {
            left: centred(width, self.crop),
            top: centred(height, self.crop),
            width: self.crop,
            height: self.crop,
        };
        Ok(resize_part(picture, width, height, self.filter, crop).pixels)
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
    resize_part(picture, width, height, filter, whole)
}

/// The part `crop` of the picture in another size.
fn resize_part(
    picture: &Picture,
    width: usize,
    height: usize,
    filter: Filter,
    crop: Crop,
) -> Picture {
    let columns = taps(picture.width, width, filter, crop.left, crop.width);
    let rows = taps(picture.height, height, filter, crop.top, crop.height);
    let first = rows.iter().map(|taps| taps.from).min().unwrap_or(0);
    let end = rows.iter().map(Taps::end).max().unwrap_or(0);
    let mut narrowed = vec![0; (end - first) * crop.width * 3];
    let mut pixels = vec![0; crop.height * crop.width * 3];
    // Whole numbers: the vectors of a machine change nothing but the time.
    Arch::new().dispatch(|| {
        let lines = &picture.pixels[first * picture.width * 3..end * picture.width * 3];
        across(lines, picture.width, &columns, &mut narrowed);
        down(&narrowed, first, &rows, &mut pixels);
    });
    Picture {
        pixels,
        width: crop.width,
        height: crop.height,
    }
}

/// The source positions that one output position is made of.
struct Taps {
    from: usize,
    weights: Vec<i32>,
}

impl Taps {
    fn end(&self) -> usize {
        self.from + self.weights.len()
    }
}

/// Taps of the output positions `from..from + count` of an axis scaled from `source` to `target`.
fn taps(source: usize, target: usize, filter: Filter, from: usize, count: usize) -> Vec<Taps> {
    let scale = source as f64 / target as f64;
    let widened = scale.max(1.0);
    let support = filter.support() * widened;
    let inverse = 1.0 / widened;
    (from..from + count)
        .map(|position| {
            let centre = (position as f64 + 0.5) * scale;
            // Casts truncate towards zero and stop at zero, as Pillow's do after its clamp.
            let low = (centre - support + 0.5) as usize;
            let high = ((centre + support + 0.5) as usize).min(source);
            let raw: Vec<f64> = (low..high)
                .map(|tap| filter.at((tap as f64 - centre + 0.5) * inverse))
                .collect();
            let total: f64 = raw.iter().fold(0.0, |sum, weight| sum + weight);
            let fixed = |weight: f64| {
                let scaled = weight / total * f64::from(1u32 << PRECISION);
                (scaled + if weight < 0.0 { -0.5 } else { 0.5 }) as i32
            };
            Taps {
                from: low,
                weights: raw.into_iter().map(fixed).collect(),
            }
        })
        .collect()
}

const HALF: i32 = 1 << (PRECISION - 1);

/// The horizontal pass: of every line of `width` pixels the weighted columns.
#[inline(always)]
fn across(lines: &[u8], width: usize, columns: &[Taps], target: &mut [u8]) {
    let (lines, targets) = (
        lines.chunks_exact((width * 3).max(1)),
        target.chunks_exact_mut((columns.len() * 3).max(1)),
    );
    // Four numbers a pixel fit a vector.
    let mut wide = vec![[0i32; 4]; width];
    for (line, target) in lines.zip(targets) {
        for (pixel, wide) in line.chunks_exact(3).zip(&mut wide) {
            *wide = [pixel[0].into(), pixel[1].into(), pixel[2].into(), 0];
        }
        for (taps, target) in columns.iter().zip(target.chunks_exact_mut(3)) {
            let mut sums = [HALF; 4];
            for (pixel, weight) in wide[taps.from..taps.end()].iter().zip(&taps.weights) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += value * weight;
                }
            }
            target.copy_from_slice(&sums.map(to_byte)[..3]);
        }
    }
}

/// The vertical pass: the weighted sums of `lines`, of which the first is row `first` of the source.
#[inline(always)]
fn down(lines: &[u8], first: usize, rows: &[Taps], target: &mut [u8]) {
    let width = target.len() / rows.len().max(1);
    let mut sums = vec![0i32; width];
    for (taps, target) in rows.iter().zip(target.chunks_exact_mut(width.max(1))) {
        sums.fill(HALF);
        let lines = lines[(taps.from - first) * width..].chunks_exact(width.max(1));
        for (line, weight) in lines.zip(&taps.weights) {
            for (sum, value) in sums.iter_mut().zip(line) {
                *sum += i32::from(*value) * weight;
            }
        }
        for (sum, byte) in sums.iter().zip(target) {
            *byte = to_byte(*sum);
        }
    }
}

#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
