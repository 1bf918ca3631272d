//! The vertical pass: weighted sums of lines.

use pulp::Arch;

use super::taps::Axis;
use super::{HALF, to_byte};

/// Resizes `lines`, which begin with the first required one, to the positions of `rows`.
pub fn down(lines: &[u8], rows: &Axis, target: &mut [u8]) {
    #[cfg(all(target_arch = "x86_64", feature = "avx512"))]
    if super::wide::down(lines, rows, target) {
        return;
    }
    // Integer arithmetic: the vector width affects only the speed.
    Arch::new().dispatch(|| everywhere(lines, rows, target));
}

/// The number of bytes of a line that the vertical pass sums at a time, in registers.
const BLOCK: usize = 32;

#[inline(always)]
fn everywhere(lines: &[u8], rows: &Axis, target: &mut [u8]) {
    let width = target.len() / rows.len().max(1);
    let first = rows.source().start;
    for (row, target) in target.chunks_exact_mut(width.max(1)).enumerate() {
        let (from, weights) = rows.taps(row);
        let lines = &lines[(from - first) * width..(from - first + weights.len()) * width];
        let (blocks, rest) = target.as_chunks_mut::<BLOCK>();
        let end = blocks.len() * BLOCK;
        for (number, block) in blocks.iter_mut().enumerate() {
            *block = summed(lines, width, number * BLOCK, weights);
        }
        for (number, byte) in rest.iter_mut().enumerate() {
            [*byte] = summed(lines, width, end + number, weights);
        }
    }
}

/// The weighted sums of `COUNT` bytes starting at `at` of each of `lines`.
#[inline(always)]
fn summed<const COUNT: usize>(
    lines: &[u8],
    width: usize,
    at: usize,
    weights: &[i32],
) -> [u8; COUNT] {
    let mut sums = [HALF; COUNT];
    for (line, weight) in lines.chunks_exact(width).zip(weights) {
        if let Some(bytes) = line[at..].first_chunk::<COUNT>() {
            for (sum, byte) in sums.iter_mut().zip(bytes) {
                *sum += i32::from(*byte) * weight;
            }
        }
    }
    // Not `map`, which is not compiled for the selected instruction set.
    let mut bytes = [0; COUNT];
    for (byte, sum) in bytes.iter_mut().zip(sums) {
        *byte = to_byte(sum);
    }
    bytes
}

#[cfg(all(test, target_arch = "x86_64", feature = "avx512"))]
mod tests {
    use super::super::taps::axis;
    use super::super::{Filter, wide};
    use super::*;

    /// Every vector width gives the same bytes, also at the end of lines.
    #[test]
    fn the_processor_changes_nothing() {
        for (height, target, from, count) in [(50, 34, 3, 25), (9, 40, 0, 40), (99, 9, 1, 7)] {
            for width in [1, 63, 64, 65, 150] {
                let rows = axis(height, target, Filter::Bicubic, from, count);
                let lines: Vec<u8> = (0..rows.source().len() * width)
                    .map(|place| (place * place * 89 + place * 7) as u8)
                    .collect();
                let (mut plain, mut vectors) = (vec![1; count * width], vec![2; count * width]);
                everywhere(&lines, &rows, &mut plain);
                if wide::down(&lines, &rows, &mut vectors) {
                    assert_eq!(plain, vectors, "{width} to {target}");
                }
            }
        }
    }
}
