//! The transforms of pixels and of results on AVX2, eight tiles at a time.

use std::arch::x86_64::*;

use crate::ops::cpu::packed::masks;

/// Tiles that are transformed together: numbers in a register.
pub const TOGETHER: usize = 8;

/// Some rows of a padded plane, the even and the odd columns of each apart, `pitch` values from one
/// row to the next.
#[derive(Clone, Copy)]
pub struct Lines<'a> {
    pub even: &'a [f32],
    pub odd: &'a [f32],
    pub pitch: usize,
}

/// The values of a line for rows of `width` values: whole registers, one of zeros after the last
/// one, and up to two zeros before the first one.
pub fn line_length(width: usize) -> usize {
    (width.div_ceil(2 * TOGETHER) + 1) * TOGETHER + 2
}

/// Rows of a plane that are divided into [`Lines`].
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub plane: &'a [f32],
    pub width: usize,
    /// Zeros before the first row and the first column: at most two.
    pub before: usize,
    /// The first row, with those before, and the number of rows.
    pub first: usize,
    pub rows: usize,
}

impl Part<'_> {
    /// Writes the even and the odd columns of the rows, with the zeros before, between and after
    /// them: rows outside the plane are zeros. `pitch` values from one line to the next.
    ///
    /// # Panics
    /// If the lines are shorter than [`line_length`].
    pub fn split(self, even: &mut [f32], odd: &mut [f32], pitch: usize) {
        assert!(self.before <= 2 && pitch >= line_length(self.width));
        assert!(even.len().min(odd.len()) >= self.rows * pitch);
        assert!(self.width > 0 && self.plane.len().is_multiple_of(self.width));
        // SAFETY: the lengths were checked, and the callers have checked for AVX2.
        unsafe { split_avx2(self, even, odd, pitch) }
    }
}

/// # Safety
/// The processor has AVX2; the lines have the lengths that [`Part::split`] checks.
#[target_feature(enable = "avx2")]
unsafe fn split_avx2(part: Part, even: &mut [f32], odd: &mut [f32], pitch: usize) {
    let height = part.plane.len() / part.width;
    let whole = part.width / (2 * TOGETHER) * (2 * TOGETHER);
    let [low, high] = masks(part.width - whole);
    let zero = _mm256_setzero_ps();
    for index in 0..part.rows {
        let (even, odd) = (
            &mut even[index * pitch..][..pitch],
            &mut odd[index * pitch..][..pitch],
        );
        let row = (part.first + index).wrapping_sub(part.before);
        if row >= height {
            even.fill(0.0);
            odd.fill(0.0);
            continue;
        }
        even[..2].fill(0.0);
        odd[..2].fill(0.0);
        // With one zero before, the first value is in an odd column.
        let (first, second) = match part.before {
            1 => (odd.as_mut_ptr(), even[1..].as_mut_ptr()),
            before => (
                even[before / 2..].as_mut_ptr(),
                odd[before / 2..].as_mut_ptr(),
            ),
        };
        let from = part.plane[row * part.width..].as_ptr();
        // Also fetches the same rows of the next plane: the processor's prefetching ends with a page.
        // SAFETY: masks limit the access to the row, and a line contains the registers that are written.
        unsafe {
            let mut at = 0;
            while at < part.width {
                let from = from.add(at);
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(part.plane.len()).cast());
                let [one, other] = match at < whole {
                    true => halves(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(TOGETHER))),
                    false => halves(
                        _mm256_maskload_ps(from, low),
                        _mm256_maskload_ps(from.wrapping_add(TOGETHER), high),
                    ),
                };
                _mm256_storeu_ps(first.add(at / 2), one);
                _mm256_storeu_ps(second.add(at / 2), other);
                at += 2 * TOGETHER;
            }
            _mm256_storeu_ps(first.add(at / 2), zero);
            _mm256_storeu_ps(second.add(at / 2), zero);
        }
    }
}

/// The even and the odd ones of 16 numbers. No closures: they would not inherit the target features.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(low: __m256, high: __m256) -> [__m256; 2] {
    const ORDER: i32 = 0b11_01_10_00;
    let even = _mm256_castps_pd(_mm256_shuffle_ps::<0b10_00_10_00>(low, high));
    let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0b11_01_11_01>(low, high));
    [
        _mm256_castpd_ps(_mm256_permute4x64_pd::<ORDER>(even)),
        _mm256_castpd_ps(_mm256_permute4x64_pd::<ORDER>(odd)),
    ]
}

