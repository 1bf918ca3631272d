//! Number types for computation: f64, or double-double where f64 cancels.

use std::ops::{Add, AddAssign, Neg, Sub};

use qd::Quad;

/// A number with 16 or with 32 digits.
pub(super) trait Digits:
    Copy
    + Send
    + Sync
    + PartialOrd
    + From<f64>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Neg<Output = Self>
    + AddAssign
{
    /// The maximum error of sums whose terms have size 1.
    const ROUNDING: f64;

    /// `self · mass`, where every integer below 2⁵³ is exact.
    fn times(self, mass: f64) -> Self;

    fn to_f64(self) -> f64;

    fn least(self, other: Self) -> Self {
        match other < self {
            true => other,
            false => self,
        }
    }
}

impl Digits for f64 {
    const ROUNDING: f64 = 1e-13;

    fn times(self, mass: f64) -> Self {
        self * mass
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }
}

impl Digits for Quad {
    const ROUNDING: f64 = 1e-29;

    fn times(self, mass: f64) -> Self {
        self * Self::from(mass)
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// √2, e and e⁻¹⁰ to 34 digits (Abramowitz and Stegun 1964, table 1.1, and by `bc`).
    #[test]
    fn twice_the_digits_are_there() {
        let near = |found: Quad, high: f64, low: f64| {
            let error = (found - Quad::from(high) - Quad::from(low)).to_f64();
            assert!(error.abs() < 1e-29 * high, "{found:?}: off by {error:e}");
        };
        near(
            Quad::from(2.0).sqrt(),
            std::f64::consts::SQRT_2,
            -9.667_293_313_452_913e-17,
        );
        near(
            Quad::from(1.0).exp(),
            std::f64::consts::E,
            1.445_646_891_729_250_2e-16,
        );
    }
}
