//! Weather: fog and ice from a fractal, snow from noise.

use super::blur::motion;
use super::canvas::{Canvas, Plane};
use super::warp::enlarged;
use crate::data::picture::Picture;
use crate::rng::Stream;

/// A fractal cloud over the image, whose maximum is preserved.
pub fn fog(mut clean: Canvas, amount: f64, decay: f64, stream: &mut Stream) -> Canvas {
    let side = clean.side;
    let size = side.next_power_of_two();
    let cloud = plasma(size, decay, stream);
    let largest = clean.values.iter().copied().fold(0.0, f64::max);
    let share = largest / (largest + amount);
    for (index, pixel) in clean.pixels().enumerate() {
        let thick = amount * cloud[index / side * size + index % side];
        for value in pixel {
            *value = (*value + thick) * share;
        }
    }
    clean
}

/// Diamond-square on a torus (Fournier, Fussell and Carpenter 1982), `size` a power of two; the
/// noise of each level is that of the level before divided by `decay`. From 0 to 1.
pub fn plasma(size: usize, decay: f64, stream: &mut Stream) -> Vec<f64> {
    let mut map = vec![0.0; size * size];
    let mut step = size;
    let mut wobble = 100.0;
    while step >= 2 {
        let half = step / 2;
        let at = |row: usize, column: usize| row % size * size + column % size;
        let mut noise = |sum: f64| sum / 4.0 + wobble * stream.range(-wobble, wobble);
        for row in (0..size).step_by(step) {
            for column in (0..size).step_by(step) {
                let sum = map[at(row, column)]
                    + map[at(row + step, column)]
                    + map[at(row, column + step)]
                    + map[at(row + step, column + step)];
                map[at(row + half, column + half)] = noise(sum);
            }
        }
        for row in (0..size).step_by(step) {
            for column in (0..size).step_by(step) {
                let corner = map[at(row, column)];
                let centre = map[at(row + half, column + half)];
                let above = map[at(row + size - half, column + half)];
                let left = map[at(row + half, column + size - half)];
                let sideways = corner + map[at(row, column + step)] + centre + above;
                map[at(row, column + half)] = noise(sideways);
                let upright = corner + map[at(row + step, column)] + centre + left;
                map[at(row + half, column)] = noise(upright);
            }
        }
        step = half;
        wobble /= decay;
    }
    let low = map.iter().copied().fold(f64::INFINITY, f64::min);
    let high = map.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let span = (high - low).max(f64::MIN_POSITIVE);
    map.into_iter().map(|value| (value - low) / span).collect()
}

/// Flakes from thresholded noise, blurred in the direction of the wind, on a whitened image.
pub fn snow(mut clean: Canvas, level: usize, stream: &mut Stream) -> Canvas {
    let (mean, deviation, zoom, least, radius, sigma, mix) = [
        (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
        (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
        (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
    ][level];
    let side = clean.side;
    let values = (0..side * side).map(|_| mean + deviation * stream.normal());
    let noise = Plane {
        values: values.collect(),
        side,
    };
    let flake = |value: &f64| match *value < least {
        true => 0,
        false => (value.clamp(0.0, 1.0) * 255.0) as u8,
    };
    let flakes = enlarged(&noise, zoom);
    let flakes = Picture {
        pixels: flakes.values.iter().flat_map(|it| [flake(it); 3]).collect(),
        width: side,
        height: side,
    };
    let flakes = motion(&flakes, radius, sigma, stream.range(-135.0, -45.0));
    let layer = |index: usize| f64::from(flakes.pixels[3 * index]) / 255.0;
    let last = side * side - 1;
    for (index, pixel) in clean.pixels().enumerate() {
        let grey = 0.299 * pixel[0] + 0.587 * pixel[1] + 0.114 * pixel[2];
        for value in pixel {
            let white = value.max(1.5 * grey + 0.5);
            let mixed = mix * *value + (1.0 - mix) * white;
            *value = mixed + layer(index) + layer(last - index);
        }
    }
    clean
}

/// A procedural texture of ice.
pub fn ice(size: usize, stream: &mut Stream) -> Picture {
    let coarse = plasma(size, 1.9, stream);
    let fine = plasma(size, 1.5, stream);
    let pixel = |(coarse, fine): (f64, f64)| {
        // Ridges where the coarse cloud crosses its middle, broken up by the fine one.
        let ridge = 1.0 - (2.0 * coarse - 1.0).abs();
        let bright = 0.25 + 0.75 * ridge * ridge * ridge * ridge * fine + 0.25 * (fine - 0.5);
        [0.88, 0.95, 1.0].map(|tint: f64| ((bright * tint).clamp(0.0, 1.0) * 255.0) as u8)
    };
    Picture {
        pixels: coarse.into_iter().zip(fine).flat_map(pixel).collect(),
        width: size,
        height: size,
    }
}
