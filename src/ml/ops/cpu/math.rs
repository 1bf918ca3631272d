//! Branch-free functions that compilers vectorise, and sums in lanes.
//!
//! Every function here gives the same bits on every machine.

use pulp::{Arch, Simd};

use super::lanes;

/// The number of partial sums of a reduction. Fixed, so that the order does not depend on the
/// instruction set.
const LANES: usize = 16;

/// Runs `work` compiled for the widest vectors of this machine.
pub fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    Arch::new().dispatch(work)
}

/// eˣ, within 2 units in the last place; x is clamped to [−87, 88].
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to an integer, which is then in the low bits.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x));
    // Cephes' polynomial for eʳ on [−ln 2/2, ln 2/2].
    let p = 1.987_569_1e-4_f32
        .mul_add(r, 1.398_199_9e-3)
        .mul_add(r, 8.333_452e-3)
        .mul_add(r, 4.166_579_6e-2)
        .mul_add(r, 0.166_666_66)
        .mul_add(r, 0.5);
    let p = (r * r).mul_add(p, r) + 1.0;
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// The error function, within 4·10⁻⁷: a rational approximation on [−4, 4] (as in Eigen).
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let x2 = x * x;
    let p = (-2.726_142_3e-10_f32)
        .mul_add(x2, 2.770_681_4e-8)
        .mul_add(x2, -2.101_024e-6)
        .mul_add(x2, -5.692_506_5e-5)
        .mul_add(x2, -7.349_906e-4)
        .mul_add(x2, -2.954_6e-3)
        .mul_add(x2, -1.609_603_3e-2);
    let q = (-1.456_607_2e-5_f32)
        .mul_add(x2, -2.133_740_6e-4)
        .mul_add(x2, -1.682_827e-3)
        .mul_add(x2, -7.373_329_2e-3)
        .mul_add(x2, -1.426_473_9e-2);
    x * p / q
}

/// The exact GELU x·Φ(x) and its derivative Φ(x) + x·φ(x).
#[inline(always)]
pub fn gelu(x: f32) -> (f32, f32) {
    const DENSITY: f32 = 0.398_942_3;
    let cumulative = erf(x * std::f32::consts::FRAC_1_SQRT_2).mul_add(0.5, 0.5);
    let density = exp(x * x * -0.5) * DENSITY;
    (x * cumulative, x.mul_add(density, cumulative))
}

/// x·σ(1.702 x) and its derivative.
#[inline(always)]
pub fn quick_gelu(x: f32) -> (f32, f32) {
    const SLOPE: f32 = 1.702;
    let gate = 1.0 / (1.0 + exp(-SLOPE * x));
    let bend = SLOPE * x * (1.0 - gate);
    (x * gate, gate * (1.0 + bend))
}

/// Rounds to bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub fn to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) & 0xffff_0000;
    f32::from_bits(if x.is_nan() {
        bits | 0x0040_0000
    } else {
        rounded
    })
}

/// Σ of both values of f(a, b) over corresponding elements, in lanes.
#[inline(always)]
pub fn sums_of(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> [f32; 2]) -> [f32; 2] {
    let mut lanes = [[0.0_f32; LANES]; 2];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            let [first, second] = f(a[lane], b[lane]);
            lanes[0][lane] += first;
            lanes[1][lane] += second;
        }
    }
    for (lane, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        let [first, second] = f(*a, *b);
        lanes[0][lane] += first;
        lanes[1][lane] += second;
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[0][lane] += lanes[0][lane + half];
            lanes[1][lane] += lanes[1][lane + half];
        }
    }
    [lanes[0][0], lanes[1][0]]
}

/// a + b, element by element.
#[inline(always)]
pub fn add_to(sum: &mut [f32], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Replaces `row` by softmax(scale·row).
#[inline(always)]
pub fn softmax<S: Simd>(simd: S, row: &mut [f32], scale: f32) {
    let top = lanes::largest(simd, row) * scale;
    for value in row.iter_mut() {
        *value = exp(value.mul_add(scale, -top));
    }
    let total = lanes::sum_of(
        simd,
        [row],
        #[inline(always)]
        |[value]| value,
    );
    let inverse = 1.0 / total;
    for value in row.iter_mut() {
        *value *= inverse;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> impl Iterator<Item = f32> {
        (-9000..=9000).map(|step| step as f32 / 1000.0)
    }

    #[test]
    fn exponential_is_within_two_units() {
        for x in grid().map(|x| x * 9.5) {
            let exact = libm::exp(f64::from(x));
            let found = f64::from(exp(x));
            assert!(
                (found / exact - 1.0).abs() < 2.4e-7,
                "{x}: {found} for {exact}"
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 2e-38 && exp(1e30).is_finite());
    }

    #[test]
    fn error_function_and_gelu_are_exact_to_float_precision() {
        for x in grid() {
            let wide = f64::from(x);
            let difference = f64::from(erf(x)) - libm::erf(wide);
            assert!(difference.abs() < 4e-7, "erf {x}: {difference}");
            let cumulative = 0.5 * (1.0 + libm::erf(wide / std::f64::consts::SQRT_2));
            let density = libm::exp(-0.5 * wide * wide) / libm::sqrt(2.0 * std::f64::consts::PI);
            let (value, slope) = gelu(x);
            assert!((f64::from(value) - wide * cumulative).abs() < 6e-7 * (1.0 + wide.abs()));
            assert!((f64::from(slope) - cumulative - wide * density).abs() < 6e-7);
        }
    }
}
