//! The innermost loops: a tile of the result in registers.
//!
//! A tile has up to 14 rows and 32 columns: 28 sums in registers of 16 numbers, two registers for
//! the right matrix and one for the left, of AVX-512's 32. Every sum goes over the inner dimension
//! in order, so a result does not depend on how a matrix was divided.

use std::arch::x86_64::*;

/// The maximum number of rows of a tile.
pub const TALL: usize = 14;
/// The maximum number of columns of a tile.
pub const WIDE: usize = 32;
/// Numbers in a register.
pub const LANES: usize = 16;

/// The initial value of a tile's sums.
#[derive(Clone, Copy)]
pub enum Start {
    Zero,
    /// The current values of the target. They are added last, so that the error of a long sum grows
    /// with its parts, not with its length.
    Keep,
    /// The same row of values for every row of the tile: a bias.
    Row(*const f32),
}

/// A tile and its operands.
#[derive(Clone, Copy)]
pub struct Work {
    /// Steps of the inner dimension.
    pub inner: usize,
    /// `[inner, rows]` words.
    pub left: *const f32,
    /// Words from a step of the left matrix to the next: its rows if it is packed.
    pub left_pitch: usize,
    /// Rows of 16 or 32 words, one for each step.
    pub right: *const f32,
    /// Words from a step of the right matrix to the next.
    pub right_pitch: usize,
    /// Rows of values, `pitch` apart.
    pub target: *mut f32,
    pub pitch: usize,
    /// The number of columns of the target to write.
    pub columns: usize,
    pub start: Start,
}

/// Left rows that are not packed: value x of row r is at `left + offsets[r] + x·step`, for each run
/// of the inner dimension.
#[derive(Clone, Copy)]
pub struct Runs<'a> {
    pub left: *const f32,
    pub offsets: &'a [usize],
    pub step: usize,
    /// The start of each run, relative to `left`.
    pub starts: &'a [usize],
    /// Values in each run.
    pub length: usize,
    /// As in [`Work`], the runs one after the other.
    pub right: *const f32,
    pub target: *mut f32,
    pub pitch: usize,
    pub columns: usize,
}

/// The low `count` of 16 bits.
#[inline(always)]
pub fn mask(count: usize) -> __mmask16 {
    if count >= LANES {
        u16::MAX
    } else {
        (1 << count) - 1
    }
}

/// `ROWS`×`VECTORS`·16 sums in registers, added to the target and stored.
macro_rules! sums {
    (keep $work:expr, $rows:ident, $vectors:ident, $masks:ident, $sums:ident) => {
        for row in 0..$rows {
            for vector in 0..$vectors {
                let from = $work
                    .target
                    .wrapping_add(row * $work.pitch + vector * LANES);
                let earlier = _mm512_maskz_loadu_ps($masks[vector], from);
                $sums[row][vector] = _mm512_add_ps(earlier, $sums[row][vector]);
            }
        }
    };
    (store $work:expr, $rows:ident, $vectors:ident, $masks:ident, $sums:ident) => {
        for row in 0..$rows {
            for vector in 0..$vectors {
                let to = $work
                    .target
                    .wrapping_add(row * $work.pitch + vector * LANES);
                _mm512_mask_storeu_ps(to, $masks[vector], $sums[row][vector]);
            }
        }
    };
}

/// A tile of packed operands; `$madd` adds the products of two registers of words to sums.
macro_rules! packed_tile {
    ($name:ident, $features:literal, $madd:expr) => {
        /// # Safety
        /// The processor has the features; `left` and `right` contain `inner` steps, `target` all
        /// rows and columns that are written.
        #[target_feature(enable = $features)]
        pub unsafe fn $name<const ROWS: usize, const VECTORS: usize>(work: Work) {
            let columns = work.columns;
            let masks = [mask(columns), mask(columns.saturating_sub(LANES))];
            // SAFETY: masked loads and stores access only the columns that the caller guarantees.
            unsafe {
                let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
                match work.start {
                    Start::Zero | Start::Keep => {}
                    Start::Row(values) => {
                        for vector in 0..VECTORS {
                            let from = values.wrapping_add(vector * LANES);
                            let value = _mm512_maskz_loadu_ps(masks[vector], from);
                            for row in 0..ROWS {
                                sums[row][vector] = value;
                            }
                        }
                    }
                }
                let (mut left, mut right) = (work.left, work.right);
                for _ in 0..work.inner {
                    let mut across = [_mm512_setzero_ps(); VECTORS];
                    for (vector, across) in across.iter_mut().enumerate() {
                        *across = _mm512_loadu_ps(right.add(vector * LANES));
                    }
                    for row in 0..ROWS {
                        let down = _mm512_set1_ps(*left.add(row));
                        for vector in 0..VECTORS {
                            sums[row][vector] = $madd(down, across[vector], sums[row][vector]);
                        }
                    }
                    left = left.wrapping_add(work.left_pitch);
                    right = right.wrapping_add(work.right_pitch);
                }
                if let Start::Keep = work.start {
                    sums!(keep work, ROWS, VECTORS, masks, sums);
                }
                sums!(store work, ROWS, VECTORS, masks, sums);
            }
        }
    };
}

packed_tile!(single, "avx512f", _mm512_fmadd_ps);
packed_tile!(half, "avx512f,avx512bf16", |down, across, sum| {
    _mm512_dpbf16_ps(sum, as_pairs(down), as_pairs(across))
});

