//! Colours and palettes.

use super::dice::Dice;
use super::object::Role;

/// Red, green, blue as displayed (not linear light), nominally 0 to 1.
pub type Colour = [f32; 3];

pub const WHITE: Colour = [1.0; 3];
pub const BLACK: Colour = [0.0; 3];

/// From hue (in turns, any number), saturation and value.
pub fn hsv(hue: f32, saturation: f32, value: f32) -> Colour {
    [0.0f32, 2.0 / 3.0, 1.0 / 3.0].map(|shift| {
        let turned = hue + shift;
        let ramp = ((turned - turned.floor()) * 6.0 - 3.0).abs() - 1.0;
        value * (1.0 - saturation * (1.0 - ramp.clamp(0.0, 1.0)))
    })
}

pub fn mix(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|channel| from[channel] + (to[channel] - from[channel]) * share)
}

pub fn scale(colour: Colour, factor: f32) -> Colour {
    colour.map(|channel| channel * factor)
}

/// Brightness as people see it (ITU-R BT.601).
pub fn luminance(colour: Colour) -> f32 {
    0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
}

/// A range of colours: hue ± spread, saturation and value from ranges.
#[derive(Clone, Copy, Debug)]
pub struct Tone {
    pub hue: f32,
    pub spread: f32,
    pub saturation: (f32, f32),
    pub value: (f32, f32),
}

pub const fn tone(hue: f32, spread: f32, saturation: (f32, f32), value: (f32, f32)) -> Tone {
    Tone {
        hue,
        spread,
        saturation,
        value,
    }
}

impl Tone {
    pub fn draw(self, dice: &mut Dice) -> Colour {
        let hue = self.hue + dice.around(self.spread);
        let saturation = dice.between(self.saturation.0, self.saturation.1);
        hsv(hue, saturation, dice.between(self.value.0, self.value.1))
    }
}

/// The colours of one figure, by role.
#[derive(Clone, Copy, Debug)]
pub struct Palette([Colour; Role::COUNT]);

impl Palette {
    pub fn of(&self, role: Role) -> Colour {
        self.0[role as usize]
    }

    /// Natural colours of the object.
    pub fn natural(tones: [Tone; Role::COUNT], dice: &mut Dice) -> Self {
        Self(tones.map(|tone| tone.draw(dice)))
    }

    /// Colours unrelated to the object: unrelated hues, with some contrast.
    pub fn odd(dice: &mut Dice) -> Self {
        let bright = dice.chance(0.5);
        Self(std::array::from_fn(|role| {
            let light = (role % 2 == 0) == bright;
            let value = if light { (0.7, 1.0) } else { (0.15, 0.55) };
            tone(0.0, 0.5, (0.35, 1.0), value).draw(dice)
        }))
    }

    /// Shades of one hue.
    pub fn shades(dice: &mut Dice) -> Self {
        let hue = dice.between(0.0, 1.0);
        let saturation = dice.between(0.0, 0.8);
        let start = dice.between(0.15, 0.45);
        Self(std::array::from_fn(|role| {
            let value = start + 0.55 * ((role * 2 + 1) % 5) as f32 / 4.0;
            hsv(hue + dice.around(0.03), saturation, value)
        }))
    }

    /// One grey for every role.
    pub fn grey() -> Self {
        Self([[0.5; 3]; Role::COUNT])
    }

    pub fn map(self, change: impl FnMut(Colour) -> Colour) -> Self {
        Self(self.0.map(change))
    }
}
