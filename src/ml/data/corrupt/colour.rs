//! Brightness and contrast.

use super::canvas::Canvas;

/// Adds `amount` to the value (the largest channel) in HSV; keeps hue and saturation.
pub fn brighter(mut clean: Canvas, amount: f64) -> Canvas {
    for pixel in clean.pixels() {
        let largest = pixel.iter().copied().fold(0.0, f64::max);
        let value = (largest + amount).clamp(0.0, 1.0);
        for channel in pixel {
            // Hue and saturation determine the ratios of the channels; black has neither and
            // becomes grey.
            *channel = match largest > 0.0 {
                true => *channel / largest * value,
                false => value,
            };
        }
    }
    clean
}

/// Moves every channel towards its mean over the image.
pub fn flatter(mut clean: Canvas, share: f64) -> Canvas {
    let count = (clean.side * clean.side) as f64;
    let means = [0, 1, 2].map(|channel| {
        let values = clean.values.iter().skip(channel).step_by(3);
        values.sum::<f64>() / count
    });
    for pixel in clean.pixels() {
        for (value, mean) in pixel.iter_mut().zip(means) {
            *value = (*value - mean) * share + mean;
        }
    }
    clean
}
