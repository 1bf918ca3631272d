//! Blurs that do not displace the image.

use super::canvas::{BorderMode, Canvas, Plane, gaussian_weights};
use crate::data::picture::Picture;
use crate::rng::Stream;

/// Convolution with a disk whose edge is slightly smoothed.
pub fn defocus(clean: &Canvas, radius: usize, alias: f64) -> Canvas {
    let kernel = disk(radius, alias);
    clean.by_plane(|plane| convolved(&plane, &kernel))
}

/// A disk in a square of at least 17 pixels, blurred by a Gaussian of 3 or 5 pixels; in f32, as the
/// original.
fn disk(radius: usize, alias: f64) -> Plane {
    let (reach, smoothing) = if radius <= 8 { (8, 1) } else { (radius, 2) };
    let side = 2 * reach + 1;
    let inside = |index: usize| {
        let offset = |place: usize| place as isize - reach as isize;
        let (x, y) = (offset(index % side), offset(index / side));
        x * x + y * y <= (radius * radius) as isize
    };
    let count = (0..side * side).filter(|index| inside(*index)).count() as f32;
    let value = |index: usize| if inside(index) { 1.0 / count } else { 0.0 };
    let sharp: Vec<f32> = (0..side * side).map(value).collect();
    let weights = gaussian_weights(alias, smoothing);
    let weights: Vec<f32> = weights.into_iter().map(|weight| weight as f32).collect();
    let blend = |from: &[f32], index: usize, down: bool| {
        let (row, column) = ((index / side) as isize, (index % side) as isize);
        let term = |(offset, weight): (usize, &f32)| {
            let offset = offset as isize - smoothing as isize;
            let (row, column) = match down {
                true => (row + offset, column),
                false => (row, column + offset),
            };
            let row = BorderMode::Mirror101.place(row, side);
            weight * from[row * side + BorderMode::Mirror101.place(column, side)]
        };
        weights.iter().enumerate().map(term).sum::<f32>()
    };
    let across: Vec<f32> = (0..side * side)
        .map(|it| blend(&sharp, it, false))
        .collect();
    let smooth = (0..side * side).map(|it| f64::from(blend(&across, it, true)));
    Plane {
        values: smooth.collect(),
        side,
    }
}

/// Correlation, mirrored at the last value beyond the border.
fn convolved(plane: &Plane, kernel: &Plane) -> Plane {
    let side = plane.side;
    let reach = (kernel.side / 2) as isize;
    let columns: Vec<usize> = (-reach..side as isize + reach)
        .map(|column| BorderMode::Mirror101.place(column, side))
        .collect();
    let mut values = vec![0.0; side * side];
    for (row, target) in values.chunks_exact_mut(side).enumerate() {
        for (down, weights) in kernel.values.chunks_exact(kernel.side).enumerate() {
            let source = BorderMode::Mirror101.place(row as isize + down as isize - reach, side);
            let line = &plane.values[source * side..(source + 1) * side];
            for (right, weight) in weights.iter().enumerate().filter(|it| *it.1 != 0.0) {
                for (value, column) in target.iter_mut().zip(&columns[right..]) {
                    *value += weight * line[*column];
                }
            }
        }
    }
    Plane { values, side }
}

/// Blurs, replaces pixels by nearby ones, and blurs again.
pub fn glass(
    clean: &Canvas,
    sigma: f64,
    reach: usize,
    times: usize,
    stream: &mut Stream,
) -> Canvas {
    let blurred =
        |canvas: &Canvas| canvas.by_plane(|plane| plane.gaussian(sigma, 4.0, BorderMode::Nearest));
    let mut picture = blurred(clean).picture();
    let side = picture.width;
    let mut step = || stream.below(2 * reach as u64) as usize;
    for _ in 0..times {
        for row in (reach + 1..=side - reach).rev() {
            for column in (reach + 1..=side - reach).rev() {
                let (dx, dy) = (step(), step());
                let from = (row + dy - reach) * side + column + dx - reach;
                let to = row * side + column;
                // The original swaps views of one array, which copies in one direction.
                picture.pixels.copy_within(3 * from..3 * from + 3, 3 * to);
            }
        }
    }
    blurred(&Canvas::of(&picture))
}

/// Motion blur along `angle` degrees, as in ImageMagick: a half Gaussian of `sigma` over 2·`radius`
/// + 1 pixels, truncated to bytes.
pub fn motion(picture: &Picture, radius: usize, sigma: f64, angle: f64) -> Picture {
    let places = trail(radius, sigma, angle);
    let (width, height) = (picture.width, picture.height);
    let mut pixels = Vec::with_capacity(picture.pixels.len());
    for row in 0..height {
        for column in 0..width {
            let mut sums = [0.0; 3];
            for (down, right, weight) in &places {
                let row = BorderMode::Nearest.place(row as isize + down, height);
                let column = BorderMode::Nearest.place(column as isize + right, width);
                let from = 3 * (row * width + column);
                for (sum, value) in sums.iter_mut().zip(&picture.pixels[from..from + 3]) {
                    *sum += weight * f64::from(*value);
                }
            }
            // If all values are equal, rounding must not reduce them by a level.
            pixels.extend(sums.map(|sum| (sum + 1e-9).floor().clamp(0.0, 255.0) as u8));
        }
    }
    Picture {
        pixels,
        width,
        height,
    }
}

/// Offsets down and right, with their weights.
fn trail(radius: usize, sigma: f64, angle: f64) -> Vec<(isize, isize, f64)> {
    let width = 2 * radius + 1;
    let weight = |index: usize| {
        let at = index as f64 / sigma;
        libm::exp(-0.5 * at * at)
    };
    let total: f64 = (0..width).map(weight).sum();
    let turn = angle.to_radians();
    let (x, y) = (
        width as f64 * libm::sin(turn),
        width as f64 * libm::cos(turn),
    );
    let length = libm::hypot(x, y);
    let offset = |index: usize, part: f64| libm::ceil(index as f64 * part / length - 0.5) as isize;
    (0..width)
        .map(|index| (offset(index, x), offset(index, y), weight(index) / total))
        .collect()
}
