//! Products that read left rows in place, in runs.

use super::panel_words;
use super::tile::{self, LANES, Runs};
use super::{has_avx512, tile_avx2, tiles, vectors, wide};

/// Rows of one value per tap: value x of a run is at start + offset + x·step.
#[derive(Clone, Copy)]
pub struct Left<'a> {
    pub values: &'a [f32],
    /// For each row.
    pub offsets: &'a [usize],
    pub step: usize,
    /// For each run.
    pub starts: &'a [usize],
    /// Values in a run.
    pub length: usize,
}

/// Rows of a packed right matrix `[inner, columns]`, from row `from` on.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    pub panels: &'a [f32],
    pub inner: usize,
    pub from: usize,
    pub columns: usize,
}

/// Adds left·right to `target` `[offsets, columns]`.
pub fn add_along_runs(target: &mut [f32], left: Left, right: Right) {
    let steps = left.starts.len() * left.length;
    let furthest = |values: &[usize]| values.iter().max().copied().unwrap_or_default();
    let last = furthest(left.offsets) + furthest(left.starts);
    let last = last + left.length.saturating_sub(1) * left.step;
    assert!(
        steps == 0 || last < left.values.len(),
        "a run leaves the image"
    );
    assert!(right.from + steps <= right.inner);
    assert!(right.panels.len() >= panel_words(right.inner, right.columns));
    assert!(target.len() >= left.offsets.len() * right.columns);
    let wide = wide();
    for (first, height) in tiles(left.offsets.len()) {
        for panel in (0..right.columns).step_by(wide) {
            let columns = (right.columns - panel).min(wide);
            let vectors = vectors(columns);
            let runs = Runs {
                left: left.values.as_ptr(),
                offsets: &left.offsets[first..first + height],
                step: left.step,
                starts: left.starts,
                length: left.length,
                right: right.panels[panel * right.inner + right.from * vectors * LANES..].as_ptr(),
                target: target[first * right.columns + panel..].as_mut_ptr(),
                pitch: right.columns,
                columns,
            };
            // SAFETY: the furthest value, the panel's steps and the target were checked above.
            unsafe {
                match has_avx512() {
                    true => tile::ALONG_RUNS[vectors - 1][height - 1](runs),
                    false => tile_avx2::ALONG_RUNS[height - 1](runs),
                }
            }
        }
    }
}
