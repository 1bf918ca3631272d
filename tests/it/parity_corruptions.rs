//! ImageNet-C's corruptions: the same pictures where they are deterministic, the same statistics
//! where they are not. Both need the photographs that only `RIBFLOW_FIXTURES` has; a fresh clone
//! checks what needs none.

use std::fs;
use std::path::PathBuf;

use ribflow::ml::data::corrupt::{Corruption, Recipe, SIDE, corrupt, motion, procedural_frost};
use ribflow::ml::data::decode::decode;
use ribflow::ml::data::encode::jpeg;
use ribflow::ml::data::picture::Picture;
use ribflow::rng::Stream;
use serde_json::Value;

use crate::{fixtures, rule};

fn folder() -> PathBuf {
    fixtures::folder().join("parity")
}

fn picture(path: &str) -> Option<Picture> {
    let bytes = fs::read(folder().join(path)).ok()?;
    Some(decode(&bytes).unwrap())
}

fn spoilt(clean: &Picture, name: &str, severity: usize, seed: u64) -> Picture {
    let corruption: Corruption = serde_json::from_value(name.into()).unwrap();
    let frost = match corruption {
        Corruption::Frost => procedural_frost(0),
        _ => Vec::new(),
    };
    let recipe = Recipe {
        corruption,
        severity,
        textures: &frost,
    };
    let mut stream = Stream::new(seed, &format!("test/{name}/{severity}"));
    corrupt(clean, &recipe, &mut stream).unwrap()
}

/// The share of values that differ, and the largest difference.
fn difference(a: &Picture, b: &Picture) -> (f64, u8) {
    assert_eq!(a.pixels.len(), b.pixels.len());
    let gaps = a.pixels.iter().zip(&b.pixels).map(|(a, b)| a.abs_diff(*b));
    let gaps: Vec<u8> = gaps.collect();
    let off = gaps.iter().filter(|gap| **gap > 0).count();
    (
        off as f64 / gaps.len() as f64,
        gaps.into_iter().max().unwrap(),
    )
}

/// The table of the original generator; `None` where another folder than this repository's has
/// none.
fn statistics_table() -> Option<Value> {
    let Ok(bytes) = fs::read(folder().join("corruptions/stats_imagenet_c.json")) else {
        assert_ne!(fixtures::folder(), fixtures::copies());
        return None;
    };
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// The picture that the table's `image` was corrupted from, where it is there.
fn clean_picture(table: &Value, image: &str) -> Option<Picture> {
    let stated = table["input"].as_str().unwrap();
    let path = stated.split(' ').next().unwrap();
    picture(&path.replace("<image>", image))
}

/// What ribflow makes of the picture `file`, the share of values that may differ, and by how much.
fn made_again(table: &Value, file: &str) -> (Picture, f64, u8) {
    let clean = |image: &str| {
        clean_picture(table, image).unwrap_or_else(|| panic!("{file}: no clean picture"))
    };
    let name = file.strip_suffix(".png").unwrap();
    let fixed = &table["motion_fixed"][file];
    if fixed.is_object() {
        let number = |field: &str| fixed[field].as_f64().unwrap();
        let (image, _) = name.rsplit_once('.').unwrap();
        let radius = number("radius") as usize;
        let found = motion(&clean(image), radius, number("sigma"), number("angle"));
        // The rule itself differs from ImageMagick on 0.2 % of the values.
        return (found, 0.0025, 1);
    }
    let (rest, severity) = name.rsplit_once('.').unwrap();
    let (image, corruption) = rest.rsplit_once('.').unwrap();
    let found = spoilt(&clean(image), corruption, severity.parse().unwrap(), 0);
    // Rounding in colour spaces and in f32 may fall on the other side of a byte.
    match corruption {
        "brightness" | "zoom_blur" => (found, 0.02, 1),
        _ => (found, 0.0, 0),
    }
}

#[test]
fn parity_corruptions_that_are_deterministic() {
    let Some(table) = statistics_table() else {
        return;
    };
    let place = folder().join("corruptions/png");
    let mut compared = 0;
    for entry in fs::read_dir(place).into_iter().flatten() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let expected = picture(&format!("corruptions/png/{file}")).unwrap();
        let (found, most_off, most) = made_again(&table, &file);
        let (off, largest) = difference(&found, &expected);
        assert!(
            off <= most_off && largest <= most,
            "{file}: {off} differ, by up to {largest}"
        );
        compared += 1;
    }
    println!("{compared} pictures compared");
}

