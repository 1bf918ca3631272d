//! Living things: fish, flower, mushroom, tree.

use std::f32::consts::PI;

use super::colour::{Tone, tone};
use super::dice::Dice;
use super::object::{Object, Role, part};
use super::shape::{Shape, point};

const LEAF: Tone = tone(0.32, 0.06, (0.5, 0.85), (0.35, 0.7));
const BARK: Tone = tone(0.07, 0.02, (0.45, 0.7), (0.3, 0.5));

/// A body with tail, fins, an eye and sometimes bands.
pub fn fish(dice: &mut Dice) -> Object {
    let long = dice.between(0.52, 0.64);
    let high = dice.between(0.3, 0.46);
    let tail = dice.between(0.3, 0.48);
    let notch = dice.between(0.62, 0.75);
    let fin = dice.between(0.16, 0.3);
    let centre = -0.2;
    let eye = point(centre - long * 0.58, -high * 0.22);
    let mut parts = vec![
        part(
            Role::Accent,
            Shape::polygon([
                (centre + long * 0.75, 0.0),
                (0.92, -tail),
                (notch, 0.0),
                (0.92, tail),
            ]),
        ),
        part(
            Role::Accent,
            Shape::polygon([
                (centre - long * 0.3, -high * 0.85),
                (centre + long * 0.3, -high - fin),
                (centre + long * 0.55, -high * 0.6),
            ]),
        ),
        part(
            Role::Accent,
            Shape::polygon([
                (centre - long * 0.1, high * 0.85),
                (centre + long * 0.35, high + fin * 0.8),
                (centre + long * 0.45, high * 0.7),
            ]),
        ),
        part(
            Role::Body,
            Shape::Ellipse {
                centre: point(centre, 0.0),
                radii: point(long, high),
            },
        ),
    ];
    for index in 0..dice.below(3) {
        let x = centre + long * (0.05 + 0.32 * index as f32);
        let half = high * 0.72;
        parts.push(part(
            Role::Accent,
            Shape::stroke(point(x, -half), point(x, half), 0.045),
        ));
    }
    parts.push(part(Role::Detail, Shape::circle(eye, 0.12)));
    parts.push(part(Role::Dark, Shape::circle(eye, 0.065)));
    Object {
        parts,
        tones: [
            dice.pick([
                tone(0.06, 0.04, (0.6, 0.9), (0.75, 0.98)),
                tone(0.57, 0.06, (0.4, 0.8), (0.5, 0.85)),
            ]),
            dice.pick([
                tone(0.1, 0.05, (0.6, 0.9), (0.7, 0.95)),
                tone(0.6, 0.06, (0.4, 0.8), (0.35, 0.65)),
            ]),
            tone(0.0, 0.5, (0.0, 0.05), (0.95, 1.0)),
            tone(0.0, 0.5, (0.0, 0.2), (0.02, 0.12)),
        ],
    }
}

/// Petals around a centre, on a stem with leaves.
pub fn flower(dice: &mut Dice) -> Object {
    let petals = dice.count(5, 8);
    let heart = dice.between(0.14, 0.2);
    let reach = dice.between(0.3, 0.38);
    let petal = dice.between(0.85, 1.05) * reach * libm::sinf(PI / petals as f32);
    let start = dice.between(0.0, 1.0);
    let bend = dice.around(0.12);
    let head = point(0.0, -0.38);
    let base = point(bend, 0.92);
    let turn = 2.0 * PI / petals as f32;
    let crown = (0..petals)
        .map(|index| {
            let angle = turn * (index as f32 + start);
            Shape::stroke(
                head.polar(heart, angle),
                head.polar(reach, angle),
                petal.max(0.11),
            )
        })
        .collect();
    let mut parts = vec![part(Role::Detail, Shape::stroke(head, base, 0.05))];
    let height = dice.between(0.45, 0.62);
    for side in [-1.0, 1.0] {
        if side > 0.0 || dice.chance(0.6) {
            parts.push(part(
                Role::Detail,
                Shape::polygon([
                    (bend * 0.7, height + 0.14),
                    (side * 0.28, height - 0.14),
                    (side * 0.5, height - 0.2),
                    (side * 0.38, height + 0.04),
                ]),
            ));
        }
    }
    parts.push(part(Role::Body, Shape::Union(crown)));
    parts.push(part(Role::Accent, Shape::circle(head, heart)));
    Object {
        parts,
        tones: [
            dice.pick([
                tone(0.93, 0.07, (0.45, 0.85), (0.8, 1.0)),
                tone(0.76, 0.05, (0.4, 0.7), (0.7, 0.95)),
                tone(0.15, 0.02, (0.6, 0.9), (0.9, 1.0)),
            ]),
            tone(0.12, 0.03, (0.6, 0.9), (0.6, 0.95)),
            LEAF,
            LEAF,
        ],
    }
}

