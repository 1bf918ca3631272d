//! Loss scaling for f16 with the constants of PyTorch's `GradScaler`: small gradients are scaled up
//! by a factor that halves whenever they overflow.

/// 2^16.
const START: f64 = 65536.0;
/// The number of successful steps after which the scale doubles.
const PATIENCE: u32 = 2000;

/// The factor of the loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScale {
    factor: f64,
    good: u32,
    skipped: u64,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            factor: START,
            good: 0,
            skipped: 0,
        }
    }
}

impl LossScale {
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Steps that were skipped because a gradient overflowed.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Records whether all gradients of a step were finite; if not, the step is skipped.
    pub fn observe(&mut self, finite: bool) {
        if !finite {
            self.factor *= 0.5;
            self.good = 0;
            self.skipped += 1;
            return;
        }
        self.good += 1;
        if self.good == PATIENCE {
            self.factor *= 2.0;
            self.good = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_at_once_and_doubles_with_patience() {
        let mut scale = LossScale::default();
        scale.observe(false);
        scale.observe(false);
        assert_eq!((scale.factor(), scale.skipped()), (16384.0, 2));
        (0..PATIENCE - 1).for_each(|_| scale.observe(true));
        assert_eq!(scale.factor(), 16384.0);
        scale.observe(true);
        assert_eq!(scale.factor(), 32768.0);
        // An overflow restarts the count.
        (0..PATIENCE - 1).for_each(|_| scale.observe(true));
        scale.observe(false);
        (0..PATIENCE - 1).for_each(|_| scale.observe(true));
        assert_eq!(scale.factor(), 16384.0);
    }
}
