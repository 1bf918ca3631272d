//! The clean style and the eight shifted domains: what each of them randomises.

use std::f32::consts::PI;

use super::canvas::Canvas;
use super::colour::{BLACK, Colour, Palette, WHITE, hsv, luminance, mix, tone};
use super::dice::Dice;
use super::object::{Class, Object};
use super::paint::paint;
use super::pose::{Pose, PoseRange};
use super::post::{self, Corruption, Hatching};
use super::scene::{Backdrop, Figure, Finish, Line, Scene, Surface};
use super::shape::point;
use super::texture::{Pattern, Texture};

/// Upright, mostly large and near the middle.
pub const UPRIGHT: PoseRange = PoseRange {
    scale: (0.66, 0.98),
    turn: 0.28,
    shift: 0.8,
    squeeze: 0.8,
    slant: 0.1,
};

/// A studio photograph: soft light, a pale backdrop; five out of six in natural colours, the others
/// painted.
pub fn clean(class: Class, dice: &mut Dice) -> Canvas {
    let object = class.form(dice);
    let mut finish = photographed(&object, dice);
    if dice.chance(1.0 / 6.0) {
        finish.palette = Palette::shades(dice);
    }
    let scene = Scene {
        backdrop: studio(dice),
        figures: vec![Figure {
            pose: Pose::draw(UPRIGHT, dice),
            object,
            finish,
        }],
    };
    post::grain(paint(&scene), 0.065, dice)
}

/// `a`: small, among clutter, partly hidden.
pub fn adversarial(class: Class, dice: &mut Dice) -> Canvas {
    let object = class.form(dice);
    let finish = photographed(&object, dice);
    let small = PoseRange {
        scale: (0.5, 0.72),
        turn: 0.35,
        shift: 1.0,
        squeeze: 0.8,
        slant: 0.1,
    };
    let pose = Pose::draw(small, dice);
    let mut figures = Vec::new();
    for _ in 0..dice.count(2, 4) {
        let scale = dice.between(0.12, 0.3);
        let at = point(dice.around(1.0), dice.around(1.0));
        figures.push(clutter(at, scale, dice));
    }
    let (centre, scale) = (pose.centre(), pose.scale());
    figures.push(Figure {
        object,
        pose,
        finish,
    });
    // An object in front hides a part, from the side rather than from the centre.
    let angle = dice.between(0.0, 2.0 * PI);
    let at = centre.polar(scale * dice.between(0.65, 0.95), angle);
    let cover = scale * dice.between(0.25, 0.45);
    figures.push(clutter(at, cover, dice));
    let scene = Scene {
        backdrop: busy(dice),
        figures,
    };
    post::grain(paint(&scene), 0.04, dice)
}

/// `r`: renditions in other materials and colours: woven or carved, outlined, on cloth.
pub fn rendition(class: Class, dice: &mut Dice) -> Canvas {
    let object = class.form(dice);
    let palette = if dice.chance(0.4) {
        Palette::shades(dice)
    } else {
        Palette::natural(object.tones, dice)
    };
    let pattern = dice.pick([Pattern::Stripes, Pattern::Checks, Pattern::Grain]);
    let mut finish = Finish::flat(palette);
    finish.texture = Texture::draw(pattern, (0.3, 0.6), dice.between(0.4, 0.65), dice);
    finish.second = mix(vivid(dice), WHITE, 0.4);
    finish.shading = dice.between(0.0, 0.4);
    let dark = dice.chance(0.55);
    let (value, edge) = if dark {
        ((0.1, 0.35), (0.75, 1.0))
    } else {
        ((0.6, 0.95), (0.0, 0.3))
    };
    let thread = tone(0.0, 0.5, (0.0, 0.6), edge).draw(dice);
    finish.line = Some(pen(thread, dice.between(1.0, 1.6)));
    let scene = Scene {
        backdrop: Backdrop::plain(Surface {
            first: tone(0.0, 0.5, (0.05, 0.5), value).draw(dice),
            second: tone(0.0, 0.5, (0.05, 0.5), value).draw(dice),
            texture: any_texture((0.3, 0.7), 0.2, dice),
            slope: 0.0,
        }),
        figures: vec![Figure {
            pose: Pose::draw(
                PoseRange {
                    turn: 0.3,
                    squeeze: 0.8,
                    ..UPRIGHT
                },
                dice,
            ),
            object,
            finish,
        }],
    };
    paint(&scene)
}

