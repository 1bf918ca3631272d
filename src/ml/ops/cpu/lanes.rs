//! Sums and maxima in sixteen lanes, in registers of any width.
//!
//! The number of lanes is fixed, so that the order of a sum does not depend on the instruction set.
//! Compilers made one addition per element of the same loops over arrays.

use pulp::{Arch, Simd, WithSimd, bytemuck};

const LANES: usize = 16;

/// Runs `work` with the widest registers of this machine.
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    Arch::new().dispatch(work)
}

/// Σ f(elements) over corresponding elements of `values`.
#[inline(always)]
pub fn sum_of<S: Simd, const N: usize>(
    simd: S,
    values: [&[f32]; N],
    f: impl Fn([S::f32s; N]) -> S::f32s,
) -> f32 {
    let mut lanes = folded(
        simd,
        values,
        f,
        0.0,
        #[inline(always)]
        |lanes, terms| simd.add_f32s(lanes, terms),
    );
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// The largest value; −∞ if there are none.
#[inline(always)]
pub fn largest<S: Simd>(simd: S, values: &[f32]) -> f32 {
    let lanes = folded(
        simd,
        [values],
        #[inline(always)]
        |[value]| value,
        f32::NEG_INFINITY,
        #[inline(always)]
        |lanes, values| simd.select_f32s(simd.greater_than_f32s(values, lanes), values, lanes),
    );
    let mut top = f32::NEG_INFINITY;
    for lane in lanes {
        top = if lane > top { lane } else { top };
    }
    top
}

/// The lanes, after they have taken in f(elements) by `join`, which changes no lane for `start`.
#[inline(always)]
fn folded<S: Simd, const N: usize>(
    simd: S,
    values: [&[f32]; N],
    f: impl Fn([S::f32s; N]) -> S::f32s,
    start: f32,
    join: impl Fn(S::f32s, S::f32s) -> S::f32s,
) -> [f32; LANES] {
    let start = simd.splat_f32s(start);
    let registers = const { LANES / S::F32_LANES };
    let count = values[0].len();
    let mut vectors = [&[][..]; N];
    let mut rests = [&[][..]; N];
    for source in 0..N {
        (vectors[source], rests[source]) = S::as_simd_f32s(&values[source][..count]);
    }
    let all = count / S::F32_LANES;
    let mut lanes = [start; LANES];
    let mut first = 0;
    while first < all {
        for register in 0..registers {
            // Only the last group can be incomplete.
            if first + register < all {
                let mut elements = [start; N];
                for source in 0..N {
                    elements[source] = vectors[source][first + register];
                }
                lanes[register] = join(lanes[register], f(elements));
            }
        }
        first += registers;
    }
    let rest = rests[0].len();
    if rest > 0 {
        let mut elements = [start; N];
        for source in 0..N {
            elements[source] = simd.partial_load_f32s(rests[source]);
        }
        let present = simd.mask_between_m32s(0, rest as u32).mask();
        let terms = simd.select_f32s(present, f(elements), start);
        // No index that is known only at run time: it would force the lanes into memory.
        for (register, lanes) in lanes.iter_mut().enumerate().take(registers) {
            if register == all % registers {
                *lanes = join(*lanes, terms);
            }
        }
    }
    let mut values = [0.0; LANES];
    values.copy_from_slice(bytemuck::cast_slice(&lanes[..registers]));
    values
}

/// The sum of `values`.
pub fn total(values: &[f32]) -> f32 {
    struct Total<'a>(&'a [f32]);

    impl WithSimd for Total<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            sum_of(
                simd,
                [self.0],
                #[inline(always)]
                |[value]| value,
            )
        }
    }

    dispatch(Total(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Both<'a>(&'a [f32]);

    impl WithSimd for Both<'_> {
        type Output = [f32; 2];

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> [f32; 2] {
            let squares = sum_of(
                simd,
                [self.0, self.0],
                #[inline(always)]
                |[a, b]| simd.mul_f32s(simd.add_f32s(a, simd.splat_f32s(1.0)), b),
            );
            [squares, largest(simd, self.0)]
        }
    }

    /// The definition: element i goes to lane i % 16, lanes are added by halves.
    fn defined(values: &[f32]) -> [f32; 2] {
        let mut lanes = [0.0_f32; LANES];
        for (index, value) in values.iter().enumerate() {
            lanes[index % LANES] += (value + 1.0) * value;
        }
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        let top = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        [lanes[0], top]
    }

    #[test]
    fn sums_have_the_order_of_their_definition_on_registers_of_every_width() {
        let mut stream = crate::rng::Stream::new(0, "lanes");
        for count in (0..70).chain([100, 197, 1000]) {
            let values: Vec<f32> = (0..count).map(|_| stream.range(-2.0, 1.0) as f32).collect();
            let expected = defined(&values).map(f32::to_bits);
            assert_eq!(
                dispatch(Both(&values)).map(f32::to_bits),
                expected,
                "{count}"
            );
            let narrow = Both(&values).with_simd(pulp::Scalar::new());
            assert_eq!(narrow.map(f32::to_bits), expected, "{count}, scalar");
        }
    }

    #[test]
    fn sums_and_maxima_see_every_element() {
        for count in [0_usize, 1, 15, 16, 17, 64, 100] {
            let values: Vec<f32> = (0..count).map(|index| index as f32).collect();
            assert_eq!(total(&values), (count * count.saturating_sub(1) / 2) as f32);
        }
    }
}
