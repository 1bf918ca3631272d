//! Post-processing of a finished image: camera effects, pencil hatching, and corruptions.

use super::SIDE;
use super::canvas::Canvas;
use super::colour::{BLACK, Colour, WHITE, luminance, mix, scale};
use super::dice::Dice;
use super::noise;
use super::pose::place;

/// Fine camera noise; `amount` is its maximum.
pub fn grain(canvas: Canvas, amount: f32, dice: &mut Dice) -> Canvas {
    canvas.map(|colour, _, _| {
        let shift = (dice.around(amount) + dice.around(amount)) * 0.5;
        colour.map(|channel| channel + shift)
    })
}

/// A colour cast.
pub fn cast(canvas: Canvas, tint: Colour) -> Canvas {
    canvas.map(|colour, _, _| std::array::from_fn(|channel| colour[channel] * tint[channel]))
}

/// Shades of grey, tinted.
pub fn grey(canvas: Canvas, tint: Colour) -> Canvas {
    canvas.map(|colour, _, _| scale(tint, luminance(colour)))
}

/// Stretches (above 1) or flattens the distance from the middle grey.
pub fn contrast(canvas: Canvas, factor: f32) -> Canvas {
    canvas.map(|colour, _, _| colour.map(|channel| 0.5 + (channel - 0.5) * factor))
}

/// A pencil on paper: the darker a place, the more of its hatching is drawn.
pub struct Hatching {
    pub paper: Colour,
    pub pencil: Colour,
    /// Radians.
    pub angle: f32,
    /// Pixels from one stroke to the next.
    pub spacing: f32,
    /// Darkness of the strokes, 0 to 1. Nearly black areas are filled.
    pub firmness: f32,
    /// The share of the colour that is kept.
    pub colour: f32,
    pub salt: u32,
}

pub fn hatch(canvas: Canvas, hatching: &Hatching) -> Canvas {
    let (sine, cosine) = (libm::sinf(hatching.angle), libm::cosf(hatching.angle));
    canvas.map(|colour, column, row| {
        let (x, y) = (column as f32, row as f32);
        let darkness = 1.0 - luminance(colour).clamp(0.0, 1.0);
        let waver = noise::smooth(hatching.salt, x * 0.15, y * 0.15) * hatching.spacing;
        let first = stroke((x * cosine + y * sine + waver) / hatching.spacing);
        let second = stroke((y * cosine - x * sine + waver) / hatching.spacing);
        let ink = hatching.firmness
            * (first * ((darkness - 0.12) * 2.0).clamp(0.0, 1.0)
                + second * ((darkness - 0.5) * 2.0).clamp(0.0, 1.0))
            + ((darkness - 0.7) * 4.0).clamp(0.0, 1.0);
        let faint = mix(hatching.paper, colour, hatching.colour);
        mix(faint, hatching.pencil, ink.min(1.0))
    })
}

/// 1 in the middle of a stroke, 0 halfway to the next.
fn stroke(phase: f32) -> f32 {
    let triangle = ((phase - phase.floor()) * 2.0 - 1.0).abs();
    (triangle * 2.0 - 0.7).clamp(0.0, 1.0)
}

/// One of the corruptions, with its severity from 1 to 5.
#[derive(Clone, Copy, Debug)]
pub enum Corruption {
    GaussianNoise,
    ImpulseNoise,
    Defocus,
    Motion,
    Fog,
    Contrast,
    Pixelate,
    Jpeg,
}

impl Corruption {
    pub const ALL: [Self; 8] = [
        Self::GaussianNoise,
        Self::ImpulseNoise,
        Self::Defocus,
        Self::Motion,
        Self::Fog,
        Self::Contrast,
        Self::Pixelate,
        Self::Jpeg,
    ];

