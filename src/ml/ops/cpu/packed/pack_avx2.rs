//! Packs matrices on AVX2, in the layout of [`super::pack`], one value in a word.

use std::arch::x86_64::*;

use super::pack::{Format, PackLayout};
use super::tile::LANES;
use super::tile_avx2::{LANES_AVX2, masks};

/// Lines along the inner dimension: transposes. Writes 16 words at each step, with zeros beyond
/// `lines`; only 8 where the steps are so near one another that the next one overwrites the rest.
///
/// # Safety
/// The processor has AVX2; `from` contains the lines, `to` all steps at `pitch` and 16 words from the
/// last one on.
#[target_feature(enable = "avx2")]
pub unsafe fn along(m: PackLayout, format: Format) {
    let halves = halves(m);
    for at in (0..m.inner).step_by(LANES_AVX2) {
        let count = (m.inner - at).min(LANES_AVX2);
        let [mask, _] = masks(count);
        let mut columns = [[_mm256_setzero_ps(); LANES_AVX2]; 2];
        for (half, columns) in columns.iter_mut().enumerate().take(halves) {
            let first = half * LANES_AVX2;
            for (line, row) in columns.iter_mut().enumerate() {
                if first + line < m.lines {
                    // SAFETY: the line contains `inner` values, of which `count` are read from `at`
                    // on.
                    *row = unsafe {
                        let from = m.from.add((first + line) * m.stride + at);
                        in_format(_mm256_maskload_ps(from, mask), format)
                    };
                }
            }
            *columns = transposed(*columns);
        }
        for step in 0..count {
            for (half, columns) in columns.iter().enumerate().take(halves) {
                // SAFETY: the caller guarantees 16 words at every step.
                unsafe {
                    let to = m.to.add((at + step) * m.pitch + half * LANES_AVX2);
                    _mm256_storeu_ps(to, columns[step]);
                }
            }
        }
    }
}

/// Lines across the inner dimension: value k of a line is `stride`·k after its first one, and lines
/// are adjacent.
///
/// # Safety
/// As [`along`]; `from` contains `inner` rows of `lines` adjacent values.
#[target_feature(enable = "avx2")]
pub unsafe fn across(m: PackLayout, format: Format) {
    let (masks, halves) = (masks(m.lines), halves(m));
    for step in 0..m.inner {
        for (half, mask) in masks.iter().enumerate().take(halves) {
            // SAFETY: masked loads read `lines` values of rows below `inner`.
            unsafe {
                let from = m.from.wrapping_add(step * m.stride + half * LANES_AVX2);
                let to = m.to.add(step * m.pitch + half * LANES_AVX2);
                let values = _mm256_maskload_ps(from, *mask);
                _mm256_storeu_ps(to, in_format(values, format));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn in_format(values: __m256, format: Format) -> __m256 {
    match format {
        Format::Rounded => rounded(values),
        Format::Single | Format::Half => values,
    }
}

/// Rounds to bf16, ties to even. Subnormal results become 0, as in [`super::pack`].
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(values: __m256) -> __m256 {
    let bits = _mm256_castps_si256(values);
    let odd = _mm256_and_si256(_mm256_srli_epi32::<16>(bits), _mm256_set1_epi32(1));
    let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    let nearest = _mm256_castsi256_ps(_mm256_add_epi32(bits, half));
    let no_number = _mm256_cmp_ps::<_CMP_UNORD_Q>(values, values);
    let quiet = _mm256_castsi256_ps(_mm256_or_si256(bits, _mm256_set1_epi32(0x0040_0000)));
    let nearest = _mm256_blendv_ps(nearest, quiet, no_number);
    let exponent = _mm256_and_si256(bits, _mm256_set1_epi32(0x7f80_0000));
    let small = _mm256_castsi256_ps(_mm256_cmpeq_epi32(exponent, _mm256_setzero_si256()));
    let sign = _mm256_and_ps(values, _mm256_set1_ps(-0.0));
    let nearest = _mm256_blendv_ps(nearest, sign, small);
    _mm256_and_ps(
        nearest,
        _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32)),
    )
}

/// The registers that a step needs.
fn halves(m: PackLayout) -> usize {
    match m.lines <= LANES_AVX2 && m.pitch < LANES {
        true => 1,
        false => 2,
    }
}

/// The transpose of 8 × 8 numbers.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(rows: [__m256; LANES_AVX2]) -> [__m256; LANES_AVX2] {
    let zero = _mm256_setzero_ps();
    let mut pairs = [zero; LANES_AVX2];
    for i in (0..LANES_AVX2).step_by(2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    // fours[4g + c]: in half h of the register, column 4h + c of the rows 4g to 4g + 3.
    let mut fours = [zero; LANES_AVX2];
    for i in (0..LANES_AVX2).step_by(4) {
        fours[i] = _mm256_shuffle_ps::<0x44>(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm256_shuffle_ps::<0xee>(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm256_shuffle_ps::<0x44>(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm256_shuffle_ps::<0xee>(pairs[i + 1], pairs[i + 3]);
    }
    let mut columns = [zero; LANES_AVX2];
    for c in 0..4 {
        columns[c] = _mm256_permute2f128_ps::<0x20>(fours[c], fours[4 + c]);
        columns[4 + c] = _mm256_permute2f128_ps::<0x31>(fours[c], fours[4 + c]);
    }
    columns
}
