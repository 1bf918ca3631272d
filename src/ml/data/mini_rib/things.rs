//! Artefacts: boat, car, chair, cup, house, key.

use super::colour::{Tone, tone};
use super::dice::Dice;
use super::object::{Object, Role, part};
use super::shape::{Shape, point};

const WOOD: Tone = tone(0.08, 0.02, (0.45, 0.75), (0.4, 0.7));
const GLASS: Tone = tone(0.55, 0.03, (0.2, 0.4), (0.75, 0.95));
const RUBBER: Tone = tone(0.0, 0.5, (0.0, 0.1), (0.08, 0.2));
const CLOTH: Tone = tone(0.12, 0.05, (0.0, 0.15), (0.88, 1.0));
const PAINT: Tone = tone(0.0, 0.5, (0.55, 0.9), (0.55, 0.9));

/// The colours of things without a class.
pub const CLUTTER: [Tone; Role::COUNT] = [tone(0.0, 0.5, (0.1, 0.8), (0.3, 0.9)); Role::COUNT];

/// A hull with a mast and two sails.
pub fn boat(dice: &mut Dice) -> Object {
    let bow = dice.between(0.75, 0.92);
    let keel = dice.between(0.4, 0.62);
    let deck = dice.between(0.28, 0.42);
    let top = dice.between(-0.92, -0.72);
    let reach = dice.between(0.5, 0.75);
    let jib = dice.between(0.35, 0.6);
    let boom = deck - 0.12;
    Object {
        parts: vec![
            part(
                Role::Dark,
                Shape::stroke(point(0.0, top), point(0.0, deck), 0.045),
            ),
            part(
                Role::Accent,
                Shape::polygon([(0.08, top + 0.05), (0.08, boom), (reach, boom)]),
            ),
            part(
                Role::Detail,
                Shape::polygon([(-0.08, top + 0.25), (-0.08, boom), (-jib, boom)]),
            ),
            part(
                Role::Body,
                Shape::polygon([(-bow, deck), (bow, deck), (keel, 0.8), (-keel, 0.8)]),
            ),
        ],
        tones: [tone(0.0, 0.5, (0.5, 0.9), (0.35, 0.7)), CLOTH, CLOTH, WOOD],
    }
}

/// A side view with two wheels.
pub fn car(dice: &mut Dice) -> Object {
    let sill = dice.between(0.08, 0.16);
    let roof = dice.between(-0.5, -0.34);
    let waist = dice.between(-0.08, 0.02);
    let front = dice.between(0.45, 0.62);
    let back = dice.between(-0.72, -0.5);
    let axle = dice.between(0.46, 0.56);
    let wheel = dice.between(0.19, 0.25);
    let cabin = |inset: f32| {
        Shape::polygon([
            (back + inset, waist),
            (back + 0.2 + inset * 0.6, roof + inset),
            (front - 0.25 - inset * 0.6, roof + inset),
            (front - inset, waist),
        ])
    };
    let wheels = |radius: f32| {
        Shape::Union(vec![
            Shape::circle(point(-axle, 0.42), radius),
            Shape::circle(point(axle, 0.42), radius),
        ])
    };
    Object {
        parts: vec![
            part(Role::Body, cabin(0.0)),
            part(Role::Accent, cabin(0.1)),
            part(
                Role::Body,
                Shape::slab(
                    point(0.0, (waist + 0.44) / 2.0),
                    point(0.92, (0.44 - waist) / 2.0 + 0.02),
                    sill,
                ),
            ),
            part(Role::Dark, wheels(wheel)),
            part(Role::Detail, wheels(wheel * 0.42)),
        ],
        tones: [PAINT, GLASS, CLOTH, RUBBER],
    }
}

/// A chair from the side and a little from the front: a tall back, a seat, four legs.
pub fn chair(dice: &mut Dice) -> Object {
    let seat = dice.between(0.05, 0.18);
    let top = dice.between(-0.95, -0.78);
    let back = dice.between(-0.55, -0.42);
    let front = dice.between(0.42, 0.55);
    let thick = dice.between(0.07, 0.1);
    let depth = dice.between(0.12, 0.2);
    let leg = |x: f32, foot: f32| Shape::stroke(point(x, seat), point(x, foot), thick * 0.8);
    let mut parts = vec![
        part(Role::Dark, leg(back + depth, 0.72)),
        part(Role::Dark, leg(front - depth * 0.4, 0.72)),
        part(Role::Body, leg(back, 0.9)),
        part(Role::Body, leg(front, 0.9)),
    ];
    if dice.chance(0.5) {
        let rail = |y: f32| {
            part(
                Role::Body,
                Shape::stroke(point(back, y), point(back + depth, y - 0.06), thick * 0.7),
            )
        };
        parts.extend([rail(top + 0.3), rail(top + 0.6)]);
    }
    let post = |x: f32, rise: f32| {
        part(
            Role::Body,
            Shape::stroke(point(x, top - rise), point(x, seat), thick),
        )
    };
    parts.push(post(back + depth, 0.04));
    parts.push(post(back, 0.0));
    parts.push(part(
        Role::Accent,
        Shape::slab(
            point((back + front) / 2.0, seat),
            point((front - back) / 2.0 + thick, thick * 1.3),
            0.05,
        ),
    ));
    Object {
        parts,
        tones: [
            WOOD,
            tone(0.05, 0.08, (0.4, 0.8), (0.5, 0.85)),
            WOOD,
            tone(0.07, 0.02, (0.5, 0.7), (0.25, 0.4)),
        ],
    }
}