/// Writes Bᵀ·d·B of `tiles` tiles of 4 × 4 pixels, two columns apart: point p of them to
/// `target` + p·`stride`. Whole groups of [`TOGETHER`] are written: what follows the last tile is arbitrary.
///
/// Bᵀ = [[1, 0, −1, 0], [0, 1, 1, 0], [0, −1, 1, 0], [0, 1, 0, −1]].
///
/// # Panics
/// If a line or the target is too short.
pub fn forward(lines: Lines, tiles: usize, target: &mut [f32], stride: usize) {
    let whole = tiles.next_multiple_of(TOGETHER);
    assert!(lines.even.len().min(lines.odd.len()) > 3 * lines.pitch + whole);
    assert!(target.len() >= 15 * stride + whole);
    // SAFETY: the lengths were checked, and the callers have checked for AVX2.
    unsafe { forward_avx2(lines, tiles, target.as_mut_ptr(), stride) }
}

/// # Safety
/// The processor has AVX2; lines and target have the lengths that [`forward`] checks.
#[target_feature(enable = "avx2")]
#[expect(
    clippy::needless_range_loop,
    reason = "the same element of several arrays"
)]
unsafe fn forward_avx2(lines: Lines, tiles: usize, target: *mut f32, stride: usize) {
    let (even, odd) = (lines.even.as_ptr(), lines.odd.as_ptr());
    for tile in (0..tiles).step_by(TOGETHER) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let columns = [
                down(even.add(tile), lines.pitch),
                down(odd.add(tile), lines.pitch),
                down(even.add(tile + 1), lines.pitch),
                down(odd.add(tile + 1), lines.pitch),
            ];
            for y in 0..4 {
                let to = target.add(4 * y * stride + tile);
                let [a, b, c, d] = [columns[0][y], columns[1][y], columns[2][y], columns[3][y]];
                _mm256_storeu_ps(to, _mm256_sub_ps(a, c));
                _mm256_storeu_ps(to.add(stride), _mm256_add_ps(b, c));
                _mm256_storeu_ps(to.add(2 * stride), _mm256_sub_ps(c, b));
                _mm256_storeu_ps(to.add(3 * stride), _mm256_sub_ps(b, d));
            }
        }
    }
}

/// Bᵀ·d of one column of each tile.
///
/// # Safety
/// The processor has AVX2; four lines contain a register from here on.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn down(from: *const f32, pitch: usize) -> [__m256; 4] {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let a = _mm256_loadu_ps(from);
        let b = _mm256_loadu_ps(from.add(pitch));
        let c = _mm256_loadu_ps(from.add(2 * pitch));
        let d = _mm256_loadu_ps(from.add(3 * pitch));
        [
            _mm256_sub_ps(a, c),
            _mm256_add_ps(b, c),
            _mm256_sub_ps(c, b),
            _mm256_sub_ps(b, d),
        ]
    }
}

/// Writes A·y·Aᵀ of `tiles` tiles of 2 × 2 gradients, whose rows are two lines, as [`forward`].
///
/// # Panics
/// If a line or the target is too short.
pub fn gradient(lines: Lines, tiles: usize, target: &mut [f32], stride: usize) {
    let whole = tiles.next_multiple_of(TOGETHER);
    assert!(lines.even.len().min(lines.odd.len()) >= lines.pitch + whole);
    assert!(target.len() >= 15 * stride + whole);
    // SAFETY: the lengths were checked, and the callers have checked for AVX2.
    unsafe { gradient_avx2(lines, tiles, target.as_mut_ptr(), stride) }
}

