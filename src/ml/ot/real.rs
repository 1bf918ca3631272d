//! The two storage precisions of a cost, and an exponential for each that compilers can vectorise.
//!
//! Both split x = n ln 2 + r with |r| ≤ ln 2 / 2 and evaluate a polynomial in r (Cody and Waite
//! 1980). No fused multiply-add and no table: the same bits on every instruction set.

/// f32 or f64.
pub trait Real: Copy + Send + Sync + 'static {
    fn from_f64(value: f64) -> Self;
    fn to_f64(self) -> f64;
    /// Whether `value` is 0 or can be represented without underflow.
    fn holds(value: f64) -> bool;
    /// e^self, with the argument clamped to where the result is a normal number: ±87 for f32, ±700
    /// for f64. Relative error below 2e-7 and 4e-16.
    fn exp(self) -> Self;
    /// `self · factor + term`, rounded once.
    fn fused(self, factor: Self, term: Self) -> Self;
    /// As [`Real::exp`], with fused multiply-adds: fast if the processor has them, very slow in
    /// code compiled for processors without them.
    fn fused_exp(self) -> Self;
}

impl Real for f32 {
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value as f32
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        f64::from(self)
    }

    #[inline(always)]
    fn holds(value: f64) -> bool {
        let size = value.abs();
        let most = size <= f64::from(f32::MAX);
        (most & (size >= f64::from(f32::MIN_POSITIVE))) | (size == 0.0)
    }

    #[inline(always)]
    fn exp(self) -> Self {
        /// Adding it rounds to an integer, which is then in the lowest bits.
        const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let x = if self < 87.0 { self } else { 87.0 };
        let x = if x > -87.0 { x } else { -87.0 };
        let shifted = x * std::f32::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
        // Cephes' expf.
        let mut p: f32 = 1.987_569_1e-4;
        p = p * r + 1.398_199_9e-3;
        p = p * r + 8.333_452e-3;
        p = p * r + 4.166_579_6e-2;
        p = p * r + 0.166_666_65;
        p = p * r + 0.5;
        let p = p * (r * r) + r + 1.0;
        let power = shifted
            .to_bits()
            .wrapping_sub(ROUND.to_bits())
            .wrapping_add(127);
        p * f32::from_bits(power << 23)
    }

    #[inline(always)]
    fn fused(self, factor: Self, term: Self) -> Self {
        self.mul_add(factor, term)
    }

    #[inline(always)]
    fn fused_exp(self) -> Self {
        /// Adding it rounds to an integer, which is then in the lowest bits.
        const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23
        const LN_2_HIGH: f32 = 0.693_359_4;
        const LN_2_LOW: f32 = -2.121_944_4e-4;
        let x = if self < 87.0 { self } else { 87.0 };
        let x = if x > -87.0 { x } else { -87.0 };
        let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
        // Cephes' expf.
        let mut p: f32 = 1.987_569_1e-4;
        p = p.mul_add(r, 1.398_199_9e-3);
        p = p.mul_add(r, 8.333_452e-3);
        p = p.mul_add(r, 4.166_579_6e-2);
        p = p.mul_add(r, 0.166_666_65);
        p = p.mul_add(r, 0.5);
        let p = p.mul_add(r * r, r + 1.0);
        let power = shifted
            .to_bits()
            .wrapping_sub(ROUND.to_bits())
            .wrapping_add(127);
        p * f32::from_bits(power << 23)
    }
}