packed_tile!(half_by_hand, "avx512f", add_pairs);

/// Emulates the instruction for pairs of bf16, except for numbers below 2⁻¹²⁶: adds the second of
/// each pair first.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_pairs(down: __m512, across: __m512, sum: __m512) -> __m512 {
    let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let [down, across] = [_mm512_castps_si512(down), _mm512_castps_si512(across)];
    let sum = _mm512_fmadd_ps(
        _mm512_castsi512_ps(_mm512_and_si512(down, high)),
        _mm512_castsi512_ps(_mm512_and_si512(across, high)),
        sum,
    );
    _mm512_fmadd_ps(
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(down)),
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(across)),
        sum,
    )
}

/// The same bits as sixteen pairs of bf16.
#[inline(always)]
fn as_pairs(words: __m512) -> __m512bh {
    // SAFETY: both are 64 bytes without invalid values.
    unsafe { std::mem::transmute::<__m512, __m512bh>(words) }
}

/// Adds to a tile the products of unpacked left rows with packed right ones.
///
/// # Safety
/// The processor has AVX-512F; every run is inside the left values for each of `ROWS` offsets, the
/// right words and the target as in [`single`].
#[target_feature(enable = "avx512f")]
pub unsafe fn along_runs<const ROWS: usize, const VECTORS: usize>(runs: Runs) {
    let columns = runs.columns;
    let masks = [mask(columns), mask(columns.saturating_sub(LANES))];
    let mut offsets = [0; ROWS];
    offsets.copy_from_slice(&runs.offsets[..ROWS]);
    // SAFETY: guaranteed by the caller.
    unsafe {
        let mut sums = [[_mm512_setzero_ps(); VECTORS]; ROWS];
        let mut right = runs.right;
        for start in runs.starts {
            let mut left = runs.left.add(*start);
            for _ in 0..runs.length {
                let mut across = [_mm512_setzero_ps(); VECTORS];
                for (vector, across) in across.iter_mut().enumerate() {
                    *across = _mm512_loadu_ps(right.add(vector * LANES));
                }
                for row in 0..ROWS {
                    let down = _mm512_set1_ps(*left.add(offsets[row]));
                    for vector in 0..VECTORS {
                        sums[row][vector] =
                            _mm512_fmadd_ps(down, across[vector], sums[row][vector]);
                    }
                }
                left = left.wrapping_add(runs.step);
                right = right.add(VECTORS * LANES);
            }
        }
        sums!(keep runs, ROWS, VECTORS, masks, sums);
        sums!(store runs, ROWS, VECTORS, masks, sums);
    }
}

/// Kernels indexed by rows − 1.
macro_rules! by_rows {
    ($kernel:ident, $vectors:literal) => {
        [
            $kernel::<1, $vectors>,
            $kernel::<2, $vectors>,
            $kernel::<3, $vectors>,
            $kernel::<4, $vectors>,
            $kernel::<5, $vectors>,
            $kernel::<6, $vectors>,
            $kernel::<7, $vectors>,
            $kernel::<8, $vectors>,
            $kernel::<9, $vectors>,
            $kernel::<10, $vectors>,
            $kernel::<11, $vectors>,
            $kernel::<12, $vectors>,
            $kernel::<13, $vectors>,
            $kernel::<14, $vectors>,
        ]
    };
}

/// Indexed by registers of columns − 1, then rows − 1.
pub static SINGLE: [[unsafe fn(Work); TALL]; 2] = [by_rows!(single, 1), by_rows!(single, 2)];
pub static HALF: [[unsafe fn(Work); TALL]; 2] = [by_rows!(half, 1), by_rows!(half, 2)];
pub static HALF_BY_HAND: [[unsafe fn(Work); TALL]; 2] =
    [by_rows!(half_by_hand, 1), by_rows!(half_by_hand, 2)];
pub static ALONG_RUNS: [[for<'a> unsafe fn(Runs<'a>); TALL]; 2] =
    [by_rows!(along_runs, 1), by_rows!(along_runs, 2)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_by_hand_are_those_of_the_instruction() {
        if !is_x86_feature_detected!("avx512bf16") {
            println!("skipped: this processor has no instructions for bf16");
            return;
        }
        let mut stream = crate::rng::Stream::new(0, "pairs");
        let mut half = || (stream.range(-8.0, 8.0) as f32).to_bits() >> 16;
        let mut word = || f32::from_bits(half() << 16 | half());
        let (inner, rows) = (37, 5);
        let left: Vec<f32> = (0..inner * rows).map(|_| word()).collect();
        let right: Vec<f32> = (0..inner * WIDE).map(|_| word()).collect();
        let run = |kernel: unsafe fn(Work)| {
            let mut target = vec![0.0_f32; rows * WIDE];
            let work = Work {
                inner,
                left: left.as_ptr(),
                left_pitch: rows,
                right: right.as_ptr(),
                right_pitch: WIDE,
                target: target.as_mut_ptr(),
                pitch: WIDE,
                columns: WIDE,
                start: Start::Zero,
            };
            // SAFETY: both operands contain `inner` steps, the target all rows and columns.
            unsafe { kernel(work) };
            target
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(run(HALF[1][rows - 1]), run(HALF_BY_HAND[1][rows - 1]));
    }
}
