//! The `rich` source: a large, diverse collection. Half of the images are in the clean style; the
//! others randomise colour, texture, outline, backdrop, pose and corruption independently.

use std::f32::consts::PI;

use super::canvas::Canvas;
use super::colour::{Palette, tone};
use super::dice::Dice;
use super::domains::{
    any_texture, busy, clean, clutter, pen, pencilled, photographed, room, studio, vivid,
};
use super::object::{Class, Object};
use super::paint::paint;
use super::pose::{Pose, PoseRange};
use super::post::{self, Corruption};
use super::scene::{Backdrop, Figure, Finish, Scene, Surface};
use super::shape::point;

pub fn rich(class: Class, dice: &mut Dice) -> Canvas {
    if dice.chance(0.5) {
        return clean(class, dice);
    }
    let object = class.form(dice);
    let backdrop = any_backdrop(dice);
    let finish = any_finish(&object, &backdrop, dice);
    let mut figures = Vec::new();
    for _ in 0..dice.below(2) {
        let at = point(dice.around(1.0), dice.around(1.0));
        let scale = dice.between(0.1, 0.25);
        figures.push(clutter(at, scale, dice));
    }
    let stance = PoseRange {
        scale: (0.7, 0.98),
        turn: PI / 10.0,
        shift: 0.8,
        squeeze: 0.8,
        slant: 0.1,
    };
    figures.push(Figure {
        pose: Pose::draw(stance, dice),
        object,
        finish,
    });
    let canvas = paint(&Scene { backdrop, figures });
    any_damage(canvas, dice)
}

fn any_backdrop(dice: &mut Dice) -> Backdrop {
    match dice.below(6) {
        0..=2 => studio(dice),
        3 => busy(dice),
        4 => room(dice),
        _ => Backdrop::plain(Surface {
            first: tone(0.0, 0.5, (0.0, 0.8), (0.1, 1.0)).draw(dice),
            second: tone(0.0, 0.5, (0.0, 0.8), (0.1, 1.0)).draw(dice),
            texture: any_texture((0.3, 0.8), 0.3, dice),
            slope: dice.between(0.0, 0.3),
        }),
    }
}

fn any_finish(object: &Object, backdrop: &Backdrop, dice: &mut Dice) -> Finish {
    if dice.chance(0.08) {
        let paper = backdrop.at(point(0.0, 0.0));
        return pencilled(paper, dice);
    }
    let mut finish = photographed(object, dice);
    if dice.chance(0.25) {
        finish.palette = if dice.chance(0.5) {
            Palette::odd(dice)
        } else {
            Palette::shades(dice)
        };
    }
    if dice.chance(0.25) {
        finish.texture = any_texture((0.3, 0.6), 0.8, dice);
        finish.second = vivid(dice);
    }
    if dice.chance(0.3) {
        let ink = [dice.between(0.0, 0.3); 3];
        finish.line = Some(pen(ink, dice.between(0.6, 1.6)));
    }
    if dice.chance(0.3) {
        finish.shading = 0.0;
        finish.shadow = 0.0;
    }
    finish
}

fn any_damage(canvas: Canvas, dice: &mut Dice) -> Canvas {
    let canvas = if dice.chance(0.1) {
        post::grey(canvas, [1.0; 3])
    } else {
        canvas
    };
    if dice.chance(0.15) {
        let corruption = dice.pick(Corruption::ALL);
        return corruption.apply(canvas, dice.count(1, 2), dice);
    }
    post::grain(canvas, 0.03, dice)
}
