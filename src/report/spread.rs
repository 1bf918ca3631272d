//! Several observations of one quantity: their mean and how far it can be trusted.

/// The mean of some observations, with a 95 % interval where there are at least two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub mean: f64,
    pub count: usize,
    /// Student's t interval of the mean.
    pub interval: Option<[f64; 2]>,
}

impl Spread {
    /// `None` where nothing was observed.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() {
            return None;
        }
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count as f64;
        let interval = (count > 1).then(|| {
            let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
            let error = (squares / (count - 1) as f64 / count as f64).sqrt();
            let reach = student_975(count - 1) * error;
            [mean - reach, mean + reach]
        });
        Some(Self {
            mean,
            count,
            interval,
        })
    }
}

/// The 97.5 % quantile of Student's t (exact to three decimals up to ten degrees of freedom, then
/// by the expansion of Abramowitz and Stegun 26.7.5).
fn student_975(degrees: usize) -> f64 {
    const EXACT: [f64; 10] = [
        12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004,
        2.262_157, 2.228_139,
    ];
    if let Some(exact) = degrees.checked_sub(1).and_then(|place| EXACT.get(place)) {
        return *exact;
    }
    let (z, v) = (1.959_963_985_f64, degrees as f64);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / v + second / v.powi(2) + third / v.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interval_of_the_mean() {
        // R: t.test(c(1, 2, 3, 4))$conf.int
        let spread = Spread::of(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        let [low, high] = spread.interval.unwrap();
        assert!((low - 0.445_739_7).abs() < 1e-6 && (high - 4.554_260_3).abs() < 1e-6);
        assert_eq!(Spread::of(&[2.5]).unwrap().interval, None);
        assert_eq!(Spread::of(&[]), None);
        // R: qt(0.975, 11), qt(0.975, 30)
        assert!((student_975(11) - 2.200_985).abs() < 1e-4);
        assert!((student_975(30) - 2.042_272).abs() < 1e-5);
    }
}
