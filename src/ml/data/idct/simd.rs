//! The transform of [`super`] in SSE2, which every x86-64 processor has: compilers don't find the
//! multiply-add of pairs, and without it the transform takes six times as long. This requires
//! `unsafe`.

use std::arch::x86_64::*;

use super::{CONSTANT_BITS, FIRST_SHIFT, KEPT_BITS, SECOND_SHIFT, SIDE, TURNS};

/// Eight rows or columns of eight numbers of 16 bits.
type Block = [__m128i; SIDE];
/// Eight numbers of 32 bits.
type Wide = [__m128i; 2];

/// As [`super::samples`].
pub fn samples(coefficients: &[i16; 64], quantisers: &[u16; 64]) -> [[u8; SIDE]; SIDE] {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { transformed(coefficients, quantisers) }
}

#[target_feature(enable = "sse2")]
fn transformed(coefficients: &[i16; 64], quantisers: &[u16; 64]) -> [[u8; SIDE]; SIDE] {
    let (mut block, mut others) = ([_mm_setzero_si128(); SIDE], _mm_setzero_si128());
    for (row, block) in block.iter_mut().enumerate() {
        // SAFETY: row `row` of eight is inside both.
        let (values, by) = unsafe {
            let values = coefficients.as_ptr().add(SIDE * row);
            let by = quantisers.as_ptr().add(SIDE * row);
            (_mm_loadu_si128(values.cast()), _mm_loadu_si128(by.cast()))
        };
        *block = _mm_mullo_epi16(values, by);
        if row > 0 {
            others = _mm_or_si128(others, values);
        }
    }
    let zeros = _mm_cmpeq_epi8(others, _mm_setzero_si128());
    let columns = match _mm_movemask_epi8(zeros) == 0xFFFF {
        true => [_mm_slli_epi16::<KEPT_BITS>(block[0]); SIDE],
        false => pass::<FIRST_SHIFT>(&block),
    };
    let [r0, r1, r2, r3, r4, r5, r6, r7] = transposed(&pass::<SECOND_SHIFT>(&transposed(&columns)));
    let centre = _mm_set1_epi8(-128);
    let mut samples = [[0; SIDE]; SIDE];
    for (pair, (upper, lower)) in [(r0, r1), (r2, r3), (r4, r5), (r6, r7)]
        .into_iter()
        .enumerate()
    {
        let both = _mm_add_epi8(_mm_packs_epi16(upper, lower), centre);
        let target = samples[2 * pair..][..2].as_mut_ptr();
        // SAFETY: two rows of eight bytes.
        unsafe { _mm_storeu_si128(target.cast(), both) };
    }
    samples
}

#[inline]
#[target_feature(enable = "sse2")]
fn transposed(block: &Block) -> Block {
    let [a, b, c, d, e, f, g, h] = *block;
    let words = [(a, b), (c, d), (e, f), (g, h)];
    let [ab, cd, ef, gh] = words.map(|(x, y)| (_mm_unpacklo_epi16(x, y), _mm_unpackhi_epi16(x, y)));
    let pairs = |x: __m128i, y: __m128i| (_mm_unpacklo_epi32(x, y), _mm_unpackhi_epi32(x, y));
    let (upper, lower) = (
        [pairs(ab.0, cd.0), pairs(ab.1, cd.1)],
        [pairs(ef.0, gh.0), pairs(ef.1, gh.1)],
    );
    let quads = |x: __m128i, y: __m128i| [_mm_unpacklo_epi64(x, y), _mm_unpackhi_epi64(x, y)];
    let [r0, r1] = quads(upper[0].0, lower[0].0);
    let [r2, r3] = quads(upper[0].1, lower[0].1);
    let [r4, r5] = quads(upper[1].0, lower[1].0);
    let [r6, r7] = quads(upper[1].1, lower[1].1);
    [r0, r1, r2, r3, r4, r5, r6, r7]
}

#[inline]
#[target_feature(enable = "sse2")]
fn pass<const SHIFT: i32>(inputs: &Block) -> Block {
    let [in0, in1, in2, in3, in4, in5, in6, in7] = *inputs;
    let even = turned(in2, in6, TURNS.even);
    let outer = scaled(_mm_add_epi16(in0, in4));
    let inner = scaled(_mm_sub_epi16(in0, in4));
    let (t10, t13) = (plus(outer, even[0]), minus(outer, even[0]));
    let (t11, t12) = (plus(inner, even[1]), minus(inner, even[1]));

    let [z3, z4] = turned(_mm_add_epi16(in3, in7), _mm_add_epi16(in1, in5), TURNS.sums);
    let [t0, t3] = turned(in7, in1, TURNS.far);
    let [t1, t2] = turned(in5, in3, TURNS.near);
    let (t0, t3) = (plus(t0, z3), plus(t3, z4));
    let (t1, t2) = (plus(t1, z4), plus(t2, z3));
    [
        narrow::<SHIFT>(plus(t10, t3)),
        narrow::<SHIFT>(plus(t11, t2)),
        narrow::<SHIFT>(plus(t12, t1)),
        narrow::<SHIFT>(plus(t13, t0)),
        narrow::<SHIFT>(minus(t13, t0)),
        narrow::<SHIFT>(minus(t12, t1)),
        narrow::<SHIFT>(minus(t11, t2)),
        narrow::<SHIFT>(minus(t10, t3)),
    ]
}

#[inline]
#[target_feature(enable = "sse2")]
fn turned(a: __m128i, b: __m128i, by: [[i16; 2]; 2]) -> [Wide; 2] {
    let pairs = [_mm_unpacklo_epi16(a, b), _mm_unpackhi_epi16(a, b)];
    by.map(|[a, b]| {
        let by = _mm_set1_epi32(i32::from(b) << 16 | i32::from(a as u16));
        pairs.map(|pair| _mm_madd_epi16(pair, by))
    })
}

#[inline]
#[target_feature(enable = "sse2")]
fn scaled(integers: __m128i) -> Wide {
    let zero = _mm_setzero_si128();
    let high = [
        _mm_unpacklo_epi16(zero, integers),
        _mm_unpackhi_epi16(zero, integers),
    ];
    high.map(|half| _mm_srai_epi32::<{ 16 - CONSTANT_BITS }>(half))
}

#[inline]
#[target_feature(enable = "sse2")]
fn plus(a: Wide, b: Wide) -> Wide {
    [_mm_add_epi32(a[0], b[0]), _mm_add_epi32(a[1], b[1])]
}

#[inline]
#[target_feature(enable = "sse2")]
fn minus(a: Wide, b: Wide) -> Wide {
    [_mm_sub_epi32(a[0], b[0]), _mm_sub_epi32(a[1], b[1])]
}

#[inline]
#[target_feature(enable = "sse2")]
fn narrow<const SHIFT: i32>(sums: Wide) -> __m128i {
    let half = _mm_set1_epi32(1 << (SHIFT - 1));
    let [low, high] = sums.map(|sums| _mm_srai_epi32::<SHIFT>(_mm_add_epi32(sums, half)));
    _mm_packs_epi32(low, high)
}
