//! The ten classes: the parts of an object. Knows no poses, styles or pixels.

use super::colour::Tone;
use super::dice::Dice;
use super::shape::Shape;
use super::{nature, things};

/// The role of a part in its object; a palette has one colour for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Body,
    Accent,
    Detail,
    Dark,
}

impl Role {
    pub const COUNT: usize = 4;
}

#[derive(Clone, Debug)]
pub struct Part {
    pub shape: Shape,
    pub role: Role,
}

pub fn part(role: Role, shape: Shape) -> Part {
    Part { shape, role }
}

/// An object in its own coordinates (-1 to 1), parts from back to front.
#[derive(Clone, Debug)]
pub struct Object {
    pub parts: Vec<Part>,
    /// Its natural colours, by role.
    pub tones: [Tone; Role::COUNT],
}

/// The classes, in the order of their labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Boat,
    Car,
    Chair,
    Cup,
    Fish,
    Flower,
    House,
    Key,
    Mushroom,
    Tree,
}

impl Class {
    pub const ALL: [Self; 10] = [
        Self::Boat,
        Self::Car,
        Self::Chair,
        Self::Cup,
        Self::Fish,
        Self::Flower,
        Self::House,
        Self::Key,
        Self::Mushroom,
        Self::Tree,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Boat => "boat",
            Self::Car => "car",
            Self::Chair => "chair",
            Self::Cup => "cup",
            Self::Fish => "fish",
            Self::Flower => "flower",
            Self::House => "house",
            Self::Key => "key",
            Self::Mushroom => "mushroom",
            Self::Tree => "tree",
        }
    }

    /// An object of the class with random proportions.
    pub fn form(self, dice: &mut Dice) -> Object {
        match self {
            Self::Boat => things::boat(dice),
            Self::Car => things::car(dice),
            Self::Chair => things::chair(dice),
            Self::Cup => things::cup(dice),
            Self::Fish => nature::fish(dice),
            Self::Flower => nature::flower(dice),
            Self::House => things::house(dice),
            Self::Key => things::key(dice),
            Self::Mushroom => nature::mushroom(dice),
            Self::Tree => nature::tree(dice),
        }
    }
}
