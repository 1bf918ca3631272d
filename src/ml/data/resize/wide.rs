//! Both passes on AVX-512. Its byte permutations gather the bytes of sixteen channels of
//! neighbouring pixels from anywhere in 64 bytes at once, and its registers hold 64 sums of a line.
//! Compilers don't find the former and use half of the vector width for the latter, so this module
//! uses intrinsics, which require `unsafe`.

use std::arch::x86_64::*;

use super::taps::Axis;
use super::{HALF, Lines, PRECISION};

/// Channels that are summed at a time.
const LANES: usize = 16;
/// Bytes of a vector.
const WINDOW: usize = 64;

/// The output channels of an axis, sixteen at a time.
pub struct Groups {
    groups: Vec<Group>,
    /// For each group and tap, the weight of each lane; 0 if a position has fewer taps.
    weights: Vec<[i32; LANES]>,
}

struct Group {
    /// The source byte at which the window of the first tap begins. Each tap advances it by a
    /// pixel.
    begin: usize,
    /// The position of a lane's byte in the window, in the lowest byte of each lane.
    places: [u8; WINDOW],
    /// The index of its first weight in [`Groups::weights`].
    from: usize,
    taps: usize,
    /// The number of lanes: fewer than sixteen only in the last group.
    lanes: usize,
}

impl Groups {
    /// `None` if the taps of sixteen channels are too far apart for a window: when images shrink to
    /// less than a quarter.
    fn of(axis: &Axis) -> Option<Self> {
        let channels = axis.len() * 3;
        let (mut groups, mut weights) = (Vec::new(), Vec::new());
        for first in (0..channels).step_by(LANES) {
            let lanes = LANES.min(channels - first);
            let begin = axis.taps(first / 3).0;
            let of_lane = |lane: usize| axis.taps((first + lane) / 3);
            let taps = (0..lanes).map(|lane| of_lane(lane).1.len()).max()?;
            let mut places = [0; WINDOW];
            for lane in 0..lanes {
                let place = (of_lane(lane).0 - begin) * 3 + (first + lane) % 3;
                places[4 * lane] = u8::try_from(place).ok().filter(|it| *it < WINDOW as u8)?;
            }
            let from = weights.len();
            weights.extend((0..taps).map(|tap| {
                std::array::from_fn(|lane| {
                    let there = (lane < lanes).then(|| of_lane(lane).1);
                    there.and_then(|taps| taps.get(tap).copied()).unwrap_or(0)
                })
            }));
            groups.push(Group {
                begin: begin * 3,
                places,
                from,
                taps,
                lanes,
            });
        }
        Some(Self { groups, weights })
    }
}

/// As `across::across`; returns `false` without effect if this processor or image is not supported.
pub fn across(source: &[u8], lines: &Lines, columns: &Axis, target: &mut [u8]) -> bool {
    if !is_x86_feature_detected!("avx512bw") || !is_x86_feature_detected!("avx512vbmi") {
        return false;
    }
    let Some(groups) = columns.groups.get_or_init(|| Groups::of(columns)) else {
        return false;
    };
    let (stride, width) = (lines.kept * 3, columns.len() * 3);
    for (line, target) in target.chunks_exact_mut(width.max(1)).enumerate() {
        // SAFETY: the processor has the instructions, as checked above.
        unsafe { one_line(source, line * stride, lines.left * 3, groups, target) };
    }
    true
}

