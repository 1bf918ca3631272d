//! Sums of products along contiguous rows of both operands: left·rightᵀ without packing.
//!
//! A tile has sums in registers, each for one pair of rows; they are added across lanes at the end, so
//! a tile pays off for some hundred terms.

use std::arch::x86_64::*;

use super::has_avx512;
use super::tile::LANES;

/// Rows of a left or a right matrix, `pitch` apart.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    pub values: &'a [f32],
    pub pitch: usize,
    pub count: usize,
}

/// The pointers of a tile.
#[derive(Clone, Copy)]
struct Work {
    left: *const f32,
    left_pitch: usize,
    right: *const f32,
    right_pitch: usize,
    terms: usize,
    target: *mut f32,
    pitch: usize,
}

/// Adds left·rightᵀ of the first `terms` values of each row, a multiple of 16, to `target`
/// `[left rows, right rows]`.
///
/// # Panics
/// If the operands or the target are too short.
pub fn add_dots(target: &mut [f32], left: Rows, right: Rows, terms: usize) {
    let fits = |rows: Rows| match rows.count {
        0 => true,
        count => (count - 1) * rows.pitch + terms <= rows.values.len(),
    };
    assert!(terms.is_multiple_of(LANES) && fits(left) && fits(right));
    assert!(target.len() >= left.count * right.count);
    let (tall, wide) = match has_avx512() {
        true => (4, 6),
        false => (3, 4),
    };
    for column in (0..right.count).step_by(wide) {
        let columns = (right.count - column).min(wide);
        for row in (0..left.count).step_by(tall) {
            let rows = (left.count - row).min(tall);
            let work = Work {
                left: left.values[row * left.pitch..].as_ptr(),
                left_pitch: left.pitch,
                right: right.values[column * right.pitch..].as_ptr(),
                right_pitch: right.pitch,
                terms,
                target: target[row * right.count + column..].as_mut_ptr(),
                pitch: right.count,
            };
            // SAFETY: operands and target were checked above.
            unsafe {
                match has_avx512() {
                    true => DOTS_512[rows - 1][columns - 1](work),
                    false => DOTS_256[rows - 1][columns - 1](work),
                }
            }
        }
    }
}

macro_rules! dots {
    ($name:ident, $features:literal, $lanes:literal, $zero:ident, $load:ident, $madd:ident, $fold:ident) => {
        /// # Safety
        /// The processor has the features; each row contains `terms` values, the target all sums.
        #[target_feature(enable = $features)]
        unsafe fn $name<const ROWS: usize, const COLUMNS: usize>(work: Work) {
            // SAFETY: guaranteed by the caller.
            unsafe {
                let mut sums = [[$zero(); COLUMNS]; ROWS];
                let (mut left, mut right) = (work.left, work.right);
                for _ in 0..work.terms / $lanes {
                    let mut down = [$zero(); ROWS];
                    for (row, down) in down.iter_mut().enumerate() {
                        *down = $load(left.add(row * work.left_pitch));
                    }
                    for column in 0..COLUMNS {
                        let across = $load(right.add(column * work.right_pitch));
                        for row in 0..ROWS {
                            sums[row][column] = $madd(down[row], across, sums[row][column]);
                        }
                    }
                    (left, right) = (left.add($lanes), right.add($lanes));
                }
                for row in 0..ROWS {
                    for first in (0..COLUMNS).step_by(4) {
                        let mut four = [_mm256_setzero_ps(); 4];
                        for column in first..COLUMNS.min(first + 4) {
                            four[column - first] = $fold(sums[row][column]);
                        }
                        let to = work.target.add(row * work.pitch + first);
                        add(across_lanes(four), to, COLUMNS.min(first + 4) - first);
                    }
                }
            }
        }
    };
}

dots!(
    dots_256,
    "avx2,fma",
    8,
    _mm256_setzero_ps,
    _mm256_loadu_ps,
    _mm256_fmadd_ps,
    whole
);
dots!(
    dots_512,
    "avx512f,avx2",
    16,
    _mm512_setzero_ps,
    _mm512_loadu_ps,
    _mm512_fmadd_ps,
    folded
);

#[inline]
#[target_feature(enable = "avx2")]
fn whole(sum: __m256) -> __m256 {
    sum
}

#[inline]
#[target_feature(enable = "avx512f")]
fn folded(sum: __m512) -> __m256 {
    let high = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum));
    _mm256_add_ps(_mm512_castps512_ps256(sum), _mm256_castpd_ps(high))
}

/// The sum of the lanes of each register.
#[inline]
#[target_feature(enable = "avx2")]
fn across_lanes([a, b, c, d]: [__m256; 4]) -> __m128 {
    let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_add_ps(
        _mm256_castps256_ps128(pairs),
        _mm256_extractf128_ps::<1>(pairs),
    )
}

/// Adds the first `count` sums to the target.
///
/// # Safety
/// The target contains them.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn add(sums: __m128, target: *mut f32, count: usize) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        if count == 4 {
            _mm_storeu_ps(target, _mm_add_ps(_mm_loadu_ps(target), sums));
        } else {
            let mut values = [0.0; 4];
            _mm_storeu_ps(values.as_mut_ptr(), sums);
            for (index, value) in values.iter().enumerate().take(count) {
                *target.add(index) += value;
            }
        }
    }
}

/// Kernels indexed by columns − 1.
macro_rules! by_columns {
    ($kernel:ident, $rows:literal, $($columns:literal)*) => {
        [$($kernel::<$rows, $columns>,)*]
    };
}

static DOTS_256: [[unsafe fn(Work); 4]; 3] = [
    by_columns!(dots_256, 1, 1 2 3 4),
    by_columns!(dots_256, 2, 1 2 3 4),
    by_columns!(dots_256, 3, 1 2 3 4),
];
static DOTS_512: [[unsafe fn(Work); 6]; 4] = [
    by_columns!(dots_512, 1, 1 2 3 4 5 6),
    by_columns!(dots_512, 2, 1 2 3 4 5 6),
    by_columns!(dots_512, 3, 1 2 3 4 5 6),
    by_columns!(dots_512, 4, 1 2 3 4 5 6),
];
