//! The innermost loop of sums along runs on AVX2 and FMA, for the layout of [`super::tile`].
//!
//! A tile has up to 6 rows and 16 columns: 12 sums in registers of 8 numbers, two registers for the
//! right matrix and one for the left, of AVX2's 16. Every sum goes over the inner dimension in order.

use std::arch::x86_64::*;

use super::tile::{LANES, Runs};

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

/// Adds to a tile the products of unpacked left rows with packed right ones.
///
/// # Safety
/// The processor has AVX2 and FMA; every run is inside the left values for each of `ROWS` offsets,
/// the right words contain 16 for every step, and the target all rows and columns that are written.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn along_runs<const ROWS: usize>(runs: Runs) {
    let masks = masks(runs.columns);
    let mut offsets = [0; ROWS];
    offsets.copy_from_slice(&runs.offsets[..ROWS]);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
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
        for (row, sums) in sums.iter().enumerate() {
            for (vector, sum) in sums.iter().enumerate() {
                let place = runs
                    .target
                    .wrapping_add(row * runs.pitch + vector * LANES_AVX2);
                let earlier = _mm256_maskload_ps(place, masks[vector]);
                _mm256_maskstore_ps(place, masks[vector], _mm256_add_ps(earlier, *sum));
            }
        }
    }
}

/// Indexed by rows − 1.
pub static ALONG_RUNS: [for<'a> unsafe fn(Runs<'a>); TALL] = [
    along_runs::<1>,
    along_runs::<2>,
    along_runs::<3>,
    along_runs::<4>,
    along_runs::<5>,
    along_runs::<6>,
];