/// Mean, deviation, PSNR against the clean picture, mean absolute step right and down.
fn statistics(picture: &Picture, clean: &Picture) -> [f64; 5] {
    let count = picture.pixels.len() as f64;
    let value = |index: usize| f64::from(picture.pixels[index]);
    let mean = (0..picture.pixels.len()).map(value).sum::<f64>() / count;
    let variance = (0..picture.pixels.len()).map(|it| (value(it) - mean).powi(2));
    let error: f64 = (picture.pixels.iter().zip(&clean.pixels))
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    let psnr = match error > 0.0 {
        true => 10.0 * (255.0f64.powi(2) / (error / count)).log10(),
        false => 99.0,
    };
    let (width, height) = (picture.width, picture.height);
    let step = |row: usize, column: usize, down: usize, right: usize| -> f64 {
        let at = |row: usize, column: usize| 3 * (row * width + column);
        let (a, b) = (at(row, column), at(row + down, column + right));
        (0..3)
            .map(|channel| (value(a + channel) - value(b + channel)).abs())
            .sum()
    };
    let (mut across, mut along) = (0.0, 0.0);
    for row in 0..height {
        for column in 0..width {
            if column + 1 < width {
                across += step(row, column, 0, 1);
            }
            if row + 1 < height {
                along += step(row, column, 1, 0);
            }
        }
    }
    let pairs = |a: usize, b: usize| (3 * a * (b - 1)) as f64;
    [
        mean,
        (variance.sum::<f64>() / count).sqrt(),
        psnr,
        across / pairs(height, width),
        along / pairs(width, height),
    ]
}

#[test]
fn parity_corruptions_have_the_same_statistics() {
    let Some(table) = statistics_table() else {
        return;
    };
    for (image, cases) in table["images"].as_object().unwrap() {
        let Some(clean) = clean_picture(&table, image) else {
            continue;
        };
        for (case, expected) in cases["c"].as_object().unwrap() {
            let (name, severity) = case.split_once('/').unwrap();
            if name == "frost" {
                continue; // Its photographs are not ours to have.
            }
            let severity: usize = severity.parse().unwrap();
            let number = |field: &str, column: usize| expected[field][column].as_f64().unwrap();
            let theirs = expected["n"].as_u64().unwrap();
            let seeds = theirs.min(6);
            let mut means = [0.0; 5];
            let mut after = [0.0; 5];
            for seed in 0..seeds {
                let found = spoilt(&clean, name, severity, seed);
                let saved = decode(&jpeg(&found, 85).unwrap()).unwrap();
                let (own, own_after) = (statistics(&found, &clean), statistics(&saved, &clean));
                for column in 0..5 {
                    means[column] += own[column] / seeds as f64;
                    after[column] += own_after[column] / seeds as f64;
                }
            }
            for column in 0..5 {
                for (field, spread, found) in [
                    ("mean", "sd", means[column]),
                    ("jpeg85_mean", "jpeg85_sd", after[column]),
                ] {
                    let exact = number(field, column);
                    let spread = number(spread, column);
                    // The mean of ours against the mean of theirs, and a percent for other
                    // roundings.
                    let share = 1.0 / seeds as f64 + 1.0 / theirs as f64;
                    let most = 3.0 * spread * share.sqrt() + 0.01 * exact.abs();
                    assert!(
                        (found - exact).abs() <= most,
                        "{image} {case}, column {column} of {field}: {found} for {exact} ± {spread}"
                    );
                }
            }
        }
    }
}

fn made() -> Picture {
    // Smooth in places, so that blurs have something to keep.
    let noise = rule::values("corruption.clean", SIDE * SIDE, 0.0, 1.0);
    let pixel = |(index, noise): (usize, f32)| {
        let (row, column) = (index / SIDE, index % SIDE);
        let base = 96 + 64 * usize::from((row / 40 + column / 56) % 2 == 0);
        let wave = (row + 2 * column) % 48;
        [base + wave, base, 255 - base - wave].map(|it| (it as f32 + 8.0 * noise) as u8)
    };
    Picture {
        pixels: noise.into_iter().enumerate().flat_map(pixel).collect(),
        width: SIDE,
        height: SIDE,
    }
}

const NAMES: [&str; 15] = [
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
];

#[test]
fn parity_corruptions_grow_with_severity_and_follow_their_seed() {
    let clean = made();
    for name in NAMES {
        let psnr = |severity: usize, seed: u64| {
            statistics(&spoilt(&clean, name, severity, seed), &clean)[2]
        };
        let (mild, strong) = (psnr(1, 0), psnr(5, 0));
        // Elastic severities 1 and 2 are large and smooth, 3 to 5 small and rough; frost darkens
        // what it covers, so that a bright picture suffers least from most of it.
        if !["elastic_transform", "frost"].contains(&name) {
            assert!(mild > strong, "{name}: {mild} dB, then {strong} dB");
        }
        assert!(mild < 60.0 && strong > 3.0, "{name}: {mild} to {strong} dB");
        assert_eq!(
            spoilt(&clean, name, 3, 1).pixels,
            spoilt(&clean, name, 3, 1).pixels,
            "{name}"
        );
    }
}

/// Pinned: another result under the same key would be another dataset.
#[test]
fn parity_corruptions_are_pinned() {
    let clean = made();
    let digest = |name: &str| {
        let all: Vec<u8> = [1, 4]
            .into_iter()
            .flat_map(|severity| spoilt(&clean, name, severity, 7).pixels)
            .collect();
        ribflow::digest::Digest::of(&all).short().to_string()
    };
    let found: Vec<String> = NAMES
        .iter()
        .map(|name| format!("{name} {}", digest(name)))
        .collect();
    insta::assert_snapshot!(found.join("\n"));
}
