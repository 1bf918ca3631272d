//! The inverse cosine transform of JPEG blocks, bit for bit as in libjpeg-turbo's vector code.
//!
//! libjpeg-turbo has two implementations: one in C, which computes in 32 bits and reduces its
//! results modulo 1024, and one in vector instructions, which multiplies modulo 2^16 and saturates.
//! They agree on coefficients that an encoder writes and differ beyond that range. Pillow's wheels
//! for x86-64 contain the vector code. This module implements it on every processor and in every
//! build.

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable;
#[cfg(target_arch = "x86_64")]
mod simd;

/// Samples on each side of a block.
pub const SIDE: usize = 8;
/// Fractional bits that the first pass keeps.
const KEPT_BITS: i32 = 2;
/// Fractional bits of the constants.
const CONSTANT_BITS: i32 = 13;
/// The shift after the first pass.
const FIRST_SHIFT: i32 = CONSTANT_BITS - KEPT_BITS;
/// The shift after the second pass, which also divides by eight for both passes.
const SECOND_SHIFT: i32 = CONSTANT_BITS + KEPT_BITS + 3;

/// The samples of a block, row by row.
pub type Samples = [[u8; SIDE]; SIDE];

/// The rotations of Loeffler, Ligtenberg and Moschytz, as libjpeg-turbo's vector code arranges
/// them: the factors of two inputs for each of two outputs.
struct Rotation {
    even: [[i16; 2]; 2],
    sums: [[i16; 2]; 2],
    far: [[i16; 2]; 2],
    near: [[i16; 2]; 2],
}

const TURNS: Rotation = Rotation {
    even: [[10703, 4433], [4433, -10704]],
    sums: [[-6436, 9633], [9633, 6437]],
    far: [[-4927, -7373], [-7373, 4926]],
    near: [[-4176, -20995], [-20995, 4177]],
};

/// The samples of one block of `coefficients`, which are multiplied by `quantisers`; both
/// row-major.
pub fn samples(coefficients: &[i16; 64], quantisers: &[u16; 64]) -> Samples {
    #[cfg(target_arch = "x86_64")]
    return simd::samples(coefficients, quantisers);
    #[cfg(not(target_arch = "x86_64"))]
    portable::samples(coefficients, quantisers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The values by definition, in double precision, rounded and clipped.
    fn defined(coefficients: &[i16; 64], quantisers: &[u16; 64]) -> [[f64; SIDE]; SIDE] {
        let scale = |index: usize| if index == 0 { f64::sqrt(0.5) } else { 1.0 };
        let cosine = |place: usize, index: usize| {
            let angle = (2 * place + 1) as f64 * index as f64 * std::f64::consts::PI / 16.0;
            scale(index) * angle.cos()
        };
        let mut samples = [[0.0; SIDE]; SIDE];
        for (y, row) in samples.iter_mut().enumerate() {
            for (x, sample) in row.iter_mut().enumerate() {
                let terms = (0..64).map(|at| {
                    let value = f64::from(coefficients[at]) * f64::from(quantisers[at]);
                    value * cosine(y, at / SIDE) * cosine(x, at % SIDE)
                });
                *sample = (terms.sum::<f64>() / 4.0 + 128.0).clamp(0.0, 255.0);
            }
        }
        samples
    }

    fn block<T: std::fmt::Debug>(
        value: impl Strategy<Value = T>,
    ) -> impl Strategy<Value = [T; 64]> {
        proptest::collection::vec(value, 64).prop_map(|values| values.try_into().unwrap())
    }

    proptest! {
        /// Every processor gives the same samples for any file.
        #[test]
        fn all_forms_agree(
            coefficients in block(prop_oneof![Just(0), -40i16..40, any::<i16>()]),
            quantisers in block(prop_oneof![1u16..256, any::<u16>()]),
        ) {
            let samples = samples(&coefficients, &quantisers);
            prop_assert_eq!(samples, portable::samples(&coefficients, &quantisers));
        }

        #[test]
        fn samples_are_those_of_the_definition(
            coefficients in block(prop_oneof![3 => Just(0), 1 => -12i16..12]),
            quantisers in block(1u16..60),
        ) {
            let wanted = defined(&coefficients, &quantisers);
            let found = samples(&coefficients, &quantisers);
            for (wanted, found) in wanted.iter().flatten().zip(found.iter().flatten()) {
                prop_assert!((wanted - f64::from(*found)).abs() < 1.1, "{wanted} {found}");
            }
        }
    }

    /// Beyond the range of an encoder, samples saturate as long as no product passes 16 bits.
    #[test]
    fn samples_saturate() {
        let mut coefficients = [0; 64];
        coefficients[0] = 1000;
        coefficients[1] = 3;
        assert_eq!(samples(&coefficients, &[8; 64]), [[255; SIDE]; SIDE]);
        coefficients[0] = -1000;
        assert_eq!(samples(&coefficients, &[8; 64]), [[0; SIDE]; SIDE]);
    }
}
