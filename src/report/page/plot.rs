//! Shared by the figures: scales, round tick marks, coordinates as text, text widths.

/// A linear map from values to pixels.
#[derive(Clone, Copy)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    /// Maps `low..high` to the pixels `from..to`; an empty range is widened.
    pub fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (low, high) = if high > low {
            (low, high)
        } else {
            (low - 0.5, low + 0.5)
        };
        Self {
            low,
            high,
            from,
            to,
        }
    }

    pub fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// About `count` round values inside the range.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        let step = round_step((self.high - self.low) / count.max(1) as f64);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|place| place as f64 * step).collect()
    }
}

/// The smallest of 1, 2, 5 times a power of ten that is at least `step`.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    let choices = [1.0, 2.0, 5.0, 10.0];
    let choice = choices
        .into_iter()
        .find(|choice| choice * power >= step * (1.0 - 1e-9));
    choice.unwrap_or(10.0) * power
}

/// The label of a tick mark: as few decimals as its step needs, a true minus sign.
pub fn tick_label(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    let rounded = if rounded == 0.0 { 0.0 } else { rounded };
    rounded.to_string().replace('-', "\u{2212}")
}

/// A coordinate to a tenth of a pixel.
pub fn px(value: f64) -> String {
    let rounded = (value * 10.0).round() / 10.0;
    let rounded = if rounded == 0.0 { 0.0 } else { rounded };
    rounded.to_string()
}

/// The approximate width of `text` at `size` pixels in a sans-serif font.
pub fn width(text: &str, size: f64) -> f64 {
    let ems: f64 = text
        .chars()
        .map(|letter| match letter {
            'i' | 'j' | 'l' | '.' | ',' | '|' | '\'' | ' ' | ':' => 0.28,
            'f' | 't' | 'r' | '(' | ')' | '-' | '·' => 0.36,
            'm' | 'w' | 'M' | 'W' | '@' => 0.86,
            'A'..='Z' => 0.67,
            _ => 0.56,
        })
        .sum();
    ems * size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(
            Scale::new(-7.6, 1.2, 0.0, 100.0).ticks(5),
            [-6.0, -4.0, -2.0, 0.0]
        );
        assert_eq!(Scale::new(0.0, 0.31, 0.0, 1.0).ticks(3).len(), 2);
        assert_eq!(tick_label(-0.30000000000000004), "\u{2212}0.3");
        assert_eq!(tick_label(-0.0), "0");
        assert_eq!(px(1.0 / 3.0), "0.3");
    }
}
