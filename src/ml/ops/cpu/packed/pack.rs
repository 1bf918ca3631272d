//! Packs matrices into the order in which the tiles read them.

use std::arch::x86_64::*;

use super::tile::{LANES, mask};

/// The content of a word of a packed matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One f32.
    Single,
    /// One f32 with the precision of bf16, where no instruction multiplies pairs.
    Rounded,
    /// Two consecutive bf16 of the inner dimension, the first in the low half.
    Half,
}

impl Format {
    /// The number of words for `inner` values.
    pub fn words(self, inner: usize) -> usize {
        match self {
            Self::Single | Self::Rounded => inner,
            Self::Half => inner.div_ceil(2),
        }
    }

    fn values(self) -> usize {
        match self {
            Self::Single | Self::Rounded => 1,
            Self::Half => 2,
        }
    }
}

/// The source of values and the target of words.
#[derive(Clone, Copy)]
pub struct PackLayout {
    pub from: *const f32,
    /// Values from one line to the next.
    pub stride: usize,
    /// Up to 16 lines that are adjacent in the packed matrix.
    pub lines: usize,
    /// Values of the inner dimension.
    pub inner: usize,
    pub to: *mut f32,
    /// Words from a step of the inner dimension to the next.
    pub pitch: usize,
}

/// Lines along the inner dimension: transposes. Writes 16 words at each step, with zeros beyond
/// `lines`.
///
/// # Safety
/// The processor has AVX-512F and BW; `from` contains the lines, `to` all steps at `pitch` and 16
/// words from the last one on.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn along(m: PackLayout, format: Format) {
    let group = LANES * format.values();
    let mut at = 0;
    let mut step = 0;
    while at < m.inner {
        let count = (m.inner - at).min(group);
        let mut rows = [_mm512_setzero_ps(); LANES];
        for (line, row) in rows.iter_mut().enumerate().take(m.lines) {
            // SAFETY: the line contains `inner` values, of which `count` are read from `at` on.
            *row = unsafe {
                let from = m.from.add(line * m.stride + at);
                match format {
                    Format::Single => _mm512_maskz_loadu_ps(mask(count), from),
                    Format::Rounded => widened(_mm512_maskz_loadu_ps(mask(count), from)),
                    Format::Half => paired(from, count),
                }
            };
        }
        let columns = transposed(rows);
        let steps = count.div_ceil(format.values());
        for column in columns.iter().take(steps) {
            // SAFETY: the caller guarantees 16 words at every step.
            unsafe { _mm512_storeu_ps(m.to.add(step * m.pitch), *column) };
            step += 1;
        }
        at += count;
    }
}

/// Lines across the inner dimension: value k of a line is `stride`·k after its first one, and lines
/// are adjacent.
///
/// # Safety
/// As [`along`]; `from` contains `inner` rows of `lines` adjacent values.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn across(m: PackLayout, format: Format) {
    let lines = mask(m.lines);
    for step in 0..format.words(m.inner) {
        // SAFETY: masked loads read `lines` values of rows below `inner`.
        unsafe {
            let words = match format {
                Format::Single => _mm512_maskz_loadu_ps(lines, m.from.add(step * m.stride)),
                Format::Rounded => {
                    widened(_mm512_maskz_loadu_ps(lines, m.from.add(step * m.stride)))
                }
                Format::Half => {
                    let first = m.from.add(2 * step * m.stride);
                    let low = _mm512_maskz_loadu_ps(lines, first);
                    let high = match 2 * step + 1 < m.inner {
                        true => _mm512_maskz_loadu_ps(lines, first.add(m.stride)),
                        false => _mm512_setzero_ps(),
                    };
                    interleaved(low, high)
                }
            };
            _mm512_storeu_ps(m.to.add(step * m.pitch), words);
        }
    }
}

/// The first `count` of 32 values from `from` on, rounded to bf16, in adjacent pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn paired(from: *const f32, count: usize) -> __m512 {
    // SAFETY: masked loads read `count` values.
    let (first, second) = unsafe {
        let first = _mm512_maskz_loadu_ps(mask(count), from);
        let rest = mask(count.saturating_sub(LANES));
        let second = _mm512_maskz_loadu_ps(rest, from.wrapping_add(LANES));
        (first, second)
    };
    let first = _mm512_cvtepi32_epi16(rounded(first));
    let second = _mm512_cvtepi32_epi16(rounded(second));
    let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second);
    _mm512_castsi512_ps(both)
}

/// `values` rounded to bf16, as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn widened(values: __m512) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(rounded(values)))
}

/// `low` and `high` rounded to bf16, in the halves of each word.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn interleaved(low: __m512, high: __m512) -> __m512 {
    let high = _mm512_slli_epi32::<16>(rounded(high));
    _mm512_castsi512_ps(_mm512_or_si512(rounded(low), high))
}

/// Rounds to bf16, ties to even, into the low half of each word. Subnormal results become 0, as
/// with the bf16 instructions.
///
/// In integer arithmetic, so that processors with and without those instructions agree.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn rounded(values: __m512) -> __m512i {
    let bits = _mm512_castps_si512(values);
    let odd = _mm512_and_si512(_mm512_srli_epi32::<16>(bits), _mm512_set1_epi32(1));
    let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    let nearest = _mm512_add_epi32(bits, half);
    let no_number = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(values, values);
    let quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x0040_0000));
    let nearest = _mm512_mask_mov_epi32(nearest, no_number, quiet);
    let small = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f80_0000));
    let sign = _mm512_and_si512(bits, _mm512_set1_epi32(i32::MIN));
    let nearest = _mm512_mask_mov_epi32(nearest, small, sign);
    _mm512_srli_epi32::<16>(nearest)
}

/// The transpose of 16 × 16 words.
///
/// No closures: they would not inherit the target features, and so would not be inlined.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(rows: [__m512; LANES]) -> [__m512; LANES] {
    let zero = _mm512_setzero_si512();
    let mut pairs = [zero; LANES];
    for i in (0..LANES).step_by(2) {
        let (a, b) = (
            _mm512_castps_si512(rows[i]),
            _mm512_castps_si512(rows[i + 1]),
        );
        pairs[i] = _mm512_unpacklo_epi32(a, b);
        pairs[i + 1] = _mm512_unpackhi_epi32(a, b);
    }
    // fours[4g + c]: in quarter q of the register, column 4q + c of the rows 4g to 4g + 3.
    let mut fours = [zero; LANES];
    for i in (0..LANES).step_by(4) {
        fours[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
    }
    const EVEN: i32 = 0x88;
    const ODD: i32 = 0xdd;
    let mut columns = [_mm512_setzero_ps(); LANES];
    for c in 0..4 {
        let top = _mm512_shuffle_i32x4::<EVEN>(fours[c], fours[4 + c]);
        let bottom = _mm512_shuffle_i32x4::<EVEN>(fours[8 + c], fours[12 + c]);
        columns[c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4::<EVEN>(top, bottom));
        columns[8 + c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4::<ODD>(top, bottom));
        let top = _mm512_shuffle_i32x4::<ODD>(fours[c], fours[4 + c]);
        let bottom = _mm512_shuffle_i32x4::<ODD>(fours[8 + c], fours[12 + c]);
        columns[4 + c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4::<EVEN>(top, bottom));
        columns[12 + c] = _mm512_castsi512_ps(_mm512_shuffle_i32x4::<ODD>(top, bottom));
    }
    columns
}