impl Real for f64 {
    #[inline(always)]
    fn from_f64(value: f64) -> Self {
        value
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn holds(value: f64) -> bool {
        value.is_finite()
    }

    #[inline(always)]
    fn exp(self) -> Self {
        const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52
        const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
        const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
        let x = if self < 700.0 { self } else { 700.0 };
        let x = if x > -700.0 { x } else { -700.0 };
        let shifted = x * std::f64::consts::LOG2_E + ROUND;
        let n = shifted - ROUND;
        let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
        // Taylor's polynomial of degree 13: the next term is below 5e-18.
        let mut p: f64 = 1.0 / 6_227_020_800.0;
        p = p * r + 1.0 / 479_001_600.0;
        p = p * r + 1.0 / 39_916_800.0;
        p = p * r + 1.0 / 3_628_800.0;
        p = p * r + 1.0 / 362_880.0;
        p = p * r + 1.0 / 40_320.0;
        p = p * r + 1.0 / 5_040.0;
        p = p * r + 1.0 / 720.0;
        p = p * r + 1.0 / 120.0;
        p = p * r + 1.0 / 24.0;
        p = p * r + 1.0 / 6.0;
        p = p * r + 0.5;
        p = p * r + 1.0;
        p = p * r + 1.0;
        let power = shifted
            .to_bits()
            .wrapping_sub(ROUND.to_bits())
            .wrapping_add(1023);
        p * f64::from_bits(power << 52)
    }

    #[inline(always)]
    fn fused(self, factor: Self, term: Self) -> Self {
        self.mul_add(factor, term)
    }

    #[inline(always)]
    fn fused_exp(self) -> Self {
        const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 · 2^52
        const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
        const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
        let x = if self < 700.0 { self } else { 700.0 };
        let x = if x > -700.0 { x } else { -700.0 };
        let shifted = x.mul_add(std::f64::consts::LOG2_E, ROUND);
        let n = shifted - ROUND;
        let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
        // Taylor's polynomial of degree 13: the next term is below 5e-18.
        let mut p: f64 = 1.0 / 6_227_020_800.0;
        p = p.mul_add(r, 1.0 / 479_001_600.0);
        p = p.mul_add(r, 1.0 / 39_916_800.0);
        p = p.mul_add(r, 1.0 / 3_628_800.0);
        p = p.mul_add(r, 1.0 / 362_880.0);
        p = p.mul_add(r, 1.0 / 40_320.0);
        p = p.mul_add(r, 1.0 / 5_040.0);
        p = p.mul_add(r, 1.0 / 720.0);
        p = p.mul_add(r, 1.0 / 120.0);
        p = p.mul_add(r, 1.0 / 24.0);
        p = p.mul_add(r, 1.0 / 6.0);
        p = p.mul_add(r, 0.5);
        p = p.mul_add(r, 1.0);
        p = p.mul_add(r, 1.0);
        let power = shifted
            .to_bits()
            .wrapping_sub(ROUND.to_bits())
            .wrapping_add(1023);
        p * f64::from_bits(power << 52)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exponentials_are_accurate(x in -699.0..699.0f64, y in -86.9..86.9f32) {
            let (found, exact) = (Real::exp(x), libm::exp(x));
            prop_assert!((found / exact - 1.0).abs() < 4e-16 * 1.5, "{x}: {found} for {exact}");
            let (found, exact) = (f64::from(Real::exp(y)), libm::exp(f64::from(y)));
            prop_assert!((found / exact - 1.0).abs() < 2e-7, "{y}: {found} for {exact}");
            let (found, exact) = (x.fused_exp(), libm::exp(x));
            prop_assert!((found / exact - 1.0).abs() < 4e-16 * 1.5, "{x}: {found} for {exact}");
            let (found, exact) = (f64::from(y.fused_exp()), libm::exp(f64::from(y)));
            prop_assert!((found / exact - 1.0).abs() < 2e-7, "{y}: {found} for {exact}");
        }
    }

    #[test]
    fn exponentials_stop_at_their_ends() {
        for x in [f64::NEG_INFINITY, -1e300, -701.0] {
            assert_eq!(Real::exp(x), Real::exp(-700.0));
        }
        for x in [f32::INFINITY, 1e30, 88.0] {
            assert_eq!(Real::exp(x), Real::exp(87.0f32));
        }
        assert_eq!((Real::exp(0.0f64), Real::exp(0.0f32)), (1.0, 1.0));
    }
}
