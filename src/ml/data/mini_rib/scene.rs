//! A scene as data: a backdrop, and figures from back to front.

use super::colour::{Colour, Palette, mix, scale};
use super::dice::Dice;
use super::object::{Object, Role, part};
use super::pose::Pose;
use super::shape::{Point, Shape, point};
use super::texture::Texture;

pub struct Scene {
    pub backdrop: Backdrop,
    pub figures: Vec<Figure>,
}

/// An object with a pose and a finish.
pub struct Figure {
    pub object: Object,
    pub pose: Pose,
    pub finish: Finish,
}

/// How a figure is painted.
#[derive(Clone, Copy)]
pub struct Finish {
    pub palette: Palette,
    /// Mixed into the body and the accents according to the texture.
    pub second: Colour,
    pub texture: Texture,
    /// The strength of directional light and edge darkening; 0: flat.
    pub shading: f32,
    /// The direction of the light.
    pub light: Point,
    /// Darkness of the soft ground shadow.
    pub shadow: f32,
    /// Thickens every part, in pixels.
    pub swell: f32,
    pub line: Option<Line>,
}

impl Finish {
    /// Plain colours, without lines or shading.
    pub fn flat(palette: Palette) -> Self {
        Self {
            palette,
            second: [0.5; 3],
            texture: Texture::PLAIN,
            shading: 0.0,
            light: point(-0.6, -0.8),
            shadow: 0.0,
            swell: 0.0,
            line: None,
        }
    }
}

/// Drawn outlines.
#[derive(Clone, Copy)]
pub struct Line {
    pub colour: Colour,
    /// Pixels.
    pub width: f32,
    /// The maximum deviation of the line, in pixels.
    pub wobble: f32,
    /// The share of the line that is missing, 0 to 1.
    pub breaks: f32,
    pub salt: u32,
}

impl Figure {
    /// An object without a class, for clutter: a block, a disc, a rod or a wedge.
    pub fn clutter(pose: Pose, finish: Finish, dice: &mut Dice) -> Self {
        let shape = match dice.below(4) {
            0 => Shape::slab(point(0.0, 0.0), point(0.8, dice.between(0.4, 0.8)), 0.1),
            1 => Shape::circle(point(0.0, 0.0), 0.75),
            2 => Shape::stroke(point(-0.9, 0.0), point(0.9, 0.0), 0.22),
            _ => Shape::polygon([(-0.8, 0.6), (0.1, -0.8), (0.8, 0.7)]),
        };
        let object = Object {
            parts: vec![part(Role::Body, shape)],
            tones: super::things::CLUTTER,
        };
        Self {
            object,
            pose,
            finish,
        }
    }
}

/// The background: one surface, or two with a straight edge between them.
pub struct Backdrop {
    pub upper: Surface,
    pub lower: Surface,
    /// Height of the edge, -1 (top) to 1 (bottom).
    pub edge: f32,
}

impl Backdrop {
    pub fn plain(surface: Surface) -> Self {
        Self {
            upper: surface,
            lower: surface,
            edge: 2.0,
        }
    }

    pub fn at(&self, place: Point) -> Colour {
        if place.y < self.edge {
            self.upper.at(place)
        } else {
            self.lower.at(place)
        }
    }
}

#[derive(Clone, Copy)]
pub struct Surface {
    pub first: Colour,
    pub second: Colour,
    pub texture: Texture,
    /// The difference in brightness between top and bottom.
    pub slope: f32,
}

impl Surface {
    pub fn plain(colour: Colour) -> Self {
        Self {
            first: colour,
            second: colour,
            texture: Texture::PLAIN,
            slope: 0.0,
        }
    }

    pub fn at(&self, place: Point) -> Colour {
        let colour = mix(self.first, self.second, self.texture.at(place));
        scale(colour, 1.0 - self.slope * 0.5 * place.y)
    }
}
