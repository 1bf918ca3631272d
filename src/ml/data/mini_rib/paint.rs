//! Rasterises a scene. Edges are antialiased by signed distance: coverage changes linearly over a
//! band one pixel wide.

use super::canvas::Canvas;
use super::colour::{Colour, mix, scale};
use super::noise;
use super::object::Role;
use super::pose::{PIXELS, place};
use super::scene::{Figure, Line, Scene};
use super::shape::{Point, Shape, point};

/// Objects extend no further than this in their own coordinates, including outlines.
const REACH: f32 = 1.5;

pub fn paint(scene: &Scene) -> Canvas {
    let mut canvas = Canvas::blank().map(|_, column, row| scene.backdrop.at(place(column, row)));
    for figure in &scene.figures {
        if figure.finish.shadow > 0.0 {
            let shadow = ground_shadow(figure);
            canvas = canvas.map(|colour, column, row| {
                let distance = shadow.distance(place(column, row)) * PIXELS;
                let depth = (0.5 - distance / 3.0).clamp(0.0, 1.0);
                scale(colour, 1.0 - figure.finish.shadow * depth)
            });
        }
        canvas = canvas.map(|colour, column, row| paint_pixel(figure, colour, place(column, row)));
    }
    canvas
}

fn ground_shadow(figure: &Figure) -> Shape {
    let (centre, size) = (figure.pose.centre(), figure.pose.scale());
    Shape::Ellipse {
        centre: point(centre.x + 0.1 * size, centre.y + 0.86 * size),
        radii: point(0.85 * size, 0.22 * size),
    }
}

/// Paints the figure over `behind`.
fn paint_pixel(figure: &Figure, behind: Colour, at: Point) -> Colour {
    let finish = &figure.finish;
    let strayed = finish.line.map_or(at, |line| stray(&line, at));
    let inner = figure.pose.inverse(strayed);
    if inner.x.abs() > REACH || inner.y.abs() > REACH {
        return behind;
    }
    let pixels = figure.pose.pixels();
    let pressure = finish.line.map_or(0.0, |line| pressure(&line, at));
    let mut colour = behind;
    for part in &figure.object.parts {
        let distance = part.shape.distance(inner) * pixels - finish.swell;
        let covered = (0.5 - distance).clamp(0.0, 1.0);
        if covered > 0.0 {
            let base = surface(figure, part.role, inner);
            let lit = scale(base, light(figure, at, distance));
            colour = mix(colour, lit, covered);
        }
        if let Some(line) = &finish.line {
            let inked = (0.5 + line.width / 2.0 - distance.abs()).clamp(0.0, 1.0);
            colour = mix(colour, line.colour, inked.min(line.width) * pressure);
        }
    }
    colour
}

fn surface(figure: &Figure, role: Role, inner: Point) -> Colour {
    let finish = &figure.finish;
    let base = finish.palette.of(role);
    match role {
        Role::Body | Role::Accent => mix(base, finish.second, finish.texture.at(inner)),
        Role::Detail | Role::Dark => base,
    }
}

/// Shading: lighter towards the light, darker near the edge.
fn light(figure: &Figure, at: Point, distance: f32) -> f32 {
    let finish = &figure.finish;
    if finish.shading == 0.0 {
        return 1.0;
    }
    let towards = at.minus(figure.pose.centre()).dot(finish.light) / figure.pose.scale();
    let edge = 1.0 / (1.0 + (-distance).max(0.0));
    1.0 + finish.shading * (0.45 * towards - 0.5 * edge + 0.1)
}

/// Where an unsteady hand draws when aiming at `at`.
fn stray(line: &Line, at: Point) -> Point {
    if line.wobble == 0.0 {
        return at;
    }
    let reach = 2.0 * line.wobble / PIXELS;
    let field = |salt: u32| noise::smooth(salt, at.x * 3.0, at.y * 3.0) - 0.5;
    point(
        at.x + reach * field(line.salt),
        at.y + reach * field(line.salt ^ 0x5bd1_e995),
    )
}

/// The pressure of the line at a point.
fn pressure(line: &Line, at: Point) -> f32 {
    if line.breaks == 0.0 {
        return 1.0;
    }
    let field = noise::smooth(line.salt ^ 0x1b87_3593, at.x * 5.0, at.y * 5.0);
    (1.0 - line.breaks * 2.0 * field).clamp(0.25, 1.0)
}
