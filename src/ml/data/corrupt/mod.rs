//! ImageNet-C's corruptions (Hendrycks and Dietterich 2019) of 224 × 224 images, following the code
//! that made ImageNet-C.
//!
//! brightness, contrast, defocus_blur, zoom_blur, pixelate and jpeg_compression give the same
//! images (zoom_blur within one level); the others use our own random numbers and have the same
//! distribution.

mod blur;
mod canvas;
mod colour;
mod fog;
mod noise;
mod warp;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::canvas::Canvas;
use super::encode;
use super::picture::Picture;
use super::resize::{Filter, Transform, resize};
use crate::rng::Stream;
use crate::{Error, Result};

pub use blur::motion;

/// The side of the corrupted image, in pixels.
pub const SIDE: usize = 224;
/// The JPEG quality of ImageNet-C's files.
pub const QUALITY: u8 = 85;

/// How a picture is spoilt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Corruption {
    #[default]
    GaussianNoise,
    ShotNoise,
    ImpulseNoise,
    DefocusBlur,
    GlassBlur,
    MotionBlur,
    ZoomBlur,
    Snow,
    /// Needs textures.
    Frost,
    Fog,
    Brightness,
    Contrast,
    ElasticTransform,
    Pixelate,
    JpegCompression,
}

/// The parameters of a corruption.
pub struct Recipe<'a> {
    pub corruption: Corruption,
    /// 1 to 5.
    pub severity: usize,
    /// Textures for frost, each at least as large as the image.
    pub textures: &'a [Picture],
}

/// The square that ImageNet-C is made from: the shorter side resized to 256, then the central 224.
pub fn prepared(picture: &Picture) -> Result<Picture> {
    let transform = Transform {
        resize: 256,
        crop: SIDE,
        filter: Filter::Bilinear,
    };
    Ok(Picture {
        pixels: transform.apply(picture)?,
        width: SIDE,
        height: SIDE,
    })
}

/// Corrupts `picture` (square, at least 32 pixels on a side), without the final JPEG compression.
pub fn corrupt(picture: &Picture, recipe: &Recipe, stream: &mut Stream) -> Result<Picture> {
    use Corruption::*;
    let level = recipe.severity.wrapping_sub(1);
    if level >= 5 {
        return Err(Error::Invalid("a severity must be from 1 to 5".to_string()));
    }
    if picture.width != picture.height || picture.width < 32 {
        return Err(Error::Invalid(
            "a corruption needs a square image of at least 32 pixels".to_string(),
        ));
    }
    match recipe.corruption {
        Pixelate => return Ok(pixelated(picture, [0.6, 0.5, 0.4, 0.3, 0.25][level])),
        JpegCompression => return jpegged(picture, [25, 18, 15, 10, 7][level]),
        Frost => return frosted(picture, recipe.textures, level, stream),
        _ => {}
    }
    let clean = Canvas::of(picture);
    let spoilt = match recipe.corruption {
        GaussianNoise => noise::gaussian(clean, [0.08, 0.12, 0.18, 0.26, 0.38][level], stream),
        ShotNoise => noise::shot(clean, [60.0, 25.0, 12.0, 5.0, 3.0][level], stream),
        ImpulseNoise => noise::impulse(clean, [0.03, 0.06, 0.09, 0.17, 0.27][level], stream),
        DefocusBlur => {
            let (radius, alias) = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)][level];
            blur::defocus(&clean, radius, alias)
        }
        GlassBlur => {
            let settings = [
                (0.7, 1, 2),
                (0.9, 2, 1),
                (1.0, 2, 3),
                (1.1, 3, 2),
                (1.5, 4, 2),
            ];
            let (sigma, reach, times) = settings[level];
            blur::glass(&clean, sigma, reach, times, stream)
        }
        MotionBlur => {
            let settings = [(10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)];
            let (radius, sigma) = settings[level];
            return Ok(motion(picture, radius, sigma, stream.range(-45.0, 45.0)));
        }
        ZoomBlur => warp::zoom_blur(&clean, level),
        Snow => fog::snow(clean, level, stream),
        Fog => {
            let (amount, decay) =
                [(1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)][level];
            fog::fog(clean, amount, decay, stream)
        }
        Brightness => colour::brighter(clean, [0.1, 0.2, 0.3, 0.4, 0.5][level]),
        Contrast => colour::flatter(clean, [0.4, 0.3, 0.2, 0.1, 0.05][level]),
        ElasticTransform => warp::elastic(&clean, level, stream),
        // Handled above.
        Pixelate | JpegCompression | Frost => clean,
    };
    Ok(spoilt.picture())
}

fn pixelated(picture: &Picture, share: f64) -> Picture {
    let side = picture.width;
    let small = (side as f64 * share) as usize;
    let coarse = resize(picture, small, small, Filter::Box);
    resize(&coarse, side, side, Filter::Box)
}

fn jpegged(picture: &Picture, quality: u8) -> Result<Picture> {
    let bytes = encode::jpeg(picture, quality)?;
    let decoded = super::decode::decode(&bytes);
    decoded.map_err(|error| Error::Invalid(format!("a JPEG of our own {error}")))
}

/// Blends a random part of a random texture into the image.
fn frosted(
    picture: &Picture,
    textures: &[Picture],
    level: usize,
    stream: &mut Stream,
) -> Result<Picture> {
    let (own, ice) = [(1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)][level];
    let side = picture.width;
    let fits = |texture: &&Picture| texture.width >= side && texture.height >= side;
    let textures: Vec<&Picture> = textures.iter().filter(fits).collect();
    if textures.is_empty() {
        return Err(Error::Invalid(format!(
            "frost needs textures of at least {side} x {side} pixels"
        )));
    }
    let texture = textures[stream.below(textures.len() as u64) as usize];
    let top = stream.below((texture.height - side) as u64 + 1) as usize;
    let left = stream.below((texture.width - side) as u64 + 1) as usize;
    let mut pixels = Vec::with_capacity(picture.pixels.len());
    for (row, line) in picture.pixels.chunks_exact(3 * side).enumerate() {
        let from = 3 * ((top + row) * texture.width + left);
        for (value, frost) in line.iter().zip(&texture.pixels[from..]) {
            let mixed = own * f64::from(*value) + ice * f64::from(*frost);
            pixels.push(mixed.clamp(0.0, 255.0) as u8);
        }
    }
    Ok(Picture {
        pixels,
        width: side,
        height: side,
    })
}

/// Five images of ice, which replace the photographs of ImageNet-C: bright ridges of several sizes
/// on a bluish ground. They differ from ImageNet-C's.
pub fn procedural_frost(seed: u64) -> Vec<Picture> {
    let texture = |number: u64| {
        let mut stream = Stream::new(seed, &format!("frost/{number}"));
        fog::ice(512, &mut stream)
    };
    (0..5).map(texture).collect()
}
