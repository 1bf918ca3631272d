//! The innermost loops on AVX2 and FMA, for the layout of [`super::tile`].
//!
//! A tile has up to 6 rows and 16 columns: 12 sums in registers of 8 numbers, two registers for the
//! right matrix and one for the left, of AVX2's 16. Every sum goes over the inner dimension in order.

use std::arch::x86_64::*;

use super::tile::{LANES, Runs, Start, Work};

/// The maximum number of rows of a tile.
pub const TALL: usize = 6;
/// Numbers in a register.
pub const LANES_AVX2: usize = 8;

/// Masks of the low `count` of 16 numbers, for two registers.
#[inline(always)]
pub fn masks(count: usize) -> [__m256i; 2] {
    static BITS: [i32; 2 * LANES] = {
        let mut bits = [0; 2 * LANES];
        let mut index = 0;
        while index < LANES {
            bits[index] = -1;
            index += 1;
        }
        bits
    };
    let from = LANES - count.min(LANES);
    // SAFETY: 16 values from any of the first 17 on are inside the table.
    unsafe {
        let from = BITS.as_ptr().add(from);
        [
            std::ptr::read_unaligned(from.cast()),
            std::ptr::read_unaligned(from.add(LANES_AVX2).cast()),
        ]
    }
}

type Sums<const ROWS: usize> = [[__m256; 2]; ROWS];

/// Stores the sums of a tile, added to the target if `keep`. Masks only the columns at an edge:
/// AMD's processors take many cycles for a masked store.
///
/// # Safety
/// The processor has AVX2, and the target all rows and columns that are written.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn store<const ROWS: usize>(
    sums: &Sums<ROWS>,
    target: *mut f32,
    pitch: usize,
    columns: usize,
    keep: bool,
) {
    let masks = masks(columns);
    for (row, sums) in sums.iter().enumerate() {
        for (half, sum) in sums.iter().enumerate() {
            let place = target.wrapping_add(row * pitch + half * LANES_AVX2);
            // SAFETY: guaranteed by the caller; masks limit the access to the columns.
            unsafe {
                if columns >= (half + 1) * LANES_AVX2 {
                    let earlier = match keep {
                        true => _mm256_loadu_ps(place),
                        false => _mm256_setzero_ps(),
                    };
                    _mm256_storeu_ps(place, _mm256_add_ps(earlier, *sum));
                } else {
                    let earlier = match keep {
                        true => _mm256_maskload_ps(place, masks[half]),
                        false => _mm256_setzero_ps(),
                    };
                    _mm256_maskstore_ps(place, masks[half], _mm256_add_ps(earlier, *sum));
                }
            }
        }
    }
}

/// A tile of packed operands.
///
/// # Safety
/// The processor has AVX2 and FMA; `left` and `right` contain `inner` steps, `target` all rows and
/// columns that are written.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn single<const ROWS: usize>(work: Work) {
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums: Sums<ROWS> = [[_mm256_setzero_ps(); 2]; ROWS];
        if let Start::Row(values) = work.start {
            let masks = masks(work.columns);
            let row: [__m256; 2] = std::array::from_fn(|half| {
                _mm256_maskload_ps(values.wrapping_add(half * LANES_AVX2), masks[half])
            });
            sums = [row; ROWS];
        }
        let (mut left, mut right) = (work.left, work.right);
        for _ in 0..work.inner {
            let across = [
                _mm256_loadu_ps(right),
                _mm256_loadu_ps(right.add(LANES_AVX2)),
            ];
            for (row, sums) in sums.iter_mut().enumerate() {
                let down = _mm256_broadcast_ss(&*left.add(row));
                sums[0] = _mm256_fmadd_ps(down, across[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(down, across[1], sums[1]);
            }
            left = left.wrapping_add(work.left_pitch);
            right = right.wrapping_add(work.right_pitch);
        }
        let keep = matches!(work.start, Start::Keep);
        store(&sums, work.target, work.pitch, work.columns, keep);
    }
}

/// Adds to a tile the products of unpacked left rows with packed right ones.
///
/// # Safety
/// The processor has AVX2 and FMA; every run is inside the left values for each of `ROWS` offsets,
/// the right words contain 16 for every step, and the target all rows and columns that are written.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn along_runs<const ROWS: usize>(runs: Runs) {
    let mut offsets = [0; ROWS];
    offsets.copy_from_slice(&runs.offsets[..ROWS]);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums: Sums<ROWS> = [[_mm256_setzero_ps(); 2]; ROWS];
        let mut right = runs.right;
        for start in runs.starts {
            let mut left = runs.left.add(*start);
            for _ in 0..runs.length {
                let across = [
                    _mm256_loadu_ps(right),
                    _mm256_loadu_ps(right.add(LANES_AVX2)),
                ];
                for (offset, sums) in offsets.iter().zip(&mut sums) {
                    let down = _mm256_broadcast_ss(&*left.add(*offset));
                    sums[0] = _mm256_fmadd_ps(down, across[0], sums[0]);
                    sums[1] = _mm256_fmadd_ps(down, across[1], sums[1]);
                }
                left = left.wrapping_add(runs.step);
                right = right.add(LANES);
            }
        }
        store(&sums, runs.target, runs.pitch, runs.columns, true);
    }
}

/// Kernels indexed by rows − 1.
macro_rules! by_rows {
    ($kernel:ident) => {
        [
            $kernel::<1>,
            $kernel::<2>,
            $kernel::<3>,
            $kernel::<4>,
            $kernel::<5>,
            $kernel::<6>,
        ]
    };
}

pub static SINGLE: [unsafe fn(Work); TALL] = by_rows!(single);
pub static ALONG_RUNS: [for<'a> unsafe fn(Runs<'a>); TALL] = by_rows!(along_runs);
