//! The position of an object in the image, and its rotation, stretch and shear.

use super::SIDE;
use super::dice::Dice;
use super::shape::{Point, point};

/// Half the side in pixels: the image runs from -1 to 1 in both directions.
const HALF: f32 = SIDE as f32 / 2.0;

/// The position of a pixel's centre.
pub fn place(column: usize, row: usize) -> Point {
    point(
        (column as f32 + 0.5) / HALF - 1.0,
        (row as f32 + 0.5) / HALF - 1.0,
    )
}

/// Pixels per unit of length in the image.
pub const PIXELS: f32 = HALF;

#[derive(Clone, Copy, Debug)]
pub struct Pose {
    centre: Point,
    scale: f32,
    stretch: Point,
    cosine: f32,
    sine: f32,
    slant: f32,
    mirrored: bool,
}

/// The ranges that poses are drawn from.
#[derive(Clone, Copy, Debug)]
pub struct PoseRange {
    /// Half the object's size as a share of half the image.
    pub scale: (f32, f32),
    /// Maximum rotation, radians.
    pub turn: f32,
    /// Maximum shift of the centre from the middle, as a share of the remaining space.
    pub shift: f32,
    /// Minimum ratio of one direction's size to the other's.
    pub squeeze: f32,
    /// Maximum shear.
    pub slant: f32,
}

impl Pose {
    pub fn draw(stance: PoseRange, dice: &mut Dice) -> Self {
        let scale = dice.between(stance.scale.0, stance.scale.1);
        let room = (1.05 - scale).max(0.05) * stance.shift;
        let centre = point(dice.around(room), dice.around(room));
        let angle = dice.around(stance.turn);
        let squeeze = dice.between(stance.squeeze, 1.0);
        let stretch = if dice.chance(0.5) {
            point(squeeze, 1.0)
        } else {
            point(1.0, squeeze)
        };
        Self {
            centre,
            scale,
            stretch,
            cosine: libm::cosf(angle),
            sine: libm::sinf(angle),
            slant: dice.around(stance.slant),
            mirrored: dice.chance(0.5),
        }
    }

    /// The same pose with another centre.
    pub fn moved(self, centre: Point) -> Self {
        Self { centre, ..self }
    }

    pub fn centre(&self) -> Point {
        self.centre
    }

    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// Maps a position in the image to the object's coordinates.
    pub fn inverse(&self, place: Point) -> Point {
        let offset = place.minus(self.centre);
        let y = offset.y * self.cosine - offset.x * self.sine;
        let x = offset.x * self.cosine + offset.y * self.sine - self.slant * y;
        let x = if self.mirrored { -x } else { x };
        point(
            x / (self.scale * self.stretch.x),
            y / (self.scale * self.stretch.y),
        )
    }

    /// Pixels per unit of the object's coordinates, on average over the directions.
    pub fn pixels(&self) -> f32 {
        PIXELS * self.scale * (self.stretch.x * self.stretch.y).sqrt()
    }
}
