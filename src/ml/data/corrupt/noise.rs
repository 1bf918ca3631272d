//! Pixel-wise noise.

use super::canvas::Canvas;
use crate::rng::Stream;

pub fn gaussian(mut clean: Canvas, deviation: f64, stream: &mut Stream) -> Canvas {
    for value in &mut clean.values {
        *value += deviation * stream.normal();
    }
    clean
}

/// Poisson noise of `photons` at full brightness.
pub fn shot(mut clean: Canvas, photons: f64, stream: &mut Stream) -> Canvas {
    for value in &mut clean.values {
        *value = poisson(*value * photons, stream) / photons;
    }
    clean
}

/// By multiplying uniform numbers (Knuth), for means of up to some dozens.
fn poisson(mean: f64, stream: &mut Stream) -> f64 {
    let limit = libm::exp(-mean);
    let mut product = stream.uniform();
    let mut count = 0.0;
    while product > limit {
        product *= stream.uniform();
        count += 1.0;
    }
    count
}

/// Sets a share `amount` of the values to 0 or 1 with equal probability.
pub fn impulse(mut clean: Canvas, amount: f64, stream: &mut Stream) -> Canvas {
    for value in &mut clean.values {
        if stream.uniform() < amount {
            *value = if stream.uniform() < 0.5 { 1.0 } else { 0.0 };
        }
    }
    clean
}
