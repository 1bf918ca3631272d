//! Patterns on a surface: the share of the second colour at each position.

use super::dice::Dice;
use super::noise;
use super::shape::Point;

#[derive(Clone, Copy, Debug)]
pub enum Pattern {
    Plain,
    Stripes,
    Dots,
    Checks,
    /// Soft clouds of random size.
    Clouds,
    /// Wavy lines, as in wood.
    Grain,
}

/// A pattern with its size, direction and strength.
#[derive(Clone, Copy, Debug)]
pub struct Texture {
    pattern: Pattern,
    /// Periods per unit of length.
    frequency: f32,
    cosine: f32,
    sine: f32,
    /// The maximum share of the second colour.
    strength: f32,
    salt: u32,
}

impl Texture {
    pub const PLAIN: Self = Self {
        pattern: Pattern::Plain,
        frequency: 1.0,
        cosine: 1.0,
        sine: 0.0,
        strength: 0.0,
        salt: 0,
    };

    /// A pattern of the given sizes (units of length per period), in any direction.
    pub fn draw(pattern: Pattern, period: (f32, f32), strength: f32, dice: &mut Dice) -> Self {
        let angle = dice.between(0.0, 2.0 * std::f32::consts::PI);
        Self {
            pattern,
            frequency: 1.0 / dice.between(period.0, period.1),
            cosine: libm::cosf(angle),
            sine: libm::sinf(angle),
            strength,
            salt: dice.salt(),
        }
    }

    /// The same, axis-aligned.
    pub fn straight(self) -> Self {
        Self {
            cosine: 1.0,
            sine: 0.0,
            ..self
        }
    }

    /// The share of the second colour at a position, 0 to 1.
    pub fn at(&self, place: Point) -> f32 {
        let along = (place.x * self.cosine + place.y * self.sine) * self.frequency;
        let across = (place.y * self.cosine - place.x * self.sine) * self.frequency;
        self.strength
            * match self.pattern {
                Pattern::Plain => 0.0,
                Pattern::Stripes => square_wave(along),
                Pattern::Checks => {
                    let (a, b) = (square_wave(along), square_wave(across));
                    a + b - 2.0 * a * b
                }
                Pattern::Dots => {
                    let (x, y) = (along - along.floor() - 0.5, across - across.floor() - 0.5);
                    ((0.32 - (x * x + y * y).sqrt()) * 8.0 + 0.5).clamp(0.0, 1.0)
                }
                Pattern::Clouds => noise::smooth(self.salt, along, across),
                Pattern::Grain => {
                    let wave = noise::smooth(self.salt, along * 0.3, across * 0.8);
                    square_wave(across + wave)
                }
            }
    }
}

/// 1 over half of each period and 0 over the other, with sloped edges for antialiasing.
fn square_wave(phase: f32) -> f32 {
    let triangle = ((phase - phase.floor()) * 2.0 - 1.0).abs(); // 1 at whole numbers, 0 between
    ((triangle - 0.5) * 4.0 + 0.5).clamp(0.0, 1.0)
}