/// `sketch`: pencil outlines on paper, a little grey tone, no colour.
pub fn sketch(class: Class, dice: &mut Dice) -> Canvas {
    let paper = [dice.between(0.88, 1.0); 3];
    let object = class.form(dice);
    let mut finish = pencilled(paper, dice);
    let tone = dice.between(0.0, 0.5);
    finish.palette =
        Palette::natural(object.tones, dice).map(|colour| mix(paper, [luminance(colour); 3], tone));
    let scene = Scene {
        backdrop: Backdrop::plain(Surface::plain(paper)),
        figures: vec![Figure {
            object,
            pose: Pose::draw(UPRIGHT, dice),
            finish,
        }],
    };
    post::grain(paint(&scene), 0.02, dice)
}

/// Paper-coloured, with broken, unsteady outlines.
pub fn pencilled(paper: Colour, dice: &mut Dice) -> Finish {
    let mut finish = Finish::flat(Palette::grey().map(|_| paper));
    let depth = dice.between(0.05, 0.35);
    let dark_on_light = luminance(paper) > 0.5;
    finish.line = Some(Line {
        colour: [if dark_on_light { depth } else { 1.0 - depth }; 3],
        width: dice.between(0.9, 1.5),
        wobble: dice.between(0.4, 1.2),
        breaks: dice.between(0.1, 0.45),
        salt: dice.salt(),
    });
    finish
}

/// `objectnet`: any rotation, odd viewpoints, ordinary rooms.
pub fn objectnet(class: Class, dice: &mut Dice) -> Canvas {
    let object = class.form(dice);
    let finish = photographed(&object, dice);
    let thrown = PoseRange {
        scale: (0.65, 0.9),
        turn: PI,
        shift: 0.9,
        squeeze: 0.55,
        slant: 0.35,
    };
    let finish = Finish {
        shadow: 0.0,
        ..finish
    };
    let scene = Scene {
        backdrop: room(dice),
        figures: vec![Figure {
            pose: Pose::draw(thrown, dice),
            object,
            finish,
        }],
    };
    let warm = dice.between(-0.12, 0.18);
    let lamp = dice.between(0.8, 1.05);
    let tint = [lamp * (1.0 + warm), lamp, lamp * (1.0 - warm)];
    post::grain(post::cast(paint(&scene), tint), 0.05, dice)
}

/// `cartoon`: flat bright colours in thick black outlines, under a flat sky.
pub fn cartoon(class: Class, dice: &mut Dice) -> Canvas {
    let object = class.form(dice);
    let palette = Palette::natural(object.tones, dice).map(brighten);
    let mut finish = Finish::flat(palette);
    finish.swell = dice.between(0.2, 0.7);
    finish.line = Some(pen([0.02, 0.02, 0.05], dice.between(1.1, 1.8)));
    let stance = PoseRange {
        scale: (0.68, 0.9),
        turn: 0.2,
        shift: 0.7,
        squeeze: 0.75,
        slant: 0.15,
    };
    let sky = tone(0.0, 0.5, (0.2, 0.6), (0.85, 1.0)).draw(dice);
    let land = tone(0.0, 0.5, (0.4, 0.8), (0.6, 0.95)).draw(dice);
    let scene = Scene {
        backdrop: Backdrop {
            upper: Surface::plain(sky),
            lower: Surface::plain(land),
            edge: dice.between(0.1, 0.8),
        },
        figures: vec![Figure {
            pose: Pose::draw(stance, dice),
            object,
            finish,
        }],
    };
    paint(&scene)
}

/// The colour in four steps per channel, with increased saturation.
fn brighten(colour: Colour) -> Colour {
    let grey = (colour[0] + colour[1] + colour[2]) / 3.0;
    colour.map(|value| {
        let vivid = (grey + (value - grey) * 1.5 + 0.06).clamp(0.0, 1.0);
        (vivid * 3.0 + 0.5).floor() / 3.0
    })
}

/// `drawing`: tone by hatching, a trace of the colour, thin outlines.
pub fn drawing(class: Class, dice: &mut Dice) -> Canvas {
    let object = class.form(dice);
    let mut finish = photographed(&object, dice);
    finish.line = Some(Line {
        wobble: dice.between(0.2, 0.8),
        ..pen([0.0; 3], dice.between(0.8, 1.2))
    });
    finish.shadow *= 0.5;
    let scene = Scene {
        backdrop: studio(dice),
        figures: vec![Figure {
            pose: Pose::draw(UPRIGHT, dice),
            object,
            finish,
        }],
    };
    let hatching = Hatching {
        paper: tone(0.12, 0.05, (0.0, 0.12), (0.9, 1.0)).draw(dice),
        pencil: [dice.between(0.1, 0.3); 3],
        angle: dice.between(0.0, PI),
        spacing: dice.between(2.0, 3.2),
        firmness: dice.between(0.45, 0.75),
        colour: dice.between(0.0, 0.3),
        salt: dice.salt(),
    };
    post::hatch(paint(&scene), &hatching)
}