    pub fn apply(self, canvas: Canvas, severity: usize, dice: &mut Dice) -> Canvas {
        let step = severity.clamp(1, 5) - 1;
        match self {
            Self::GaussianNoise => {
                let deviation = [0.06, 0.1, 0.14, 0.19, 0.25][step];
                canvas.map(|colour, _, _| colour.map(|value| value + deviation * dice.normal()))
            }
            Self::ImpulseNoise => {
                let share = [0.03, 0.06, 0.1, 0.16, 0.24][step];
                canvas.map(|colour, _, _| {
                    if dice.chance(share) {
                        dice.pick([BLACK, WHITE])
                    } else {
                        colour
                    }
                })
            }
            Self::Defocus => defocus(&canvas, [0.7, 1.0, 1.4, 1.9, 2.4][step]),
            Self::Motion => {
                let angle = dice.between(0.0, std::f32::consts::PI);
                motion(&canvas, [1.5, 2.2, 3.0, 4.0, 5.0][step], angle)
            }
            Self::Fog => fog(canvas, [0.3, 0.42, 0.54, 0.65, 0.75][step], dice),
            Self::Contrast => contrast(canvas, [0.6, 0.48, 0.37, 0.27, 0.19][step]),
            Self::Pixelate => pixelate(&canvas, [24, 20, 16, 13, 10][step]),
            Self::Jpeg => super::jpeg::compress(canvas, [1.0, 1.6, 2.4, 3.6, 5.2][step]),
        }
    }
}

/// The mean over a disc with a smoothed edge.
fn defocus(canvas: &Canvas, radius: f32) -> Canvas {
    let reach = radius.ceil() as i32;
    let mut taps = Vec::new();
    for y in -reach..=reach {
        for x in -reach..=reach {
            let weight = (radius + 0.5 - ((x * x + y * y) as f32).sqrt()).clamp(0.0, 1.0);
            if weight > 0.0 {
                taps.push((x, y, weight));
            }
        }
    }
    let total: f32 = taps.iter().map(|tap| tap.2).sum();
    Canvas::blank().map(|_, column, row| {
        let mut sum = BLACK;
        for &(x, y, weight) in &taps {
            let near = canvas.near(column as i32 + x, row as i32 + y);
            sum = std::array::from_fn(|channel| sum[channel] + near[channel] * weight);
        }
        scale(sum, 1.0 / total)
    })
}

/// The mean along a straight path of `length` pixels.
fn motion(canvas: &Canvas, length: f32, angle: f32) -> Canvas {
    const TAPS: usize = 9;
    let (across, down) = (libm::cosf(angle) * length, libm::sinf(angle) * length);
    Canvas::blank().map(|_, column, row| {
        let mut sum = BLACK;
        for tap in 0..TAPS {
            let share = tap as f32 / (TAPS - 1) as f32 - 0.5;
            let near = canvas.between(column as f32 + across * share, row as f32 + down * share);
            sum = std::array::from_fn(|channel| sum[channel] + near[channel]);
        }
        scale(sum, 1.0 / TAPS as f32)
    })
}

fn fog(canvas: Canvas, density: f32, dice: &mut Dice) -> Canvas {
    let salt = dice.salt();
    let light = dice.between(0.75, 0.95);
    canvas.map(|colour, column, row| {
        let at = place(column, row);
        let coarse = noise::smooth(salt, at.x * 1.5, at.y * 1.5);
        let fine = noise::smooth(salt ^ 1, at.x * 4.0, at.y * 4.0);
        let share = density * (0.7 + 0.4 * coarse + 0.2 * fine);
        mix(colour, [light; 3], share.min(1.0))
    })
}

/// Down to `cells` × `cells` squares by averaging, and up again by repeating.
fn pixelate(canvas: &Canvas, cells: usize) -> Canvas {
    let bounds = |cell: usize| (cell * SIDE / cells, ((cell + 1) * SIDE).div_ceil(cells));
    let mut squares = Vec::with_capacity(cells * cells);
    for row in 0..cells {
        for column in 0..cells {
            let ((left, right), (top, bottom)) = (bounds(column), bounds(row));
            let mut sum = BLACK;
            for y in top..bottom {
                for x in left..right {
                    let near = canvas.0[y * SIDE + x];
                    sum = std::array::from_fn(|channel| sum[channel] + near[channel]);
                }
            }
            squares.push(scale(sum, 1.0 / ((right - left) * (bottom - top)) as f32));
        }
    }
    Canvas::blank()
        .map(|_, column, row| squares[(row * cells / SIDE) * cells + column * cells / SIDE])
}
