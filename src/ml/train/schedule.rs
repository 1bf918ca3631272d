//! The learning-rate schedule: a linear warm-up, then half a cosine.

use std::f64::consts::PI;

/// The duration of the warm-up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Warmup {
    /// A share of all steps, in [0, 1).
    Share(f64),
    Steps(u64),
}

impl Warmup {
    /// As written in a workflow: a share below 1, a number of steps from 1 on.
    pub fn written(value: f64) -> Self {
        match value < 1.0 {
            true => Self::Share(value),
            false => Self::Steps(value.round() as u64),
        }
    }

    /// The number of warm-up steps of `total`.
    pub fn steps(self, total: u64) -> u64 {
        match self {
            Self::Share(share) => (share * total as f64).round() as u64,
            Self::Steps(steps) => steps,
        }
    }
}

/// A learning rate for each step.
///
/// As in the benchmark's released code: step t < w has base·(t + 1)/w, the others base/2·(1 +
/// cos(π·(t − w)/(T − w))). So steps w − 1 and w both have the full rate, and the last rate is not
/// 0. If w ≥ T, the rate only rises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    pub base: f64,
    pub warmup: u64,
    pub total: u64,
}

impl Schedule {
    /// The rate of step `step`, counted from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup {
            return self.base * (step + 1) as f64 / self.warmup as f64;
        }
        let length = self.total.saturating_sub(self.warmup).max(1);
        let progress = (step - self.warmup) as f64 / length as f64;
        0.5 * self.base * (1.0 + libm::cos(PI * progress))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_falls_and_never_jumps() {
        let schedule = Schedule {
            base: 0.1,
            warmup: 10,
            total: 100,
        };
        let rates: Vec<f64> = (0..100).map(|step| schedule.rate(step)).collect();
        assert_eq!(rates[0], 0.01);
        assert_eq!((rates[9], rates[10]), (0.1, 0.1));
        assert!(rates[..10].is_sorted() && rates[10..].is_sorted_by(|a, b| a >= b));
        assert!(rates[99] > 0.0 && rates[99] < 1e-4);
    }

    #[test]
    fn a_warmup_is_a_share_or_a_number() {
        assert_eq!(Warmup::written(0.1).steps(52), 5);
        assert_eq!(Warmup::written(196.0).steps(52), 196);
        assert_eq!(Warmup::written(0.0).steps(52), 0);
    }
}