/// # Safety
/// The processor has AVX2; lines and target have the lengths that [`gradient`] checks.
#[target_feature(enable = "avx2")]
#[expect(
    clippy::needless_range_loop,
    reason = "the same element of several arrays"
)]
unsafe fn gradient_avx2(lines: Lines, tiles: usize, target: *mut f32, stride: usize) {
    let zero = _mm256_setzero_ps();
    for tile in (0..tiles).step_by(TOGETHER) {
        // SAFETY: guaranteed by the caller.
        unsafe {
            let mut columns = [[zero; 4]; 2];
            for (column, line) in columns.iter_mut().zip([lines.even, lines.odd]) {
                let from = line.as_ptr().add(tile);
                let (a, b) = (
                    _mm256_loadu_ps(from),
                    _mm256_loadu_ps(from.add(lines.pitch)),
                );
                *column = [
                    a,
                    _mm256_add_ps(a, b),
                    _mm256_sub_ps(a, b),
                    _mm256_sub_ps(zero, b),
                ];
            }
            for y in 0..4 {
                let to = target.add(4 * y * stride + tile);
                let (a, b) = (columns[0][y], columns[1][y]);
                _mm256_storeu_ps(to, a);
                _mm256_storeu_ps(to.add(stride), _mm256_add_ps(a, b));
                _mm256_storeu_ps(to.add(2 * stride), _mm256_sub_ps(a, b));
                _mm256_storeu_ps(to.add(3 * stride), _mm256_sub_ps(zero, b));
            }
        }
    }
}

/// Writes Aᵀ·m·A of a row of tiles, whose point p is at `values` + p·`stride`, to two rows of results;
/// the second one may be missing.
///
/// Aᵀ = [[1, 1, 1, 0], [0, 1, −1, −1]].
///
/// # Panics
/// If there are too few values.
pub fn inverse(values: &[f32], stride: usize, upper: &mut [f32], lower: &mut [f32]) {
    let tiles = upper.len().div_ceil(2);
    assert!(values.len() >= 15 * stride + tiles.next_multiple_of(TOGETHER));
    assert!(lower.is_empty() || lower.len() == upper.len());
    // SAFETY: the lengths were checked, and the callers have checked for AVX2.
    unsafe { inverse_avx2(values.as_ptr(), stride, upper, lower) }
}

/// # Safety
/// The processor has AVX2; the values have the length that [`inverse`] checks.
#[target_feature(enable = "avx2")]
#[expect(
    clippy::needless_range_loop,
    reason = "the same element of several arrays"
)]
unsafe fn inverse_avx2(values: *const f32, stride: usize, upper: &mut [f32], lower: &mut [f32]) {
    let width = upper.len();
    let mut column = 0;
    while column < width {
        // The last group overlaps the one before it, rather than being cut.
        if width - column < 2 * TOGETHER && width >= 2 * TOGETHER && width.is_multiple_of(2) {
            column = width - 2 * TOGETHER;
        }
        // SAFETY: guaranteed by the caller.
        unsafe {
            let from = values.add(column / 2);
            let mut sums = [[_mm256_setzero_ps(); 4]; 2];
            for x in 0..4 {
                let a = _mm256_loadu_ps(from.add(x * stride));
                let b = _mm256_loadu_ps(from.add((4 + x) * stride));
                let c = _mm256_loadu_ps(from.add((8 + x) * stride));
                let d = _mm256_loadu_ps(from.add((12 + x) * stride));
                sums[0][x] = _mm256_add_ps(_mm256_add_ps(a, b), c);
                sums[1][x] = _mm256_sub_ps(_mm256_sub_ps(b, c), d);
            }
            store(sums[0], &mut upper[column..]);
            if !lower.is_empty() {
                store(sums[1], &mut lower[column..]);
            }
        }
        column += 2 * TOGETHER;
    }
}

/// Stores the sums across a row of tiles, two for each.
#[inline]
#[target_feature(enable = "avx2")]
fn store([a, b, c, d]: [__m256; 4], target: &mut [f32]) {
    let even = _mm256_add_ps(_mm256_add_ps(a, b), c);
    let odd = _mm256_sub_ps(_mm256_sub_ps(b, c), d);
    let (low, high) = (_mm256_unpacklo_ps(even, odd), _mm256_unpackhi_ps(even, odd));
    let registers = [
        _mm256_permute2f128_ps::<0x20>(low, high),
        _mm256_permute2f128_ps::<0x31>(low, high),
    ];
    let mut row = [0.0; 2 * TOGETHER];
    let whole = target.len() >= row.len();
    let to = match whole {
        true => target.as_mut_ptr(),
        false => row.as_mut_ptr(),
    };
    // SAFETY: both contain two registers.
    unsafe {
        _mm256_storeu_ps(to, registers[0]);
        _mm256_storeu_ps(to.add(TOGETHER), registers[1]);
    }
    if !whole {
        target
            .iter_mut()
            .zip(&row)
            .for_each(|(to, from)| *to = *from);
    }
}
