//! Where an object stands in the image, and how it is turned, stretched and slanted.

use super::SIDE;
use super::dice::Dice;
use super::shape::{Point, point};

/// Half the side in pixels: the image runs from -1 to 1 in both directions.
const HALF: f32 = SIDE as f32 / 2.0;

/// The place of a pixel's centre.
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
    /// Largest turn, radians.
    pub turn: f32,
    /// Largest shift of the centre from the middle, as a share of the room that is left.
    pub shift: f32,
    /// Smallest ratio of one direction's size to the other's.
    pub squeeze: f32,
    /// Largest slant (shear).
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

    /// The same with its centre elsewhere.
    pub fn moved(self, centre: Point) -> Self {
        Self { centre, ..self }
    }

    pub fn centre(&self) -> Point {
        self.centre
    }

    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The object's coordinates of a place in the image.
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