/// A cap with spots on a stem.
pub fn mushroom(dice: &mut Dice) -> Object {
    let rim = dice.between(-0.12, 0.08);
    let wide = dice.between(0.68, 0.88);
    let high = dice.between(0.6, 0.82);
    let thick = dice.between(0.18, 0.28);
    let foot = dice.between(0.72, 0.9);
    let mut parts = vec![
        part(
            Role::Accent,
            Shape::polygon([
                (-thick * 0.8, rim - 0.1),
                (thick * 0.8, rim - 0.1),
                (thick * 1.15, foot),
                (-thick * 1.15, foot),
            ]),
        ),
        part(
            Role::Body,
            Shape::Above(
                Box::new(Shape::Ellipse {
                    centre: point(0.0, rim),
                    radii: point(wide, high),
                }),
                rim,
            ),
        ),
    ];
    if dice.chance(0.75) {
        let spot = |x: f32, y: f32, radius: f32| {
            let centre = point(wide * x, rim - high * y);
            part(Role::Detail, Shape::circle(centre, radius))
        };
        parts.extend([
            spot(-0.5 + dice.around(0.08), 0.35, 0.1),
            spot(dice.around(0.12), 0.62, 0.12),
            spot(0.5 + dice.around(0.08), 0.3, 0.1),
        ]);
    }
    Object {
        parts,
        tones: [
            dice.pick([
                tone(0.0, 0.03, (0.7, 0.95), (0.6, 0.9)),
                tone(0.07, 0.02, (0.45, 0.7), (0.4, 0.7)),
            ]),
            tone(0.12, 0.03, (0.08, 0.25), (0.82, 0.98)),
            tone(0.12, 0.05, (0.0, 0.1), (0.92, 1.0)),
            BARK,
        ],
    }
}

/// A trunk under a round crown, or a fir of three tiers.
pub fn tree(dice: &mut Dice) -> Object {
    let trunk = dice.between(0.08, 0.15);
    let stem = |top: f32| {
        Shape::polygon([
            (-trunk * 0.8, top),
            (trunk * 0.8, top),
            (trunk * 1.2, 0.92),
            (-trunk * 1.2, 0.92),
        ])
    };
    let crown = if dice.chance(0.5) {
        let wide = dice.between(0.48, 0.66);
        let tier = |top: f32, share: f32| {
            Shape::polygon([
                (0.0, top),
                (wide * share, top + 0.62),
                (-wide * share, top + 0.62),
            ])
        };
        vec![tier(-0.95, 0.65), tier(-0.6, 0.85), tier(-0.22, 1.0)]
    } else {
        let radius = dice.between(0.28, 0.36);
        let reach = dice.between(0.26, 0.36);
        let start = dice.between(0.0, 1.0);
        let middle = point(0.0, -0.32);
        let mut puffs: Vec<Shape> = (0..5)
            .map(|index| {
                let angle = 2.0 * PI * (index as f32 + start) / 5.0;
                Shape::circle(middle.polar(reach, angle), radius)
            })
            .collect();
        puffs.push(Shape::circle(middle, radius));
        puffs
    };
    Object {
        parts: vec![
            part(Role::Accent, stem(0.0)),
            part(Role::Body, Shape::Union(crown)),
        ],
        tones: [LEAF, BARK, LEAF, BARK],
    }
}
