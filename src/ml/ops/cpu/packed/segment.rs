//! Panels built directly from images.

use std::arch::x86_64::*;

use super::tile::{LANES, mask};

/// Neighbouring positions of one row.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The column of the first one in the panel.
    pub lane: usize,
    pub length: usize,
    /// The offset of the first one in the padded images.
    pub source: usize,
    pub image: usize,
    /// The offset of the first one in its plane of the target.
    pub target: usize,
}

/// Writes a segment's values under each tap to its columns of `panel` `[taps, pitch]`.
pub fn copy_segment(
    images: &[f32],
    taps: &[usize],
    step: usize,
    segment: Segment,
    panel: &mut [f32],
    pitch: usize,
) {
    let Segment {
        lane,
        length,
        source,
        ..
    } = segment;
    let Some(furthest) = taps.iter().max() else {
        return;
    };
    assert!(length > 0 && lane + length <= pitch && taps.len() * pitch <= panel.len());
    assert!(source + furthest + (length - 1) * step < images.len());
    // SAFETY: the furthest value and the last column were checked above.
    unsafe {
        let (from, to) = (images.as_ptr().add(source), panel.as_mut_ptr().add(lane));
        match step {
            1 => side_by_side(from, taps, length, to, pitch),
            2 => every_second(from, taps, length, to, pitch),
            _ => one_by_one(from, taps, step, length, to, pitch),
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn side_by_side(
    from: *const f32,
    taps: &[usize],
    length: usize,
    to: *mut f32,
    pitch: usize,
) {
    let first = mask(length);
    let second = mask(length.saturating_sub(LANES));
    for (row, tap) in taps.iter().enumerate() {
        // SAFETY: guaranteed by the caller; masks limit the access to the segment.
        unsafe {
            let (from, to) = (from.add(*tap), to.add(row * pitch));
            _mm512_mask_storeu_ps(to, first, _mm512_maskz_loadu_ps(first, from));
            if second != 0 {
                let (from, to) = (from.add(LANES), to.add(LANES));
                _mm512_mask_storeu_ps(to, second, _mm512_maskz_loadu_ps(second, from));
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
unsafe fn every_second(
    from: *const f32,
    taps: &[usize],
    length: usize,
    to: *mut f32,
    pitch: usize,
) {
    let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    for first in (0..length).step_by(LANES) {
        let count = (length - first).min(LANES);
        let values = 2 * count - 1;
        let (low, high) = (mask(values), mask(values.saturating_sub(LANES)));
        for (row, tap) in taps.iter().enumerate() {
            // SAFETY: guaranteed by the caller; masks limit the access to the segment.
            unsafe {
                let from = from.add(*tap + 2 * first);
                let low = _mm512_maskz_loadu_ps(low, from);
                let high = _mm512_maskz_loadu_ps(high, from.wrapping_add(LANES));
                let values = _mm512_permutex2var_ps(low, even, high);
                _mm512_mask_storeu_ps(to.add(row * pitch + first), mask(count), values);
            }
        }
    }
}

unsafe fn one_by_one(
    from: *const f32,
    taps: &[usize],
    step: usize,
    length: usize,
    to: *mut f32,
    pitch: usize,
) {
    for (row, tap) in taps.iter().enumerate() {
        for place in 0..length {
            // SAFETY: guaranteed by the caller.
            unsafe { *to.add(row * pitch + place) = *from.add(*tap + place * step) };
        }
    }
}