/// `c`: the clean style, corrupted in one of eight ways at one of five severities.
pub fn corrupted(class: Class, dice: &mut Dice) -> Canvas {
    let canvas = clean(class, dice);
    let corruption = dice.pick(Corruption::ALL);
    corruption.apply(canvas, dice.count(1, 5), dice)
}

/// Natural colours in soft light.
pub fn photographed(object: &Object, dice: &mut Dice) -> Finish {
    let mut finish = Finish::flat(Palette::natural(object.tones, dice));
    finish.shading = dice.between(0.3, 0.55);
    finish.light = point(dice.around(0.8), -0.8);
    finish.shadow = dice.between(0.15, 0.35);
    finish.texture = Texture::draw(Pattern::Clouds, (0.3, 0.6), 0.18, dice);
    finish.second = [0.5; 3];
    finish
}

/// A pale paper backdrop.
pub fn studio(dice: &mut Dice) -> Backdrop {
    let pale = tone(0.0, 0.5, (0.0, 0.3), (0.6, 0.97)).draw(dice);
    Backdrop::plain(Surface {
        slope: dice.between(0.05, 0.2),
        ..Surface::plain(pale)
    })
}

/// Two patterned surfaces.
pub fn busy(dice: &mut Dice) -> Backdrop {
    let surface = |dice: &mut Dice| Surface {
        first: tone(0.0, 0.5, (0.1, 0.5), (0.35, 0.9)).draw(dice),
        second: tone(0.0, 0.5, (0.1, 0.5), (0.35, 0.9)).draw(dice),
        texture: any_texture((0.25, 0.8), 0.7, dice),
        slope: dice.between(0.0, 0.2),
    };
    Backdrop {
        upper: surface(dice),
        lower: surface(dice),
        edge: dice.between(-0.4, 0.8),
    }
}

/// A wall over a floor of boards, tiles or carpet.
pub fn room(dice: &mut Dice) -> Backdrop {
    let wall = tone(0.1, 0.5, (0.05, 0.35), (0.45, 0.9)).draw(dice);
    let floor = tone(0.08, 0.06, (0.15, 0.5), (0.45, 0.85)).draw(dice);
    let pattern = dice.pick([Pattern::Grain, Pattern::Checks, Pattern::Clouds]);
    let texture = Texture::draw(pattern, (0.3, 0.7), dice.between(0.3, 0.7), dice);
    Backdrop {
        upper: Surface {
            second: mix(wall, BLACK, 0.25),
            texture: any_texture((0.4, 0.8), 0.5, dice).straight(),
            slope: 0.1,
            first: wall,
        },
        lower: Surface {
            second: mix(floor, dice.pick([BLACK, WHITE]), 0.3),
            texture,
            slope: -0.15,
            first: floor,
        },
        edge: dice.between(-1.2, 0.6),
    }
}

/// An object without a class, in photographed colours.
pub fn clutter(at: super::shape::Point, scale: f32, dice: &mut Dice) -> Figure {
    let mut finish = Finish::flat(Palette::natural(super::things::CLUTTER, dice));
    finish.shading = 0.4;
    let stance = PoseRange {
        scale: (scale, scale * 1.001),
        turn: PI,
        shift: 0.0,
        squeeze: 0.6,
        slant: 0.2,
    };
    let pose = Pose::draw(stance, dice).moved(at);
    Figure::clutter(pose, finish, dice)
}

/// Any pattern, with probability `share`; otherwise none.
pub fn any_texture(period: (f32, f32), share: f32, dice: &mut Dice) -> Texture {
    if !dice.chance(share) {
        return Texture::PLAIN;
    }
    let pattern = dice.pick([
        Pattern::Stripes,
        Pattern::Dots,
        Pattern::Checks,
        Pattern::Clouds,
        Pattern::Grain,
    ]);
    let strength = dice.between(0.3, 0.8);
    Texture::draw(pattern, period, strength, dice)
}

/// A steady line.
pub fn pen(colour: Colour, width: f32) -> Line {
    Line {
        colour,
        width,
        wobble: 0.0,
        breaks: 0.0,
        salt: 0,
    }
}

pub fn vivid(dice: &mut Dice) -> Colour {
    hsv(
        dice.between(0.0, 1.0),
        dice.between(0.3, 1.0),
        dice.between(0.1, 1.0),
    )
}