/// A cup with a handle, seen a little from above.
pub fn cup(dice: &mut Dice) -> Object {
    let top = dice.between(-0.62, -0.42);
    let bottom = dice.between(0.55, 0.75);
    let wide = dice.between(0.48, 0.6);
    let foot = dice.between(0.3, 0.5);
    let ring = dice.between(0.22, 0.3);
    let rim = dice.between(0.1, 0.17);
    let left = -0.18;
    let mut parts = vec![
        part(
            Role::Body,
            Shape::Ring {
                centre: point(left + wide, (top + bottom) / 2.0 - 0.05),
                radius: ring,
                half: 0.085,
            },
        ),
        part(
            Role::Body,
            Shape::polygon([
                (left - wide, top),
                (left + wide, top),
                (left + foot, bottom),
                (left - foot, bottom),
            ]),
        ),
        part(
            Role::Detail,
            Shape::Ellipse {
                centre: point(left, top),
                radii: point(wide, rim),
            },
        ),
        part(
            Role::Dark,
            Shape::Ellipse {
                centre: point(left, top + 0.015),
                radii: point(wide - 0.08, rim * 0.6),
            },
        ),
    ];
    if dice.chance(0.4) {
        let y = (top + bottom) / 2.0 + dice.around(0.1);
        parts.insert(
            2,
            part(
                Role::Accent,
                Shape::slab(point(left, y), point(foot + 0.02, 0.08), 0.0),
            ),
        );
    }
    Object {
        parts,
        tones: [
            tone(0.0, 0.5, (0.1, 0.7), (0.75, 0.98)),
            PAINT,
            CLOTH,
            tone(0.06, 0.02, (0.5, 0.8), (0.2, 0.35)),
        ],
    }
}

/// Walls, a pitched roof, a door, windows, sometimes a chimney.
pub fn house(dice: &mut Dice) -> Object {
    let eaves = dice.between(-0.2, 0.0);
    let ridge = dice.between(-0.88, -0.68);
    let wall = dice.between(0.55, 0.7);
    let overhang = dice.between(0.1, 0.2);
    let door = dice.between(-0.3, 0.3);
    let mut parts = Vec::new();
    if dice.chance(0.6) {
        let x = dice.pick([-1.0, 1.0]) * dice.between(0.3, 0.42);
        parts.push(part(
            Role::Dark,
            Shape::slab(point(x, -0.55), point(0.1, 0.28), 0.0),
        ));
    }
    parts.push(part(
        Role::Body,
        Shape::slab(
            point(0.0, (eaves + 0.8) / 2.0),
            point(wall, (0.8 - eaves) / 2.0),
            0.0,
        ),
    ));
    parts.push(part(
        Role::Accent,
        Shape::polygon([
            (-wall - overhang, eaves + 0.03),
            (0.0, ridge),
            (wall + overhang, eaves + 0.03),
        ]),
    ));
    parts.push(part(
        Role::Dark,
        Shape::slab(point(door, 0.55), point(0.14, 0.26), 0.0),
    ));
    for x in [door - 0.38, door + 0.38] {
        if x.abs() < wall - 0.14 {
            parts.push(part(
                Role::Detail,
                Shape::slab(point(x, 0.3), point(0.12, 0.13), 0.0),
            ));
        }
    }
    Object {
        parts,
        tones: [
            tone(0.1, 0.05, (0.1, 0.45), (0.75, 0.98)),
            tone(0.02, 0.05, (0.55, 0.85), (0.4, 0.7)),
            GLASS,
            tone(0.06, 0.03, (0.5, 0.8), (0.25, 0.45)),
        ],
    }
}

/// A bow, a shaft and teeth.
pub fn key(dice: &mut Dice) -> Object {
    let bow = dice.between(0.26, 0.34);
    let tip = dice.between(0.75, 0.92);
    let thick = dice.between(0.07, 0.1);
    let tooth = dice.between(0.2, 0.32);
    let gap = dice.between(0.2, 0.28);
    let teeth = dice.count(2, 3);
    let mut shapes = vec![
        Shape::Ring {
            centre: point(-0.55, 0.0),
            radius: bow,
            half: 0.1,
        },
        Shape::stroke(point(-0.5 + bow, 0.0), point(tip, 0.0), thick),
    ];
    for index in 0..teeth {
        let x = tip - 0.06 - gap * index as f32;
        let long = tooth * if index % 2 == 0 { 1.0 } else { 0.75 };
        shapes.push(Shape::slab(
            point(x, long / 2.0),
            point(0.07, long / 2.0 + thick),
            0.0,
        ));
    }
    let metal = if dice.chance(0.6) {
        tone(0.125, 0.02, (0.55, 0.85), (0.65, 0.9))
    } else {
        tone(0.6, 0.05, (0.02, 0.12), (0.5, 0.75))
    };
    Object {
        parts: vec![part(Role::Body, Shape::Union(shapes))],
        tones: [metal; Role::COUNT],
    }
}
