//! A mean with its 95 % interval over repeats.

use super::scale::{back, scaled};
use super::student;

/// The mean of `n` repeats, in the unit of the samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub mean: f64,
    pub n: u64,
    /// `mean ± t · s / √n` with the unbiased standard deviation `s` and Student's two-sided 95 %
    /// quantile `t` for n - 1 degrees of freedom; `None` for a single repeat.
    pub interval: Option<[f64; 2]>,
}

/// The estimate from independent repeats of one finite number; `None` if there are none.
///
/// Sums in the given order, which affects the last bits.
pub fn estimate(samples: &[f64]) -> Option<Estimate> {
    let (samples, exponent) = scaled(samples);
    let mean = sum_over_count(&samples)?;
    let n = samples.len() as u64;
    let interval = (n > 1).then(|| {
        let squares: f64 = samples.iter().map(|x| (x - mean) * (x - mean)).sum();
        let error = libm::sqrt(squares / ((n - 1) * n) as f64);
        let half = student::two_sided_quantile(0.05, n - 1) * error;
        [mean - half, mean + half].map(|end| back(end, exponent))
    });
    let mean = back(mean, exponent);
    Some(Estimate { mean, n, interval })
}

impl Estimate {
    /// The standard deviation `s` of the repeats, from the interval; `None` for a single one.
    pub fn deviation(&self) -> Option<f64> {
        let [low, high] = self.interval.filter(|_| self.n > 1)?;
        let error = (high - low) / 2.0 / student::two_sided_quantile(0.05, self.n - 1);
        Some(error * libm::sqrt(self.n as f64))
    }
}

/// The arithmetic mean; `None` if there are no samples.
pub fn mean(samples: &[f64]) -> Option<f64> {
    let (samples, exponent) = scaled(samples);
    Some(back(sum_over_count(&samples)?, exponent))
}

fn sum_over_count(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repeat_has_no_interval_and_equal_repeats_a_point() {
        assert_eq!(estimate(&[]), None);
        assert_eq!(estimate(&[3.0]).unwrap().interval, None);
        assert_eq!(estimate(&[2.5; 4]).unwrap().interval, Some([2.5, 2.5]));
    }

    /// scipy.stats.t.interval(0.95, 4, loc=mean, scale=sem) of 1..5.
    #[test]
    fn the_interval_is_students() {
        let found = estimate(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        let [low, high] = found.interval.unwrap();
        assert_eq!(found.mean, 3.0);
        assert!((low - 1.036_756_838_522_439).abs() < 1e-9, "{low}");
        assert!((high - 4.963_243_161_477_561).abs() < 1e-9, "{high}");
        let deviation = found.deviation().unwrap();
        assert!((deviation - 2.5f64.sqrt()).abs() < 1e-12, "{deviation}");
    }
}
