//! Pencil texture (section 3.3): the number of pattern layers that gives a tone.

use super::Pattern;
use super::plane::{Plane, Tap};
use crate::rng::Stream;

/// λ of equation 9: how smooth the number of layers is.
const SMOOTHNESS: f64 = 0.2;
const ITERATIONS: usize = 60;
/// Darkens the texture.
const POWER: f64 = 1.5;
/// Side of the procedural pattern.
const SIDE: usize = 256;

/// `tone` rendered in `pattern`: H^β to the power 1.5, where β minimises
/// ‖β·ln H − ln J‖² + λ‖∇β‖² (equation 9), by conjugate gradients.
pub(super) fn rendered(tone: &Plane, pattern: &Plane) -> Plane {
    let ink = tiled(pattern, tone).map(logarithm);
    let wanted = tone.map(logarithm);
    let layers = layers(&ink, &wanted);
    let values = ink.values.iter().zip(&layers);
    Plane {
        values: values
            .map(|(ink, layers)| libm::exp(POWER * layers * ink).clamp(0.0, 1.0))
            .collect(),
        width: tone.width,
        height: tone.height,
    }
}

/// The logarithm of at least half a grey level.
fn logarithm(value: f64) -> f64 {
    libm::log(value.clamp(0.5 / 255.0, 1.0))
}

/// The pattern repeated over the size of `like`.
fn tiled(pattern: &Plane, like: &Plane) -> Plane {
    let value = |pixel: usize| {
        let (y, x) = (
            pixel / like.width % pattern.height,
            pixel % like.width % pattern.width,
        );
        pattern.values[y * pattern.width + x]
    };
    Plane {
        values: (0..like.values.len()).map(value).collect(),
        width: like.width,
        height: like.height,
    }
}

/// Solves for β, starting from one layer everywhere.
fn layers(ink: &Plane, wanted: &Plane) -> Vec<f64> {
    let system = |beta: &[f64]| -> Vec<f64> {
        let roughness = laplacian(beta, ink.width, ink.height);
        let terms = beta.iter().zip(&ink.values).zip(roughness);
        terms
            .map(|((beta, ink), rough)| ink * ink * beta + SMOOTHNESS * rough)
            .collect()
    };
    let mut beta = vec![1.0; ink.values.len()];
    let right = ink.values.iter().zip(&wanted.values).map(|(a, b)| a * b);
    let mut residual: Vec<f64> = right.zip(system(&beta)).map(|(b, ax)| b - ax).collect();
    let mut direction = residual.clone();
    let mut squares = dot(&residual, &residual);
    let enough = 1e-20 * ink.values.len() as f64;
    for _ in 0..ITERATIONS {
        if squares <= enough {
            break;
        }
        let image = system(&direction);
        let step = squares / dot(&direction, &image);
        add(&mut beta, step, &direction);
        add(&mut residual, -step, &image);
        let before = std::mem::replace(&mut squares, dot(&residual, &residual));
        let share = squares / before;
        let pairs = direction.iter_mut().zip(&residual);
        pairs.for_each(|(direction, residual)| *direction = residual + share * *direction);
    }
    beta
}

/// ∇ᵀ∇ with forward differences to the right and down.
fn laplacian(values: &[f64], width: usize, height: usize) -> Vec<f64> {
    let mut sums = vec![0.0; values.len()];
    let mut pair = |a: usize, b: usize| {
        let difference = values[a] - values[b];
        sums[a] += difference;
        sums[b] -= difference;
    };
    for y in 0..height {
        for x in 0..width {
            let here = y * width + x;
            if x + 1 < width {
                pair(here, here + 1);
            }
            if y + 1 < height {
                pair(here, here + width);
            }
        }
    }
    sums
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, values: &[f64]) {
    let pairs = to.iter_mut().zip(values);
    pairs.for_each(|(to, value)| *to += factor * value);
}

/// ribflow's own graphite pattern, if no other is given: grain, stretched along a diagonal. It is
/// not the dataset's.
pub fn procedural_pattern() -> Pattern {
    let mut stream = Stream::new(0, "pencil pattern");
    let grain = Plane {
        values: (0..SIDE * SIDE).map(|_| stream.normal()).collect(),
        width: SIDE,
        height: SIDE,
    };
    let reach = 4;
    let tap = |step: isize| Tap {
        down: -step,
        across: step,
        weight: 1.0 / (2 * reach + 1) as f64,
    };
    let taps: Vec<Tap> = (-reach..=reach).map(tap).collect();
    let drawn = grain.filtered(&taps);
    let pairs = drawn.values.iter().zip(&grain.values);
    let values = pairs.map(|(drawn, grain)| (0.8 + 0.2 * drawn + 0.03 * grain).clamp(0.35, 0.98));
    Pattern(Plane {
        values: values.collect(),
        width: SIDE,
        height: SIDE,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(width: usize, height: usize, value: impl Fn(usize, usize) -> f64) -> Plane {
        let pixel = |at: usize| value(at % width, at / width);
        Plane {
            values: (0..width * height).map(pixel).collect(),
            width,
            height,
        }
    }

    #[test]
    fn layers_solve_the_equation() {
        let ink = plane(9, 7, |x, y| {
            logarithm(0.6 + 0.03 * ((x * 5 + y * 3) % 11) as f64)
        });
        let wanted = plane(9, 7, |x, y| logarithm(0.2 + 0.008 * (x * y) as f64));
        let beta = layers(&ink, &wanted);
        // The gradient of the objective vanishes.
        let rough = laplacian(&beta, 9, 7);
        for pixel in 0..beta.len() {
            let data = ink.values[pixel] * (beta[pixel] * ink.values[pixel] - wanted.values[pixel]);
            assert!((data + SMOOTHNESS * rough[pixel]).abs() < 1e-8, "{pixel}");
        }
    }

    #[test]
    fn a_flat_pattern_gives_the_tone() {
        let pattern = plane(4, 4, |_, _| 0.7);
        let tone = plane(12, 10, |_, _| 0.4);
        let drawn = rendered(&tone, &pattern);
        let expected = 0.4f64.powf(POWER);
        assert!(drawn.values.iter().all(|it| (it - expected).abs() < 1e-9));
    }
}
