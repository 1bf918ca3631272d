//! The pixels of an image during rendering.

use super::SIDE;
use super::colour::{BLACK, Colour, mix};

/// SIDE × SIDE colours, row by row, nominally 0 to 1.
#[derive(Clone)]
pub struct Canvas(pub Vec<Colour>);

impl Canvas {
    pub fn blank() -> Self {
        Self(vec![BLACK; SIDE * SIDE])
    }

    /// The colour at a position; outside, that of the nearest border pixel.
    pub fn near(&self, column: i32, row: i32) -> Colour {
        let last = SIDE as i32 - 1;
        self.0[row.clamp(0, last) as usize * SIDE + column.clamp(0, last) as usize]
    }

    /// The colour between pixels, bilinear.
    pub fn between(&self, column: f32, row: f32) -> Colour {
        let (left, top) = (column.floor(), row.floor());
        let (x, y) = (left as i32, top as i32);
        let upper = mix(self.near(x, y), self.near(x + 1, y), column - left);
        let lower = mix(self.near(x, y + 1), self.near(x + 1, y + 1), column - left);
        mix(upper, lower, row - top)
    }

    /// Computes every pixel from its colour, column and row.
    pub fn map(self, mut change: impl FnMut(Colour, usize, usize) -> Colour) -> Self {
        let pixels = self.0.into_iter().enumerate();
        Self(
            pixels
                .map(|(index, colour)| change(colour, index % SIDE, index / SIDE))
                .collect(),
        )
    }

    /// The image as RGB bytes, rounded to the nearest, into SIDE × SIDE × 3 of them.
    pub fn write(&self, bytes: &mut [u8]) {
        for (byte, value) in bytes.iter_mut().zip(self.0.iter().flatten()) {
            *byte = (value.clamp(0.0, 1.0) * 255.0 + 0.5) as u8;
        }
    }
}
