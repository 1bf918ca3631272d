//! Corruptions that displace the image.

use super::canvas::{BorderMode, Canvas, Plane};
use crate::rng::Stream;

/// The mean of the image and of enlargements of its centre.
pub fn zoom_blur(clean: &Canvas, level: usize) -> Canvas {
    let (count, step) = [(12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)][level];
    // In f32, as the original; the factors are numpy's `arange`.
    let zoomed = |plane: Plane| {
        let mut sums = vec![0f32; plane.values.len()];
        for index in 0..count {
            let larger = enlarged(&plane, 1.0 + f64::from(index) * step);
            for (sum, value) in sums.iter_mut().zip(&larger.values) {
                *sum += *value as f32;
            }
        }
        let mean = |(own, sum): (&f64, f32)| f64::from((*own as f32 + sum) / (count + 1) as f32);
        Plane {
            values: plane.values.iter().zip(sums).map(mean).collect(),
            side: plane.side,
        }
    };
    clean.by_plane(zoomed)
}

/// The centre of `plane` enlarged by `factor`, bilinear, cropped to the same size.
pub fn enlarged(plane: &Plane, factor: f64) -> Plane {
    let side = plane.side;
    let part = libm::ceil(side as f64 / factor) as usize;
    let from = (side - part) / 2;
    let large = libm::rint(part as f64 * factor) as usize;
    let scale = match large {
        0 | 1 => 0.0,
        large => (part - 1) as f64 / (large - 1) as f64,
    };
    let cut = large.saturating_sub(side) / 2;
    let place = |at: usize| {
        let at = (at + cut) as f64 * scale;
        let low = (at.floor() as usize).min(part - 1);
        let high = (low + 1).min(part - 1);
        (from + low, from + high, at - low as f64)
    };
    let places: Vec<(usize, usize, f64)> = (0..side).map(place).collect();
    let mut values = Vec::with_capacity(side * side);
    for (top, bottom, down) in &places {
        for (left, right, across) in &places {
            let value = |row: usize, column: usize| plane.values[row * side + column];
            let upper = value(*top, *left) * (1.0 - across) + value(*top, *right) * across;
            let lower = value(*bottom, *left) * (1.0 - across) + value(*bottom, *right) * across;
            values.push(upper * (1.0 - down) + lower * down);
        }
    }
    Plane { values, side }
}

/// A small random affine map, then smooth random displacements.
pub fn elastic(clean: &Canvas, level: usize, stream: &mut Stream) -> Canvas {
    let (strength, sigma, shift) = [
        (488.0, 170.8, 24.4),
        (488.0, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    ][level];
    let side = clean.side;
    let back = inverse_affine(side, shift, stream);
    let bent = clean.by_plane(|plane| {
        sampled(&plane, BorderMode::Mirror101, |row, column| {
            let at = |line: [f64; 3]| line[0] * column + line[1] * row + line[2];
            (at(back[1]), at(back[0]))
        })
    });
    let mut field = || {
        let values = (0..side * side).map(|_| stream.range(-1.0, 1.0)).collect();
        let noise = Plane { values, side };
        let smooth = noise.gaussian(sigma, 3.0, BorderMode::Mirror);
        let values = smooth.values.iter().map(|value| value * strength);
        values.collect::<Vec<f64>>()
    };
    let (right, down) = (field(), field());
    bent.by_plane(|plane| {
        sampled(&plane, BorderMode::Mirror, |row, column| {
            let index = row as usize * side + column as usize;
            (row + down[index], column + right[index])
        })
    })
}

/// The plane sampled at the positions that `place` gives for each row and column.
fn sampled(plane: &Plane, beyond: BorderMode, place: impl Fn(f64, f64) -> (f64, f64)) -> Plane {
    let side = plane.side;
    let value = |index: usize| {
        let (row, column) = place((index / side) as f64, (index % side) as f64);
        plane.between(row, column, beyond)
    };
    Plane {
        values: (0..side * side).map(value).collect(),
        side,
    }
}

/// The source position of a position in the result, x and y as rows of [x, y, 1]: the inverse of
/// the map that moves three points around the centre by up to `shift`.
fn inverse_affine(side: usize, shift: f64, stream: &mut Stream) -> [[f64; 3]; 2] {
    let centre = (side / 2) as f64;
    let reach = (side / 3) as f64;
    let points = [
        [centre + reach, centre + reach],
        [centre + reach, centre - reach],
        [centre - reach, centre - reach],
    ];
    let moved = points.map(|point| point.map(|value| value + stream.range(-shift, shift)));
    // Solves for the map from the moved points to the original ones by Cramer's rule.
    let [p, q, r] = moved;
    let determinant = p[0] * (q[1] - r[1]) + q[0] * (r[1] - p[1]) + r[0] * (p[1] - q[1]);
    [0, 1].map(|axis| {
        let [a, b, c] = points.map(|point| point[axis]);
        [
            (a * (q[1] - r[1]) + b * (r[1] - p[1]) + c * (p[1] - q[1])) / determinant,
            (a * (r[0] - q[0]) + b * (p[0] - r[0]) + c * (q[0] - p[0])) / determinant,
            (a * (q[0] * r[1] - r[0] * q[1])
                + b * (r[0] * p[1] - p[0] * r[1])
                + c * (p[0] * q[1] - q[0] * p[1]))
                / determinant,
        ]
    })
}
