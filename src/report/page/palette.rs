//! The colours of the page, for light and dark mode. Losses are warm, gains are cool, and series
//! differ in lightness and shape as well as in hue, for colour-blind readers.

use std::fmt::Write;

/// Steps of the diverging scale on each side of zero.
pub const STEPS: usize = 10;

/// The number of colours that differ in hue and lightness; further series reuse them with other
/// shapes.
pub const SERIES: usize = 8;

struct Paper {
    neutral: u32,
    loss: u32,
    gain: u32,
    /// Text on a coloured cell, in order of preference.
    inks: [u32; 4],
    series: [u32; SERIES],
}

const LIGHT: Paper = Paper {
    neutral: 0xf6f5f3,
    loss: 0xb23a24,
    gain: 0x1c6390,
    inks: [0x2a2521, 0xffffff, 0x000000, 0xffffff],
    series: [
        0x1f6f9e, 0xc8642a, 0x3a8a5f, 0x8a4f9e, 0xa5811f, 0xb03a5b, 0x4f9aa8, 0x6d6256,
    ],
};

const DARK: Paper = Paper {
    neutral: 0x23262a,
    loss: 0xe0705a,
    gain: 0x62aede,
    inks: [0xdfe3e6, 0x14161a, 0x000000, 0xffffff],
    series: [
        0x6bb3e0, 0xee9a62, 0x74c79a, 0xc39ad6, 0xdfc163, 0xe6829f, 0x86cdd9, 0xb9ada0,
    ],
};

/// The class of a difference on a scale from `-limit` to `limit`: `n3`, `z`, `p10`.
pub fn class(value: f64, limit: f64) -> String {
    if limit <= 0.0 {
        return "z".to_string();
    }
    let step = (value.abs() / limit * STEPS as f64)
        .round()
        .min(STEPS as f64) as usize;
    match step {
        0 => "z".to_string(),
        _ if value < 0.0 => format!("n{step}"),
        _ => format!("p{step}"),
    }
}

/// The end of a symmetric, round scale that includes all `values`.
pub fn limit(values: impl Iterator<Item = f64>) -> f64 {
    let largest = values.map(f64::abs).fold(0.0, f64::max);
    let choices = [
        1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0,
    ];
    choices
        .into_iter()
        .find(|choice| largest <= *choice)
        .unwrap_or(largest)
}

/// The colours as CSS: custom properties for both modes, and the classes that use them.
pub fn style() -> String {
    let mut style = format!(":root{{{}}}\n", properties(&LIGHT));
    let _ = writeln!(
        style,
        "@media screen and (prefers-color-scheme:dark){{:root{{{}}}}}",
        properties(&DARK)
    );
    for side in ["n", "p"] {
        for step in 1..=STEPS {
            let _ = write!(
                style,
                ".{side}{step}{{background:var(--{side}{step});color:var(--on-{side}{step})}}"
            );
        }
    }
    for series in 0..SERIES {
        let _ = write!(style, ".s{series}{{color:var(--s{series})}}");
    }
    style.push_str(".z{background:var(--z);color:var(--on-z)}\n");
    style
}

fn properties(paper: &Paper) -> String {
    let mut text = String::new();
    let mut step_of = |name: String, colour: u32| {
        let ink = ink(paper, colour);
        let _ = write!(text, "--{name}:{};--on-{name}:{};", hex(colour), hex(ink));
    };
    step_of("z".to_string(), paper.neutral);
    for (side, end) in [("n", paper.loss), ("p", paper.gain)] {
        for step in 1..=STEPS {
            let share = step as f64 / STEPS as f64;
            step_of(format!("{side}{step}"), mix(paper.neutral, end, share));
        }
    }
    for (place, colour) in paper.series.iter().enumerate() {
        let _ = write!(text, "--s{place}:{};", hex(*colour));
    }
    text
}

/// The least contrast of text that WCAG 2 (success criterion 1.4.3) accepts.
const CONTRAST: f64 = 4.5;

/// The first ink that can be read on `colour`. Black or white always can.
fn ink(paper: &Paper, colour: u32) -> u32 {
    let mut inks = paper.inks.into_iter();
    let readable = inks.find(|ink| contrast(*ink, colour) >= CONTRAST);
    readable.unwrap_or(paper.inks[0])
}

/// The contrast ratio of WCAG 2.
fn contrast(a: u32, b: u32) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance(colour: u32) -> f64 {
    let [red, green, blue] = linear(colour);
    0.2126 * red + 0.7152 * green + 0.0722 * blue
}

fn hex(colour: u32) -> String {
    format!("#{colour:06x}")
}

/// Mixes two colours in OKLab (Björn Ottosson 2020), where equal steps look equal.
fn mix(from: u32, to: u32, share: f64) -> u32 {
    let (from, to) = (to_oklab(from), to_oklab(to));
    let between = |place: usize| from[place] + share * (to[place] - from[place]);
    from_oklab([between(0), between(1), between(2)])
}

/// Red, green and blue of sRGB, proportional to light.
fn linear(colour: u32) -> [f64; 3] {
    [16, 8, 0].map(|shift| {
        let value = f64::from(colour >> shift & 0xff) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    })
}

fn to_oklab(colour: u32) -> [f64; 3] {
    let [r, g, b] = linear(colour);
    let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
    let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
    let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
    [
        0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
        1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
        0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
    ]
}

fn from_oklab([lightness, a, b]: [f64; 3]) -> u32 {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let channel = |value: f64| {
        let value = value.clamp(0.0, 1.0);
        let value = if value <= 0.003_130_8 {
            12.92 * value
        } else {
            1.055 * value.powf(1.0 / 2.4) - 0.055
        };
        (value * 255.0).round() as u32
    };
    let red = channel(4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s);
    let green = channel(-1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s);
    let blue = channel(-0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s);
    red << 16 | green << 8 | blue
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_survive_the_round_trip_and_meet_at_the_ends() {
        for colour in [
            LIGHT.neutral,
            LIGHT.loss,
            LIGHT.gain,
            DARK.loss,
            0x000000,
            0xffffff,
        ] {
            assert_eq!(from_oklab(to_oklab(colour)), colour);
            assert_eq!(mix(0x123456, colour, 1.0), colour);
        }
    }

    #[test]
    fn every_number_can_be_read_on_its_colour() {
        assert!(
            (contrast(0x777777, 0xffffff) - 4.478).abs() < 1e-3,
            "as WebAIM computes it"
        );
        for paper in [&LIGHT, &DARK] {
            for end in [paper.loss, paper.gain] {
                for step in 0..=STEPS {
                    let colour = mix(paper.neutral, end, step as f64 / STEPS as f64);
                    assert!(
                        contrast(ink(paper, colour), colour) >= CONTRAST,
                        "{colour:06x}"
                    );
                }
            }
        }
    }

    #[test]
    fn differences_take_their_side() {
        assert_eq!(class(-20.0, 20.0), "n10");
        assert_eq!(class(0.4, 20.0), "z");
        assert_eq!(class(99.0, 20.0), "p10");
        assert_eq!(class(1.0, 0.0), "z");
        assert_eq!(limit([3.0, -17.2].into_iter()), 20.0);
    }
}