/// Resizes the line of `source` that starts at byte `begin`, whose first `missing` bytes are
/// absent.
///
/// # Safety
/// The processor has these instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn one_line(
    source: &[u8],
    begin: usize,
    missing: usize,
    groups: &Groups,
    target: &mut [u8],
) {
    for (group, target) in groups.groups.iter().zip(target.chunks_mut(LANES)) {
        // SAFETY: `places` is as long as a vector.
        let places = unsafe { _mm512_loadu_si512(group.places.as_ptr().cast()) };
        let mut sums = _mm512_set1_epi32(HALF);
        let weights = &groups.weights[group.from..group.from + group.taps];
        let mut at = begin + group.begin - missing;
        for weights in weights {
            let window = window(source, at);
            // The lowest byte of each lane; the others become zero.
            const LOWEST: u64 = 0x1111_1111_1111_1111;
            let values = _mm512_maskz_permutexvar_epi8(LOWEST, places, window);
            // SAFETY: sixteen weights are as long as a vector.
            let weights = unsafe { _mm512_loadu_si512(weights.as_ptr().cast()) };
            sums = _mm512_add_epi32(sums, _mm512_mullo_epi32(values, weights));
            at += 3;
        }
        // SAFETY: as this function.
        unsafe { store(sums, group.lanes, target) };
    }
}

/// As `down::down`; returns `false` without effect if this processor is not supported.
pub fn down(lines: &[u8], rows: &Axis, target: &mut [u8]) -> bool {
    if !is_x86_feature_detected!("avx512bw") {
        return false;
    }
    let width = (target.len() / rows.len().max(1)).max(1);
    let first = rows.source().start;
    for (row, target) in target.chunks_exact_mut(width).enumerate() {
        let (from, weights) = rows.taps(row);
        let lines = &lines[(from - first) * width..];
        // SAFETY: the processor has the instructions, as checked above.
        unsafe { one_row(lines, width, weights, target) };
    }
    true
}

/// The weighted sum of the first of `lines`, which are `width` bytes long.
///
/// # Safety
/// The processor has these instructions.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn one_row(lines: &[u8], width: usize, weights: &[i32], target: &mut [u8]) {
    for (number, target) in target.chunks_mut(WINDOW).enumerate() {
        let mut sums = [_mm512_set1_epi32(HALF); WINDOW / LANES];
        for (line, weight) in lines.chunks_exact(width).zip(weights) {
            let bytes = window(line, number * WINDOW);
            let weight = _mm512_set1_epi32(*weight);
            let parts = [
                _mm512_castsi512_si128(bytes),
                _mm512_extracti32x4_epi32::<1>(bytes),
                _mm512_extracti32x4_epi32::<2>(bytes),
                _mm512_extracti32x4_epi32::<3>(bytes),
            ];
            for (sum, part) in sums.iter_mut().zip(parts) {
                let values = _mm512_cvtepu8_epi32(part);
                *sum = _mm512_add_epi32(*sum, _mm512_mullo_epi32(values, weight));
            }
        }
        for (sum, target) in sums.into_iter().zip(target.chunks_mut(LANES)) {
            // SAFETY: as this function.
            unsafe { store(sum, target.len(), target) };
        }
    }
}

/// Rounds the first `lanes` sums to bytes at the beginning of `target`.
///
/// # Safety
/// The processor has these instructions.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn store(sums: __m512i, lanes: usize, target: &mut [u8]) {
    let sums = _mm512_srai_epi32::<PRECISION>(sums);
    let sums = _mm512_max_epi32(sums, _mm512_setzero_si512());
    let there = u16::MAX >> (LANES - lanes.min(target.len()));
    // SAFETY: no more bytes are written than `target` has.
    unsafe { _mm512_mask_cvtusepi32_storeu_epi8(target.as_mut_ptr().cast(), there, sums) };
}

/// The bytes of `source` from `at`, followed by zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn window(source: &[u8], at: usize) -> __m512i {
    let rest = source.get(at..).unwrap_or_default();
    if rest.len() >= WINDOW {
        // SAFETY: that many bytes exist.
        return unsafe { _mm512_loadu_si512(rest.as_ptr().cast()) };
    }
    let there = (1u64 << rest.len()) - 1;
    // SAFETY: the mask limits the load to existing bytes.
    unsafe { _mm512_maskz_loadu_epi8(there, rest.as_ptr().cast()) }
}
