//! Brightness and contrast.

use super::canvas::Canvas;

/// `amount` is added to the value (the largest channel) in HSV; hue and saturation stay.
pub fn brighter(mut clean: Canvas, amount: f64) -> Canvas {
    for pixel in clean.pixels() {
        let largest = pixel.iter().copied().fold(0.0, f64::max);
        let value = (largest + amount).clamp(0.0, 1.0);
        for channel in pixel {
            // Hue and saturation fix the ratios of the channels; black has none and turns grey.
            *channel = match largest > 0.0 {
                true => *channel / largest * value,
                false => value,
            };
        }
    }
    clean
}

/// Every channel drawn towards its mean over the picture.
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
